package observe

import "github.com/skeindb/skein/internal/command"

// Specs returns the literals of the package's commands.
func (ob *Observer) Specs() []*command.Spec {
	const (
		server   = command.Server
		anyone   = command.Session | command.Loading | command.Stale
		operator = anyone | command.Admin
	)
	allNodes := []string{"nondeterministic_output", "request_policy:all_nodes", "response_policy:special"}
	allShards := []string{"nondeterministic_output", "request_policy:all_shards", "response_policy:special"}
	reset := []string{"request_policy:all_nodes", "response_policy:all_succeeded"}
	latency := func(name, since string, arity int, syntax, complexity, summary string, tips []string, run func(*command.Ctx)) *command.Spec {
		return &command.Spec{Name: name, Group: server, Since: since, Arity: arity, Syntax: syntax, Complexity: complexity, Summary: summary,
			Flags: operator | command.NoScript, Tips: tips, Run: run}
	}
	help := func(since string, run func(*command.Ctx)) *command.Spec {
		return &command.Spec{Name: "help", Group: server, Since: since, Arity: 2, Complexity: "O(1)", Summary: "Explains the subcommands.",
			Flags: anyone, Run: run}
	}
	return []*command.Spec{
		{Name: "info", Group: server, Since: "1.0.0", Arity: -1, Complexity: "O(1)", Summary: "Tells how the node is doing.",
			Syntax: "[section [section ...]]", Flags: anyone&^command.Session | command.OwnLocks, Categories: []string{"dangerous"},
			Tips: []string{"nondeterministic_output", "request_policy:all_shards", "response_policy:special"}, Run: ob.info},
		{Name: "slowlog", Group: server, Since: "2.2.12", Arity: -2, Complexity: "Depends on the subcommand.", Flags: command.Session,
			Summary: "Commands about the slow log.",
			Subs: []*command.Spec{
				{Name: "get", Group: server, Since: "2.2.12", Arity: -2, Complexity: "O(N), N being the number of entries returned.",
					Summary: "Returns entries of the slow log.", Syntax: "[count]", Flags: operator,
					Tips: []string{"request_policy:all_nodes", "nondeterministic_output"}, Run: ob.slowlogGet},
				{Name: "len", Group: server, Since: "2.2.12", Arity: 2, Complexity: "O(1)", Summary: "Counts the entries of the slow log.",
					Flags: operator, Tips: []string{"request_policy:all_nodes", "response_policy:agg_sum", "nondeterministic_output"},
					Run: func(c *command.Ctx) { c.Int(int64(ob.Slow.Len())) }},
				{Name: "reset", Group: server, Since: "2.2.12", Arity: 2, Complexity: "O(N), N being the number of entries.",
					Summary: "Empties the slow log.", Flags: operator, Tips: reset, Run: func(c *command.Ctx) { ob.Slow.Reset(); c.OK() }},
				help("6.2.0", slowlogHelp),
			}},
		{Name: "latency", Group: server, Since: "2.8.13", Arity: -2, Complexity: "Depends on the subcommand.", Flags: command.Session,
			Summary: "Commands about what took long.",
			Subs: []*command.Spec{
				latency("doctor", "2.8.13", 2, "", "O(1)", "Says in words what the samples say.", allNodes, ob.latencyDoctor),
				latency("graph", "2.8.13", 3, "event", "O(1)", "Draws the samples of an event.", allNodes, ob.latencyGraph),
				latency("histogram", "7.0.0", -2, "[command [command ...]]", "O(N), N being the number of commands.",
					"Returns how long the calls of commands took.", allNodes, ob.latencyHistogram),
				latency("history", "2.8.13", 3, "event", "O(1)", "Returns the samples of an event.", allNodes, ob.latencyHistory),
				latency("latest", "2.8.13", 2, "", "O(1)", "Returns the last sample of every event.", allNodes, ob.latencyLatest),
				latency("reset", "2.8.13", -2, "[event [event ...]]", "O(1)", "Forgets samples.", reset, ob.latencyReset),
				help("2.8.13", latencyHelp),
			}},
		{Name: "memory", Group: server, Since: "4.0.0", Arity: -2, Complexity: "Depends on the subcommand.", Flags: command.Session,
			Summary: "Commands about memory.",
			Subs: []*command.Spec{
				{Name: "doctor", Group: server, Since: "4.0.0", Arity: 2, Complexity: "O(1)", Summary: "Says in words what is unusual about the memory.",
					Flags: command.Session, Tips: allShards, Run: ob.memoryDoctor},
				{Name: "malloc-stats", Group: server, Since: "4.0.0", Arity: 2, Complexity: "O(1)", Summary: "Returns the books of the allocator.",
					Flags: command.Session, Tips: allShards, Run: ob.memoryMallocStats},
				{Name: "purge", Group: server, Since: "4.0.0", Arity: 2, Complexity: "O(1)", Summary: "Gives free memory back to the system.",
					Flags: command.Session, Tips: []string{"request_policy:all_shards", "response_policy:all_succeeded"}, Run: ob.memoryPurge},
				{Name: "stats", Group: server, Since: "4.0.0", Arity: 2, Complexity: "O(1)", Summary: "Tells where the memory is.",
					Flags: command.OwnLocks, Tips: allShards, Run: ob.memoryStats},
				{Name: "usage", Group: server, Since: "4.0.0", Arity: -3, Complexity: "O(1); O(N) for collections of N elements in tables.",
					Summary: "Returns the bytes that a key takes.", Syntax: "key [SAMPLES count]", Flags: command.ReadOnly,
					Keys: []command.KeySpec{command.KeyAt(2, command.RO)}, Run: memoryUsage},
				help("4.0.0", memoryHelp),
			}},
	}
}
