package engine

import (
	"slices"

	"github.com/skeindb/skein/internal/command"
)

// Specs are the commands that this package carries out itself.
func Specs() []*command.Spec {
	const conn = command.Session
	return append([]*command.Spec{
		{Name: "ping", Group: command.Connection, Since: "1.0.0", Arity: -1, Complexity: "O(1)",
			Summary: "Answers PONG, or the given message.", Syntax: "[message]", Flags: conn | command.Fast,
			Tips: []string{"request_policy:all_shards", "response_policy:all_succeeded"}, Run: pingRun},
		{Name: "echo", Group: command.Connection, Since: "1.0.0", Arity: 2, Complexity: "O(1)",
			Summary: "Answers the given message.", Syntax: "message", Flags: conn | command.Fast | command.Loading | command.Stale, Run: func(c *command.Ctx) { c.Bulk(c.Arg(1)) }},
		{Name: "select", Group: command.Connection, Since: "1.0.0", Arity: 2, Complexity: "O(1)",
			Summary: "Chooses the connection's database.", Syntax: "index", Flags: conn | command.Fast | command.Loading | command.Stale, Run: selectRun},
		{Name: "quit", Group: command.Connection, Since: "1.0.0", Arity: -1, Complexity: "O(1)",
			Summary: "Closes the connection.", Flags: conn | command.Fast | command.Loading | command.Stale | command.NoAuth | command.NoScript | command.AllowBusy, Run: quitRun},
		{Name: "multi", Group: command.Transactions, Since: "1.2.0", Arity: 1, Complexity: "O(1)",
			Summary: "Begins a transaction.", Flags: conn | command.NoScript | command.Loading | command.Stale | command.Fast | command.AllowBusy, Run: multiCommandRun},
		{Name: "exec", Group: command.Transactions, Since: "1.2.0", Arity: 1, Complexity: "Depends on the commands of the transaction",
			Summary: "Runs the commands of a transaction.", Flags: conn | command.NoScript | command.Loading | command.Stale | command.SkipSlowlog, Run: execRun},
		{Name: "discard", Group: command.Transactions, Since: "2.0.0", Arity: 1, Complexity: "O(N) with the commands queued",
			Summary: "Drops a transaction.", Flags: conn | command.NoScript | command.Loading | command.Stale | command.Fast | command.AllowBusy, Run: discardRun},
		{Name: "watch", Group: command.Transactions, Since: "2.2.0", Arity: -2, Complexity: "O(1) for each key",
			Summary: "Makes the next transaction depend on keys staying as they are.", Syntax: "key [key ...]",
			Flags: conn | command.NoScript | command.Loading | command.Stale | command.Fast | command.AllowBusy, Keys: command.KeyRange(1, -1, 1, command.RO), Run: watchRun},
		{Name: "unwatch", Group: command.Transactions, Since: "2.2.0", Arity: 1, Complexity: "O(1)",
			Summary: "Forgets the watched keys.", Flags: conn | command.NoScript | command.Loading | command.Stale | command.Fast | command.AllowBusy, Run: unwatchRun},
		{Name: "monitor", Group: command.Server, Since: "1.0.0", Arity: 1, Complexity: "O(1)",
			Summary: "Shows every command as it arrives.", Flags: conn | command.Admin | command.NoScript | command.Loading | command.Stale, Run: monitorRun},
	}, slices.Concat(helloSpecs(), clientSpecs(), keyspaceSpecs(), pubsubSpecs())...)
}

func pubsubSpecs() []*command.Spec {
	const f = command.Session | command.PubSubFlag | command.NoScript | command.Loading | command.Stale
	channel := command.OneKey(command.NotKey)
	channels := command.KeyRange(1, -1, 1, command.NotKey)
	sub := func(name, since, syntax, complexity, summary string, arity int, run func(*command.Ctx)) *command.Spec {
		return &command.Spec{Name: name, Group: command.PubSub, Since: since, Arity: arity, Complexity: complexity,
			Summary: summary, Syntax: syntax, Flags: command.Session | command.PubSubFlag | command.Loading | command.Stale, Run: run}
	}
	return []*command.Spec{
		{Name: "subscribe", Group: command.PubSub, Since: "2.0.0", Arity: -2, Complexity: "O(N) with the channels", Syntax: "channel [channel ...]",
			Summary: "Listens to channels.", Flags: f, Run: subscribeRun},
		{Name: "psubscribe", Group: command.PubSub, Since: "2.0.0", Arity: -2, Complexity: "O(N) with the patterns", Syntax: "pattern [pattern ...]",
			Summary: "Listens to the channels that match patterns.", Flags: f, Run: subscribeRun},
		{Name: "ssubscribe", Group: command.PubSub, Since: "7.0.0", Arity: -2, Complexity: "O(N) with the channels", Syntax: "shardchannel [shardchannel ...]",
			Summary: "Listens to shard channels.", Flags: f, Keys: channels, Run: ssubscribeRun},
		{Name: "unsubscribe", Group: command.PubSub, Since: "2.0.0", Arity: -1, Complexity: "O(N) with the channels", Syntax: "[channel [channel ...]]",
			Summary: "Stops listening to channels.", Flags: f, Run: unsubscribeRun},
		{Name: "punsubscribe", Group: command.PubSub, Since: "2.0.0", Arity: -1, Complexity: "O(N) with the patterns", Syntax: "[pattern [pattern ...]]",
			Summary: "Stops listening to patterns.", Flags: f, Run: unsubscribeRun},
		{Name: "sunsubscribe", Group: command.PubSub, Since: "7.0.0", Arity: -1, Complexity: "O(N) with the channels", Syntax: "[shardchannel [shardchannel ...]]",
			Summary: "Stops listening to shard channels.", Flags: f, Keys: channels, Run: sunsubscribeRun},
		{Name: "publish", Group: command.PubSub, Since: "2.0.0", Arity: 3, Complexity: "O(N+M) with the subscribers and the patterns", Syntax: "channel message",
			Summary: "Sends a message to a channel.", Flags: command.Session | command.PubSubFlag | command.Loading | command.Stale | command.Fast | command.MayReplicate, Run: publishRun},
		{Name: "spublish", Group: command.PubSub, Since: "7.0.0", Arity: 3, Complexity: "O(N) with the subscribers", Syntax: "shardchannel message",
			Summary: "Sends a message to a shard channel.", Flags: command.Session | command.PubSubFlag | command.Loading | command.Stale | command.Fast | command.MayReplicate,
			Keys: channel, Run: publishRun},
		{Name: "pubsub", Group: command.PubSub, Since: "2.8.0", Arity: -2, Complexity: "Depends on the subcommand", Summary: "Container of commands about subscriptions.", Categories: []string{"-pubsub"},
			Subs: []*command.Spec{
				sub("channels", "2.8.0", "[pattern]", "O(N) with the channels", "Lists channels with subscribers.", -2, pubsubChannels),
				{Name: "help", Group: command.PubSub, Since: "6.2.0", Arity: 2, Complexity: "O(1)", Summary: "Explains the subcommands.",
					Flags: command.Session | command.Loading | command.Stale, Categories: []string{"-pubsub"}, Run: pubsubHelp},
				sub("numsub", "2.8.0", "[channel [channel ...]]", "O(N) with the channels asked for", "Counts the subscribers of channels.", -2, pubsubNumSub),
				sub("numpat", "2.8.0", "", "O(1)", "Counts the patterns listened to.", 2, pubsubNumPat),
				sub("shardchannels", "7.0.0", "[pattern]", "O(N) with the channels", "Lists shard channels with subscribers.", -2, pubsubChannels),
				sub("shardnumsub", "7.0.0", "[shardchannel [shardchannel ...]]", "O(N) with the channels asked for", "Counts the subscribers of shard channels.", -2, pubsubNumSub),
			}},
	}
}

func pingRun(c *command.Ctx) {
	s := SessionOf(c)
	if len(c.Argv) > 2 {
		c.Error(command.WrongArity("ping"))
		return
	}
	if s.subs() > 0 && s.out.Proto == 2 {
		c.Array(2)
		c.BulkString("pong")
		if len(c.Argv) == 2 {
			c.Bulk(c.Arg(1))
		} else {
			c.BulkString("")
		}
		return
	}
	if len(c.Argv) == 2 {
		c.Bulk(c.Arg(1))
	} else {
		c.Simple("PONG")
	}
}

func selectRun(c *command.Ctx) {
	s := SessionOf(c)
	n, ok := command.ParseInt(c.Arg(1))
	switch {
	case !ok:
		c.Error(command.ErrNotInteger)
	case s.e.View().Cluster && n != 0:
		c.Error("ERR SELECT is not allowed in cluster mode")
	case n < 0 || n >= int64(s.e.Store.DBs()):
		c.Error(command.ErrDBIndex)
	default:
		s.dbIndex = int(n)
		s.publishState()
		c.OK()
	}
}

func quitRun(c *command.Ctx) {
	SessionOf(c).closing = true
	c.OK()
}
