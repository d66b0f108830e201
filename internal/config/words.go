package config

import (
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// The choices of the directives with names, in the order of the table.
type (
	AuthClients    int // tls-auth-clients
	Supervision    int // supervised
	Level          int // loglevel
	LogFormatKind  int // log-format
	TimestampKind  int // log-timestamp-format
	PubsubDefault  int // acl-pubsub-default
	Protection     int // enable-debug-command and its like
	EvictionPolicy int // maxmemory-policy
	VersionCheck   int // rdb-version-check
	ModuleData     int // rdb-module-data
	Sanitize       int // sanitize-dump-payload
	FsyncPolicy    int // appendfsync
	DisklessLoad   int // repl-diskless-load
	EndpointType   int // cluster-preferred-endpoint-type
	CrashEvidence  int // cluster-crash-detection
)

const (
	AuthClientsNo AuthClients = iota
	AuthClientsYes
	AuthClientsOptional
)

const (
	SupervisedUpstart Supervision = iota
	SupervisedSystemd
	SupervisedAuto
	SupervisedNo
)

const (
	LogDebug Level = iota
	LogVerbose
	LogNotice
	LogWarning
	LogNothing
)

const (
	LogLegacy LogFormatKind = iota
	LogLogfmt
)

const (
	TimestampLegacy TimestampKind = iota
	TimestampISO8601
	TimestampMilliseconds
)

const (
	AllChannels PubsubDefault = iota
	ResetChannels
)

const (
	ProtectNo    Protection = iota // the command is refused
	ProtectYes                     // allowed
	ProtectLocal                   // allowed from loopback and unix sockets
)

const (
	VolatileLRU EvictionPolicy = iota
	VolatileLFU
	VolatileRandom
	VolatileTTL
	AllKeysLRU
	AllKeysLFU
	AllKeysRandom
	NoEviction
)

const (
	VersionStrict VersionCheck = iota
	VersionRelaxed
)

const (
	ModulesRefuse ModuleData = iota
	ModulesSkip
)

const (
	SanitizeNo Sanitize = iota
	SanitizeYes
	SanitizeClients
)

const (
	FsyncEverySec FsyncPolicy = iota
	FsyncAlways
	FsyncNo
)

const (
	DisklessDisabled DisklessLoad = iota
	DisklessOnEmptyDB
	DisklessSwapDB
)

const (
	CrashTimeout CrashEvidence = iota
	CrashRefused
)

const (
	EndpointIP EndpointType = iota
	EndpointHostname
	EndpointUnknown
)

// evictionPolicies are the names of EvictionPolicy; INFO prints them too.
var evictionPolicies = []string{"volatile-lru", "volatile-lfu", "volatile-random", "volatile-ttl",
	"allkeys-lru", "allkeys-lfu", "allkeys-random", "noeviction"}

func (p EvictionPolicy) String() string { return evictionPolicies[p] }

// Volatile reports whether the policy takes only keys that expire.
func (p EvictionPolicy) Volatile() bool { return p <= VolatileTTL }

// LFU reports whether the access field of a key counts uses, not age.
func (p EvictionPolicy) LFU() bool { return p == VolatileLFU || p == AllKeysLFU }

// SavePoint asks for a snapshot after Seconds if at least Changes were made.
type SavePoint struct{ Seconds, Changes int64 }

func savePoints(v *Value[[]SavePoint], def []SavePoint) kind {
	return &setting[[]SavePoint]{cell: v, def: def, many: true,
		read: func(args []string) ([]SavePoint, error) {
			if len(args) == 1 && args[0] == "" {
				args = nil
			}
			if len(args)%2 != 0 {
				return nil, errors.New("Invalid save parameters")
			}
			points := []SavePoint{}
			for i := 0; i < len(args); i += 2 {
				s, ok1 := parseInt(args[i])
				n, ok2 := parseInt(args[i+1])
				if !ok1 || !ok2 || s < 1 || n < 0 {
					return nil, errors.New("Invalid save parameters")
				}
				points = append(points, SavePoint{s, n})
			}
			return points, nil
		},
		show: showSave,
		rewrite: func(name string, points []SavePoint) []line {
			if len(points) == 0 {
				return []line{{name + ` ""`, true}}
			}
			force := showSave(points) != showSave(def)
			lines := make([]line, len(points))
			for i, p := range points {
				lines[i] = line{fmt.Sprintf("%s %d %d", name, p.Seconds, p.Changes), force}
			}
			return lines
		},
	}
}

func showSave(points []SavePoint) string {
	words := make([]string, len(points))
	for i, p := range points {
		words[i] = fmt.Sprintf("%d %d", p.Seconds, p.Changes)
	}
	return strings.Join(words, " ")
}

// Client classes of client-output-buffer-limit.
const (
	ClassNormal = iota
	ClassReplica
	ClassPubsub
)

// OutputLimit bounds the bytes waiting for one client: it is closed at once over
// Hard, and after SoftSeconds over Soft. 0 means no limit.
type OutputLimit struct{ Hard, Soft, SoftSeconds int64 }

// OutputLimits is indexed by client class.
type OutputLimits [3]OutputLimit

// outputLimits keeps the classes that a line or CONFIG SET does not mention.
func outputLimits(v *Value[OutputLimits], def OutputLimits) kind {
	class := map[string]int{"normal": ClassNormal, "slave": ClassReplica, "replica": ClassReplica, "pubsub": ClassPubsub}
	return &setting[OutputLimits]{cell: v, def: def, many: true,
		read: func(args []string) (OutputLimits, error) {
			limits := v.Get()
			if len(args) == 0 || len(args)%4 != 0 {
				return limits, errors.New("Wrong number of arguments in buffer limit configuration.")
			}
			for ; len(args) > 0; args = args[4:] {
				i, ok := class[strings.ToLower(args[0])]
				if !ok {
					return limits, errors.New("Invalid client class specified in buffer limit configuration.")
				}
				hard, ok1 := ParseMemory(args[1])
				soft, ok2 := ParseMemory(args[2])
				seconds, ok3 := parseInt(args[3])
				if !ok1 || !ok2 || !ok3 || seconds < 0 {
					return limits, errors.New("Error in hard, soft or soft_seconds setting in buffer limit configuration.")
				}
				limits[i] = OutputLimit{hard, soft, seconds}
			}
			return limits, nil
		},
		show: func(l OutputLimits) string {
			words := make([]string, len(l))
			for i, name := range [...]string{"normal", "slave", "pubsub"} {
				words[i] = fmt.Sprintf("%s %d %d %d", name, l[i].Hard, l[i].Soft, l[i].SoftSeconds)
			}
			return strings.Join(words, " ")
		},
		rewrite: func(name string, l OutputLimits) []line {
			lines := make([]line, len(l))
			for i, class := range [...]string{"normal", "replica", "pubsub"} {
				lines[i] = line{fmt.Sprintf("%s %s %s %s %d", name, class,
					FormatMemory(l[i].Hard), FormatMemory(l[i].Soft), l[i].SoftSeconds), l[i] != def[i]}
			}
			return lines
		},
	}
}

// NotifyFlags says which keyspace events are published.
type NotifyFlags uint16

const (
	NotifyGeneric  NotifyFlags = 1 << iota // g
	NotifyString                           // $
	NotifyList                             // l
	NotifySet                              // s
	NotifyHash                             // h
	NotifyZset                             // z
	NotifyExpired                          // x
	NotifyEvicted                          // e
	NotifyStream                           // t
	NotifyModule                           // d
	NotifyKeyspace                         // K, __keyspace@<db>__ channels
	NotifyKeyevent                         // E, __keyevent@<db>__ channels
	NotifyKeyMiss                          // m
	NotifyNew                              // n

	NotifyAll = NotifyModule<<1 - 1 // A, every class but m and n
)

const notifyLetters = "g$lshzxetdKEmn"

func notifyFlags(v *Value[NotifyFlags]) kind {
	return &setting[NotifyFlags]{cell: v, show: NotifyFlags.String,
		write: func(f NotifyFlags) string { return Quote(f.String()) },
		read: one(func(s string) (NotifyFlags, error) {
			f := NotifyFlags(0)
			for i := range len(s) {
				switch j := strings.IndexByte(notifyLetters, s[i]); {
				case s[i] == 'A':
					f |= NotifyAll
				case j >= 0:
					f |= 1 << j
				default:
					return 0, errors.New("Invalid event class character. Use 'Ag$lshzxeKEtmdn'.")
				}
			}
			return f, nil
		})}
}

func (f NotifyFlags) String() string {
	s := []byte{}
	if f&NotifyAll == NotifyAll {
		s = append(s, 'A')
		f &^= NotifyAll
	}
	for i := range len(notifyLetters) {
		if f&(1<<i) != 0 {
			s = append(s, notifyLetters[i])
		}
	}
	return string(s)
}

// ShutdownFlags are the ways a signal may shut the node down; 0 is the default
// way: save if save points are set, wait for replicas.
type ShutdownFlags uint8

const (
	ShutdownSave ShutdownFlags = 1 << iota
	ShutdownNosave
	ShutdownNow
	ShutdownForce
)

func shutdownFlags(v *Value[ShutdownFlags]) kind {
	names := []string{"default", "save", "nosave", "now", "force"}
	return &setting[ShutdownFlags]{cell: v, many: true,
		read: func(args []string) (f ShutdownFlags, err error) {
			for _, arg := range args {
				i := 0
				for i < len(names) && !strings.EqualFold(names[i], arg) {
					i++
				}
				if i == len(names) {
					return 0, wantOneOf(names)
				}
				f |= 1 << i >> 1
			}
			if len(args) == 0 {
				return 0, wantOneOf(names)
			}
			if f&(ShutdownSave|ShutdownNosave) == ShutdownSave|ShutdownNosave {
				return 0, errors.New("shutdown options SAVE and NOSAVE can't be used simultaneously")
			}
			return f, nil
		},
		show: func(f ShutdownFlags) string {
			if f == 0 {
				return names[0]
			}
			var words []string
			for i, name := range names[1:] {
				if f&(1<<i) != 0 {
					words = append(words, name)
				}
			}
			return strings.Join(words, " ")
		},
	}
}

func percentiles(v *Value[[]float64], def ...float64) kind {
	show := func(list []float64) string {
		words := make([]string, len(list))
		for i, p := range list {
			words[i] = strconv.FormatFloat(p, 'g', -1, 64)
		}
		return strings.Join(words, " ")
	}
	return &setting[[]float64]{cell: v, def: def, many: true, show: show,
		write: func(list []float64) string {
			if len(list) == 0 {
				return `""`
			}
			return show(list)
		},
		read: func(args []string) ([]float64, error) {
			list := []float64{}
			if len(args) == 1 && args[0] == "" {
				return list, nil
			}
			for _, arg := range args {
				p, err := strconv.ParseFloat(arg, 64)
				if err != nil {
					return nil, errors.New("Invalid latency-tracking-info-percentiles parameters")
				}
				if !(p >= 0 && p <= 100) {
					return nil, errors.New("latency-tracking-info-percentiles parameters should sit between [0.0,100.0]")
				}
				list = append(list, p)
			}
			return list, nil
		}}
}

// Most addresses in bind, as in Redis.
const maxBind = 16

func addresses(v *Value[[]string], def ...string) kind {
	show := func(list []string) string { return strings.Join(list, " ") }
	return &setting[[]string]{cell: v, def: def, many: true, show: show,
		write: func(list []string) string {
			if len(list) == 0 {
				return `""`
			}
			return show(list)
		},
		read: func(args []string) ([]string, error) {
			if len(args) > maxBind {
				return nil, errors.New("Too many bind addresses specified.")
			}
			if len(args) == 1 && args[0] == "" {
				return []string{}, nil
			}
			return args, nil
		}}
}

func oomValues(v *Value[[3]int]) kind {
	return &setting[[3]int]{cell: v, def: [3]int{0, 200, 800}, many: true,
		show: func(n [3]int) string { return fmt.Sprintf("%d %d %d", n[0], n[1], n[2]) },
		read: func(args []string) (n [3]int, err error) {
			if len(args) != 3 {
				return n, errArgCount
			}
			for i, arg := range args {
				x, ok := parseInt(arg)
				if !ok || x < -2000 || x > 2000 {
					return n, errors.New("Invalid oom-score-adj-values, elements must be between -2000 and 2000.")
				}
				n[i] = int(x)
			}
			return n, nil
		}}
}

// ReplicaOf is the primary a node follows; an empty Host means none.
type ReplicaOf struct {
	Host string
	Port int
}

func replicaOf(v *Value[ReplicaOf]) kind {
	show := func(r ReplicaOf) string {
		if r.Host == "" {
			return ""
		}
		return fmt.Sprintf("%s %d", r.Host, r.Port)
	}
	return &setting[ReplicaOf]{cell: v, many: true, show: show,
		read: func(args []string) (ReplicaOf, error) {
			if len(args) != 2 {
				return ReplicaOf{}, errArgCount
			}
			if strings.EqualFold(args[0], "no") && strings.EqualFold(args[1], "one") {
				return ReplicaOf{}, nil
			}
			port, ok := parseInt(args[1])
			if !ok || port < 0 || port > 65535 {
				return ReplicaOf{}, errors.New("Invalid master port")
			}
			return ReplicaOf{args[0], int(port)}, nil
		},
		rewrite: func(name string, r ReplicaOf) []line {
			if r.Host == "" {
				return nil
			}
			return []line{{name + " " + show(r), true}}
		}}
}

func validHostname(s string) error {
	if len(s) >= 256 {
		return errors.New("Hostnames must be less than 256 characters")
	}
	for _, c := range []byte(s) {
		if !isAlnum(c) && c != '-' && c != '.' {
			return errors.New("Hostnames may only contain alphanumeric characters, hyphens or dots")
		}
	}
	return nil
}

// validNodename refuses what the specification forbids, and what would break a
// line of nodes.conf.
func validNodename(s string) error {
	if len(s) >= 256 || strings.ContainsAny(s, "!#$%&()*+;<>?@[]^{|}~,=\n\r\x00 \"'") {
		return errors.New("Announced human node name contained invalid character")
	}
	return nil
}

func validIP(v4 bool) func(string) error {
	return func(s string) error {
		if s == "" {
			return nil
		}
		if a, err := netip.ParseAddr(s); err != nil || a.Is4() != v4 {
			if v4 {
				return errors.New("Invalid IPv4 address")
			}
			return errors.New("Invalid IPv6 address")
		}
		return nil
	}
}

func validTitle(s string) error {
	for rest := s; ; {
		_, after, found := strings.Cut(rest, "{")
		if !found {
			return nil
		}
		name, tail, closed := strings.Cut(after, "}")
		if !closed {
			name = ""
		}
		switch name {
		case "title", "listen-addr", "server-mode", "port", "tls-port", "unixsocket", "config-file":
		default:
			return errors.New("template format is invalid or contains unknown variables")
		}
		rest = tail
	}
}

func isAlnum(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
}

// The values of cluster-election-delay that are no number: ElectionScaled is a
// thirtieth of the node timeout, 500 ms at most; ElectionAuto follows from
// cluster-crash-detection.
const (
	ElectionAuto   = "auto"
	ElectionScaled = "scaled"
)

func validElectionDelay(s string) error {
	if s == ElectionScaled || s == ElectionAuto {
		return nil
	}
	n, ok := parseInt(s)
	if !ok {
		return errors.New("argument must be a number of milliseconds, '" + ElectionScaled + "' or '" + ElectionAuto + "'")
	}
	return inRange(n, 1, maxInt)
}
