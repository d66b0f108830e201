package admin

import (
	"github.com/skeindb/skein/internal/command"
	"github.com/skeindb/skein/internal/engine"
)

const (
	errShutdown   = "ERR Errors trying to SHUTDOWN. Check logs."
	errNoShutdown = "ERR No shutdown in progress."
	errModules    = "ERR MODULE command not allowed. If the enable-module-command option is set to \"local\", you can run it from a local connection, " +
		"otherwise you need to set this option in the configuration file, and then restart the server."
)

// shutdown has no reply unless it fails: the connection ends.
func (a *admin) shutdown(c *command.Ctx) {
	var how Shutdown
	abort := false
	for args := c.ArgsFrom(1); args.More(); {
		switch {
		case args.Is("save"):
			how.Save = true
		case args.Is("nosave"):
			how.NoSave = true
		case args.Is("now"):
			how.Now = true
		case args.Is("force"):
			how.Force = true
		case args.Is("abort"):
			abort = true
		default:
			c.Error(command.ErrSyntax)
			return
		}
	}
	switch {
	case abort && how != Shutdown{}, how.Save && how.NoSave:
		c.Error(command.ErrSyntax)
	case abort:
		if a.Abort == nil || !a.Abort() {
			c.Error(errNoShutdown)
			return
		}
		c.OK()
	case a.Shutdown == nil:
		c.Error(errShutdown)
	default:
		s := engine.SessionOf(c)
		a.Log.Warn("User requested shutdown...")
		s.ParkUntil(0, func(bool) { c.Error(errShutdown) })
		a.Shutdown(how, s.Wake)
	}
}

func (a *admin) time(c *command.Ctx) {
	now := a.Now()
	c.Array(2)
	c.BulkInt(now.Unix())
	c.BulkInt(int64(now.Nanosecond() / 1000))
}

// lolwut draws a few threads of a skein, by the number of the version asked for.
func (a *admin) lolwut(c *command.Ctx) {
	seed := uint64(7)
	if len(c.Argv) >= 3 && command.Word(c.Arg(1), "version") {
		n, ok := command.ParseInt(c.Arg(2))
		if !ok {
			c.Error(command.ErrNotInteger)
			return
		}
		seed = uint64(n)
	}
	const width, height = 48, 7
	var page [height][width]byte
	for y := range page {
		for x := range page[y] {
			page[y][x] = ' '
		}
	}
	for thread := range uint64(3) {
		y := int((seed + 2*thread) % height)
		for x := range width {
			seed = seed*6364136223846793005 + 1442695040888963407
			switch step := seed >> 62; {
			case step == 0 && y > 0:
				page[y][x] = '/'
				y--
			case step == 1 && y < height-1:
				page[y][x] = '\\'
				y++
			default:
				page[y][x] = '_'
			}
		}
	}
	var text []byte
	for y := range page {
		text = append(append(text, page[y][:]...), '\n')
	}
	text = append(text, "\nA skein of threads. Redis ver. "...)
	text = append(text, engine.Version...)
	c.VerbatimBytes("txt", append(text, '\n'))
}

func (a *admin) moduleLoad(c *command.Ctx) {
	if !a.allowed(c, int(a.Config.EnableModuleCommand.Get())) {
		c.Error(errModules)
		return
	}
	a.Log.Warn("Modules are not supported")
	c.Error("ERR Error loading the extension. Please check the server logs.")
}

func (a *admin) moduleUnload(c *command.Ctx) {
	if !a.allowed(c, int(a.Config.EnableModuleCommand.Get())) {
		c.Error(errModules)
		return
	}
	c.Error("ERR Error unloading module: no such module with that name")
}

func moduleHelp(c *command.Ctx) {
	c.Help("LIST",
		"    The modules loaded: always none.",
		"LOAD <path> [<arg> ...]",
		"    Load a module. Not supported.",
		"LOADEX <path> [[CONFIG NAME VALUE] ...] [ARGS ...]",
		"    Load a module with settings. Not supported.",
		"UNLOAD <name>",
		"    Unload a module.")
}
