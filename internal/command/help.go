package command

import "strings"

// Help replies as HELP of a container does: a title, the given lines (one for
// the syntax of a subcommand, then indented ones that explain it), and the entry
// of HELP itself.
func (c *Ctx) Help(lines ...string) {
	name := c.Spec.Name
	if c.Spec.Parent != nil {
		name = c.Spec.Parent.Name
	}
	c.Array(len(lines) + 3)
	c.Simple(strings.ToUpper(name) + " <subcommand> [<arg> [value] [opt] ...]. Subcommands are:")
	for _, l := range lines {
		c.Simple(l)
	}
	c.Simple("HELP")
	c.Simple("    Print this help.")
}

// SubSyntax replies that the arguments do not fit the subcommand, in the words
// that containers use.
func (c *Ctx) SubSyntax() {
	word := c.Arg(1)
	c.Error("ERR unknown subcommand or wrong number of arguments for '" + string(word[:min(len(word), 128)]) + "'. Try " +
		strings.ToUpper(c.Spec.Parent.Name) + " HELP.")
}
