# make prints the targets; the comment after ## is the help text.
.DEFAULT_GOAL := help

GO      ?= go
BIN     := bin
# What the fuzzers get: SMOKE each in `make test`, FUZZTIME each in `make fuzz`.
SMOKE    ?= 3s
FUZZTIME ?= 30s
# make sim SEED=7 replays one world, SEEDS=1..50 a range.
NODES ?= 50
SEEDS ?= $(if $(SEED),$(SEED),1..1000)
# make test T=Failover runs the process tests whose names match.
T ?= .

UNIT := $$($(GO) list ./... | grep -v /test/)

.PHONY: help
help: ## print the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: up
up: build ## start a cluster of 3 primaries and 3 replicas on ports 7000-7005; Ctrl-C stops it
	@$(BIN)/skein up $(ARGS)

.PHONY: build
build: ## compile bin/skein, with a link by the name skein-server
	@mkdir -p $(BIN)
	CGO_ENABLED=0 $(GO) build -trimpath -o $(BIN)/skein ./cmd/skein
	@ln -sf skein $(BIN)/skein-server

.PHONY: test
test: tools lint build unit e2e sim-smoke fuzz-smoke ## what every commit passes: lint, unit and process tests, a slice of sim and fuzz
	@echo "make test: ok"

.PHONY: lint
lint: ## gofmt and go vet
	@out=$$(gofmt -l cmd internal test); if [ -n "$$out" ]; then echo "gofmt: not formatted:"; echo "$$out"; exit 1; fi
	$(GO) vet ./...

.PHONY: tools
tools: # redis-server, redis-cli and redis-benchmark, which the tests drive and compare with
	@scripts/tools.sh

.PHONY: unit
unit:
	$(GO) test $(UNIT)

.PHONY: e2e
e2e: build
	SKEIN_BIN=$(CURDIR)/$(BIN)/skein $(GO) test -count=1 -p 1 -timeout 20m -run '$(T)' ./test/...

# make mixed PEERS=dir takes valkey-server 8 and redis-server 8 from there.
.PHONY: mixed
mixed: build tools ## Skein beside redis-server 7 and, from PEERS=dir, Valkey 8 and Redis 8, in every way; T=name selects
	SKEIN_BIN=$(CURDIR)/$(BIN)/skein PEERS=$(if $(PEERS),$(abspath $(PEERS))) $(GO) test -v -count=1 -timeout 60m -run '$(T)' ./test/mixed -long

.PHONY: race
race: tools ## the whole suite in its short form under the race detector, the servers too
	CGO_ENABLED=1 $(GO) test -race -short -timeout 15m $(UNIT)
	CGO_ENABLED=1 $(GO) test -race -short -count=1 -p 1 -timeout 30m ./test/...
	@echo "make race: ok"

.PHONY: fuzz
fuzz: ## every fuzz target for FUZZTIME (30s)
	@scripts/fuzz.sh $(FUZZTIME)

.PHONY: fuzz-smoke
fuzz-smoke:
	@scripts/fuzz.sh $(SMOKE) internal/resp:FuzzParser internal/ds:FuzzListpack internal/rdb:FuzzReader internal/cluster:FuzzDecode internal/config:FuzzLoad internal/aof:FuzzLoad

.PHONY: aof-kill
aof-kill: build ## kill -9 under load with an append-only file, ROUNDS (200) times with each policy
	ROUNDS=$(or $(ROUNDS),200) SKEIN_BIN=$(CURDIR)/$(BIN)/skein $(GO) test -count=1 -timeout 60m -run 'AOFKill' -v ./test/e2e

.PHONY: handover
handover: build tools ## a node killed, stopped or cut off at each point of a slot's move, key by key and atomic, in every combination
	SLOTMOVE=all HANDOVER=all SKEIN_BIN=$(CURDIR)/$(BIN)/skein $(GO) test -count=1 -timeout 60m -run 'SlotMoveInterrupted|HandoverFaults' -v ./test/e2e

.PHONY: sim
sim: build ## simulate clusters of NODES (50) with faults, SEEDS=1..1000 or SEED=7
	$(BIN)/skein sim --nodes $(NODES) --seeds $(SEEDS)

.PHONY: sim-long
sim-long: build ## the scenarios of thousands of nodes, and a campaign with the faults of operators
	SKEIN_LONG=1 $(GO) test -count=1 -timeout 2h -run Scenarios ./internal/cluster/sim
	$(BIN)/skein sim --nodes 9 --seeds 1..1000 --faults all

.PHONY: sim-report
sim-report: build ## measure simulated clusters of SIZES (10 to 2000 nodes, hours, and 7 GB at 1000 nodes), write docs/sim-report.md and its plots
	$(BIN)/skein sim --report docs $(if $(SIZES),--sizes $(SIZES))

.PHONY: sim-smoke
sim-smoke: build
	$(BIN)/skein sim --nodes 12 --seeds 1..24

.PHONY: bench
bench: ## Go benchmarks of all packages, briefly
	$(GO) test -run '^$$' -bench . -benchtime 200ms -timeout 30m $(UNIT)

.PHONY: bench-peer
bench-peer: build tools ## CPU per operation beside redis-server; scripts/bench-peer.sh --help tells the options
	scripts/bench-peer.sh $(ARGS)

.PHONY: bench-save
bench-save: build tools ## memory and latency of writes during BGSAVE of 2 GB beside redis-server; scripts/bench-save.sh --help tells the options
	scripts/bench-save.sh $(ARGS)

.PHONY: bench-load
bench-load: build tools ## time to load 5 million keys at start beside redis-server; scripts/bench-load.sh --help tells the options
	scripts/bench-load.sh $(ARGS)

.PHONY: bench-sync
bench-sync: build ## a full sync of MB=2048 under full write load with default settings, LINK=20 for a link of 20 MB/s
	SKEIN_BIN=$(CURDIR)/$(BIN)/skein scripts/bench-sync.sh $(or $(MB),2048) $(or $(LINK),0)

.PHONY: clean
clean: ## remove what was built; cluster data in skein-data stays
	rm -rf $(BIN)
	find . -name '*.test' -o -name '*.prof' | xargs rm -f
