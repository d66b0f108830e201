package admin

import "github.com/skeindb/skein/internal/command"

const (
	operator = command.Session | command.Admin | command.NoScript | command.Loading | command.Stale
	anyone   = command.Session | command.Loading | command.Stale
)

func (a *admin) specs() []*command.Spec {
	const server = command.Server
	allNodes := []string{"request_policy:all_nodes", "response_policy:all_succeeded"}
	random := []string{"nondeterministic_output"}
	return []*command.Spec{
		{Name: "config", Group: server, Since: "2.0.0", Arity: -2, Complexity: "Depends on the subcommand.", Flags: command.Session,
			Summary: "Commands about the node's configuration.",
			Subs: []*command.Spec{
				{Name: "get", Group: server, Since: "2.0.0", Arity: -3, Complexity: "O(N), N being the number of directives.",
					Summary: "Returns the values of directives.", Syntax: "parameter [parameter ...]", Flags: operator, Run: a.configGet},
				{Name: "set", Group: server, Since: "2.0.0", Arity: -4, Complexity: "O(N), N being the number of directives given.",
					Summary: "Changes directives while the node runs: all of those given, or none.", Syntax: "parameter value [parameter value ...]",
					Flags: operator, Tips: allNodes, Run: a.configSet},
				{Name: "rewrite", Group: server, Since: "2.8.0", Arity: 2, Complexity: "O(1)",
					Summary: "Brings the configuration file in line with the present values.", Flags: operator, Run: a.configRewrite},
				{Name: "resetstat", Group: server, Since: "2.0.0", Arity: 2, Complexity: "O(1)",
					Summary: "Sets the counters of INFO to zero.", Flags: operator, Tips: nil, Run: a.configResetStat},
				{Name: "help", Group: server, Since: "5.0.0", Arity: 2, Complexity: "O(1)",
					Summary: "Explains the subcommands.", Flags: anyone, Run: configHelp},
			}},
		{Name: "debug", Group: server, Since: "1.0.0", Arity: -2, Complexity: "Depends on the subcommand.",
			Summary: "For those who develop or test the server.", Syntax: "subcommand [argument [argument ...]]",
			Flags: operator&^command.Session | command.OwnLocks, Run: a.debug},
		{Name: "time", Group: server, Since: "2.6.0", Arity: 1, Complexity: "O(1)", Summary: "Returns the node's time.",
			Flags: anyone | command.Fast, Tips: random, Run: a.time},
		{Name: "shutdown", Group: server, Since: "1.0.0", Arity: -1,
			Complexity: "O(N) with the keys when the data set is saved, otherwise O(1).", Summary: "Stops the node, saving the data set first if so configured.",
			Syntax: "[NOSAVE | SAVE] [NOW] [FORCE] [ABORT]", Flags: operator | command.NoMulti | command.AllowBusy, Run: a.shutdown},
		{Name: "lolwut", Group: server, Since: "5.0.0", Arity: -1, Complexity: "O(1)", Summary: "Shows a drawing and the version.",
			Syntax: "[VERSION version]", Flags: command.Session | command.ReadOnly | command.Fast, Run: a.lolwut},
		{Name: "module", Group: server, Since: "4.0.0", Arity: -2, Complexity: "Depends on the subcommand.", Flags: command.Session,
			Summary: "Commands about modules.",
			Subs: []*command.Spec{
				{Name: "list", Group: server, Since: "4.0.0", Arity: 2, Complexity: "O(N), N being the number of modules.",
					Summary: "Lists the modules: there are none.", Flags: command.Session | command.Admin | command.NoScript,
					Tips: []string{"nondeterministic_output_order"}, Run: func(c *command.Ctx) { c.Array(0) }},
				{Name: "load", Group: server, Since: "4.0.0", Arity: -3, Complexity: "O(1)", Summary: "Loads a module.", Syntax: "path [arg [arg ...]]",
					Flags: command.Session | command.Admin | command.NoScript | command.NoAsyncLoading, Run: a.moduleLoad},
				{Name: "loadex", Group: server, Since: "7.0.0", Arity: -3, Complexity: "O(1)", Summary: "Loads a module with settings.",
					Syntax: "path [CONFIG name value [CONFIG name value ...]] [ARGS args [args ...]]",
					Flags:  command.Session | command.Admin | command.NoScript | command.NoAsyncLoading, Run: a.moduleLoad},
				{Name: "unload", Group: server, Since: "4.0.0", Arity: 3, Complexity: "O(1)", Summary: "Unloads a module.", Syntax: "name",
					Flags: command.Session | command.Admin | command.NoScript | command.NoAsyncLoading, Run: a.moduleUnload},
				{Name: "help", Group: server, Since: "5.0.0", Arity: 2, Complexity: "O(1)",
					Summary: "Explains the subcommands.", Flags: anyone, Run: moduleHelp},
			}},
	}
}
