package admin

import (
	"github.com/skeindb/skein/internal/command"
	"github.com/skeindb/skein/internal/engine"
)

func (a *admin) configGet(c *command.Ctx) {
	patterns := make([]string, len(c.Argv)-2)
	for i := range patterns {
		patterns[i] = string(c.Arg(i + 2))
	}
	pairs := a.Config.Get(patterns...)
	c.Map(len(pairs))
	for _, p := range pairs {
		c.BulkString(p.Name)
		c.BulkString(p.Value)
	}
}

func (a *admin) configSet(c *command.Ctx) {
	args := make([]string, len(c.Argv)-2)
	for i := range args {
		args[i] = string(c.Arg(i + 2))
	}
	if len(args)%2 != 0 {
		c.Error(command.ErrSyntax)
		return
	}
	if err := a.Config.Set(args, engine.SessionOf(c).Local()); err != nil {
		c.Error(err.Error())
		return
	}
	c.OK()
}

func (a *admin) configRewrite(c *command.Ctx) {
	if err := a.Config.Rewrite(); err != nil {
		a.Log.Warn("CONFIG REWRITE failed", "err", err)
		c.Error(err.Error())
		return
	}
	a.Log.Info("CONFIG REWRITE executed with success.")
	c.OK()
}

func (a *admin) configResetStat(c *command.Ctx) {
	a.Engine.ResetStats()
	if a.ResetStat != nil {
		a.ResetStat()
	}
	c.OK()
}

func configHelp(c *command.Ctx) {
	c.Help("GET <pattern> [<pattern> ...]",
		"    Names and values of the directives that match a glob-like <pattern>.",
		"SET <directive> <value> [<directive> <value> ...]",
		"    Give directives new values, all of them or none.",
		"RESETSTAT",
		"    Set the counters that INFO shows to zero.",
		"REWRITE",
		"    Write the present values into the configuration file.")
}
