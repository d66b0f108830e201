package admin

import "github.com/skeindb/skein/internal/command"

const errProtocolType = "ERR Wrong protocol type name. Please use one of the following: " +
	"string|integer|double|bignum|null|array|set|map|attrib|push|verbatim|true|false"

// protocol replies with a value of the type asked for, for those who test
// clients. The values are the ones that redis-server sends, since tests of
// client libraries expect them.
func protocol(c *command.Ctx) {
	switch arg := c.Arg(2); {
	case command.Word(arg, "string"):
		c.BulkString("Hello World")
	case command.Word(arg, "integer"):
		c.Int(12345)
	case command.Word(arg, "double"):
		c.Double(3.141)
	case command.Word(arg, "bignum"):
		c.BigNumber("1234567999999999999999999999999999999")
	case command.Word(arg, "null"):
		c.Null()
	case command.Word(arg, "array"):
		c.Array(3)
		for i := range int64(3) {
			c.Int(i)
		}
	case command.Word(arg, "set"):
		c.Set(3)
		for i := range int64(3) {
			c.Int(i)
		}
	case command.Word(arg, "map"):
		c.Map(3)
		for i := range int64(3) {
			c.Int(i)
			c.Bool(i == 1)
		}
	case command.Word(arg, "attrib"):
		if c.RESP3() {
			c.Attribute(1)
			c.BulkString("key-popularity")
			c.Array(2)
			c.BulkString("key:123")
			c.Int(90)
		}
		c.BulkString("Some real reply following the attribute")
	case command.Word(arg, "push"):
		if !c.RESP3() {
			c.Error("ERR RESP2 is not supported by this command")
			return
		}
		c.Push(2)
		c.BulkString("server-cpu-usage")
		c.Int(42)
		c.BulkString("Some real reply following the push reply")
	case command.Word(arg, "verbatim"):
		c.Verbatim("txt", "This is a verbatim\nstring")
	case command.Word(arg, "true"):
		c.Bool(true)
	case command.Word(arg, "false"):
		c.Bool(false)
	default:
		c.Error(errProtocolType)
	}
}
