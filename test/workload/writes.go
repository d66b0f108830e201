package workload

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/skeindb/skein/test/proc"
)

// WriteExamples holds, for each write command, calls that change data, in the
// forms that reach a replica differently from how they were sent. Calls run from
// top to bottom on one database; keys of different commands do not meet. "@key"
// stands for the key's DUMP.
var WriteExamples = []struct {
	Command string // full name, "container|sub"
	Calls   []string
}{
	{"append", []string{"APPEND ap a", "APPEND ap bcd"}},
	{"bitfield", []string{"BITFIELD bf SET u8 0 200 INCRBY i5 100 1", "BITFIELD bf OVERFLOW SAT INCRBY u4 3 15"}},
	{"bitop", []string{"SET bo1 abc", "SET bo2 abd", "BITOP XOR bo3 bo1 bo2", "BITOP NOT bo4 bo1"}},
	{"blmove", []string{"RPUSH blm a b c", "BLMOVE blm blm2 LEFT RIGHT 0"}},
	{"blmpop", []string{"RPUSH blmp a b c d", "BLMPOP 0 2 nolist blmp RIGHT COUNT 2"}},
	{"blpop", []string{"RPUSH blp a b c", "BLPOP nolist blp 0"}},
	{"brpop", []string{"RPUSH brp a b c", "BRPOP nolist brp 0"}},
	{"brpoplpush", []string{"RPUSH brpl a b c", "BRPOPLPUSH brpl brpl2 0"}},
	{"bzmpop", []string{"ZADD bzm 1 a 2 b 3 c", "BZMPOP 0 1 bzm MAX COUNT 2"}},
	{"bzpopmax", []string{"ZADD bzx 1 a 2 b", "BZPOPMAX bzx 0"}},
	{"bzpopmin", []string{"ZADD bzn 1 a 2 b", "BZPOPMIN bzn 0"}},
	{"copy", []string{"RPUSH cp a b", "COPY cp cp2", "SET cp3 x EX 5000", "COPY cp3 cp2 REPLACE"}},
	{"decr", []string{"DECR dc"}},
	{"decrby", []string{"DECRBY dcb 41"}},
	{"del", []string{"MSET de 1 de2 2 de3 3", "DEL de de2 nokey"}},
	{"expire", []string{"SET ex v", "EXPIRE ex 5000", "SET ex2 v", "EXPIRE ex2 -1", "SET ex3 v", "EXPIRE ex3 5000 NX", "EXPIRE ex3 9000 GT"}},
	{"expireat", []string{"SET exa v", "EXPIREAT exa 4102444800", "SET exa2 v", "EXPIREAT exa2 1"}},
	{"geoadd", []string{"GEOADD geo 13.361389 38.115556 Palermo 15.087269 37.502669 Catania", "GEOADD geo XX CH 13.5 38.2 Palermo"}},
	{"georadius", []string{"GEOADD gr 13.361389 38.115556 a 15.087269 37.502669 b", "GEORADIUS gr 15 37 200 km STORE gr2", "GEORADIUS gr 15 37 200 km STOREDIST gr3"}},
	{"georadiusbymember", []string{"GEOADD grm 13.361389 38.115556 a 15.087269 37.502669 b", "GEORADIUSBYMEMBER grm a 300 km STORE grm2"}},
	{"geosearchstore", []string{"GEOADD gs 13.361389 38.115556 a 15.087269 37.502669 b", "GEOSEARCHSTORE gs2 gs FROMLONLAT 15 37 BYRADIUS 200 km ASC COUNT 1 STOREDIST"}},
	{"getdel", []string{"SET gd v", "GETDEL gd"}},
	{"getex", []string{"SET ge v", "GETEX ge EX 5000", "SET ge2 v EX 5000", "GETEX ge2 PERSIST", "SET ge3 v", "GETEX ge3 EXAT 1"}},
	{"getset", []string{"SET gset v EX 5000", "GETSET gset w"}},
	{"hdel", []string{"HSET hd a 1 b 2 c 3", "HDEL hd a b nofield"}},
	{"hincrby", []string{"HINCRBY hi f 7"}},
	{"hincrbyfloat", []string{"HSET hif f 0.1", "HINCRBYFLOAT hif f 0.2"}},
	{"hmset", []string{"HMSET hm a 1 b 2"}},
	{"hset", []string{"HSET hs a 1 b 2", "HSET hs a 3 c 4"}},
	{"hsetnx", []string{"HSETNX hsn a 1", "HSETNX hsn a 2"}},
	{"hexpire", []string{"HSET hex a 1 b 2 c 3", "HEXPIRE hex 5000 FIELDS 2 a nofield", "HEXPIRE hex 0 FIELDS 1 b"}},
	{"hpexpire", []string{"HSET hpex a 1 b 2", "HPEXPIRE hpex 5000000 NX FIELDS 1 a"}},
	{"hexpireat", []string{"HSET hexa a 1 b 2", "HEXPIREAT hexa 4102444800 FIELDS 1 a"}},
	{"hpexpireat", []string{"HSET hpexa a 1 b 2", "HPEXPIREAT hpexa 4102444800000 FIELDS 1 a"}},
	{"hpersist", []string{"HSET hper a 1 b 2", "HEXPIRE hper 5000 FIELDS 1 a", "HPERSIST hper FIELDS 2 a b"}},
	{"hgetex", []string{"HSET hge a 1 b 2", "HGETEX hge EX 5000 FIELDS 1 a", "HGETEX hge PERSIST FIELDS 1 a"}},
	{"hsetex", []string{"HSETEX hse EX 5000 FIELDS 2 a 1 b 2", "HSETEX hse KEEPTTL FIELDS 1 a 3"}},
	{"hgetdel", []string{"HSET hgd a 1 b 2", "HGETDEL hgd FIELDS 1 a"}},
	{"incr", []string{"INCR in", "SET in2 41 EX 5000", "INCR in2"}},
	{"incrby", []string{"INCRBY inb 1000"}},
	{"incrbyfloat", []string{"SET inf 0.1 EX 5000", "INCRBYFLOAT inf 0.2", "INCRBYFLOAT inf2 3.0e3"}},
	{"linsert", []string{"RPUSH li a b c", "LINSERT li BEFORE b x"}},
	{"lmove", []string{"RPUSH lm a b c", "LMOVE lm lm2 RIGHT LEFT", "LMOVE lm lm LEFT RIGHT"}},
	{"lmpop", []string{"RPUSH lmp a b c d", "LMPOP 2 nolist lmp LEFT COUNT 3"}},
	{"lpop", []string{"RPUSH lp a b c d", "LPOP lp", "LPOP lp 2"}},
	{"lpush", []string{"LPUSH lpu a b c"}},
	{"lpushx", []string{"LPUSH lpx a", "LPUSHX lpx b c", "LPUSHX nolist a"}},
	{"lrem", []string{"RPUSH lr a b a c a", "LREM lr -2 a"}},
	{"lset", []string{"RPUSH ls a b c", "LSET ls 1 x"}},
	{"ltrim", []string{"RPUSH lt a b c d e", "LTRIM lt 1 -2"}},
	{"mset", []string{"MSET ms1 a ms2 b"}},
	{"msetnx", []string{"MSETNX msn1 a msn2 b", "MSETNX msn1 x msn3 y"}},
	{"move", []string{"SET mv v EX 5000", "MOVE mv 3"}},
	{"persist", []string{"SET pe v EX 5000", "PERSIST pe"}},
	{"pexpire", []string{"SET px v", "PEXPIRE px 5000000 XX", "PEXPIRE px 5000000"}},
	{"pexpireat", []string{"SET pxa v", "PEXPIREAT pxa 4102444800000 LT"}},
	{"pfadd", []string{"PFADD pf a b c d e f g", "PFADD pf a", "PFADD pfempty"}},
	{"pfmerge", []string{"PFADD pfm1 a b", "PFADD pfm2 c d", "PFMERGE pfm3 pfm1 pfm2"}},
	{"pfcount", []string{"PFADD pfc a b c", "PFCOUNT pfc"}},
	{"pfdebug", []string{"PFADD pfd a b c", "PFDEBUG TODENSE pfd"}},
	{"psetex", []string{"PSETEX psx 5000000 v"}},
	{"rename", []string{"SET rn v EX 5000", "RENAME rn rn2"}},
	{"renamenx", []string{"SET rnx v", "RENAMENX rnx rnx2", "SET rnx v", "RENAMENX rnx rnx2"}},
	{"restore", []string{"SET re v", "RESTORE re2 5000000 @re", "RESTORE re2 0 @re REPLACE", "RESTORE re3 4102444800000 @re ABSTTL"}},
	{"restore-asking", []string{"SET rea v", "RESTORE-ASKING rea2 0 @rea"}},
	{"rpop", []string{"RPUSH rp a b c d", "RPOP rp", "RPOP rp 2"}},
	{"rpoplpush", []string{"RPUSH rpl a b c", "RPOPLPUSH rpl rpl2"}},
	{"rpush", []string{"RPUSH rpu a b c", "RPUSH rpu 1 -5 100000 abcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyz"}},
	{"rpushx", []string{"RPUSH rpx a", "RPUSHX rpx b"}},
	{"sadd", []string{"SADD sa a b c", "SADD sa2 1 2 3", "SADD sa2 x"}},
	{"sdiffstore", []string{"SADD sd1 a b c", "SADD sd2 b", "SDIFFSTORE sd3 sd1 sd2"}},
	{"sinterstore", []string{"SADD si1 a b c", "SADD si2 b c", "SINTERSTORE si3 si1 si2", "SINTERSTORE si3 si1 noset"}},
	{"sunionstore", []string{"SADD su1 a b c", "SADD su2 x", "SUNIONSTORE su3 su1 su2"}},
	{"set", []string{"SET st v", "SET st2 v EX 5000", "SET st2 w KEEPTTL", "SET st3 v PX 5000000 NX GET", "SET st4 v EXAT 4102444800", "SET st st XX GET", "SET st5 v", "SET st5 v PXAT 1"}},
	{"setbit", []string{"SETBIT sb 100 1"}},
	{"setex", []string{"SETEX sx 5000 v"}},
	{"setnx", []string{"SETNX snx v", "SETNX snx w"}},
	{"setrange", []string{"SETRANGE sr 10 hello"}},
	{"smove", []string{"SADD sm a b", "SMOVE sm sm2 a"}},
	{"sort", []string{"RPUSH so 3 1 2", "SORT so DESC STORE so2"}},
	{"spop", []string{"SADD sp a b c d e f g h", "SPOP sp", "SPOP sp 3", "SADD sp2 a b", "SPOP sp2 5"}},
	{"srem", []string{"SADD srm a b c", "SREM srm a nomember"}},
	{"unlink", []string{"MSET ul 1 ul2 2", "UNLINK ul ul2"}},
	{"xadd", []string{"XADD xa * f v", "XADD xa NOMKSTREAM * g w", "XADD xa2 5-1 a 1 b 2", "XADD xa2 5-* a 1", "XADD xa2 MAXLEN ~ 100 7-0 a 2", "XADD xa2 MAXLEN 2 * a 3"}},
	{"xtrim", []string{"XADD xt 1-1 a 1", "XADD xt 2-1 a 1", "XADD xt 3-1 a 1", "XTRIM xt MAXLEN = 2", "XTRIM xt MINID ~ 3"}},
	{"xdel", []string{"XADD xd 1-1 a 1", "XADD xd 2-1 a 1", "XDEL xd 1-1"}},
	{"xsetid", []string{"XADD xs 1-1 a 1", "XSETID xs 9-9 ENTRIESADDED 5 MAXDELETEDID 3-0"}},
	{"xgroup|create", []string{"XGROUP CREATE xgc g $ MKSTREAM", "XADD xgc2 1-1 a 1", "XGROUP CREATE xgc2 g 0 ENTRIESREAD 1"}},
	{"xgroup|createconsumer", []string{"XGROUP CREATE xgcc g $ MKSTREAM", "XGROUP CREATECONSUMER xgcc g c"}},
	{"xgroup|delconsumer", []string{"XADD xgd 1-1 a 1", "XGROUP CREATE xgd g 0", "XREADGROUP GROUP g c STREAMS xgd >", "XGROUP DELCONSUMER xgd g c"}},
	{"xgroup|destroy", []string{"XGROUP CREATE xgde g $ MKSTREAM", "XGROUP DESTROY xgde g"}},
	{"xgroup|setid", []string{"XADD xgs 1-1 a 1", "XGROUP CREATE xgs g $", "XGROUP SETID xgs g 0"}},
	{"xreadgroup", []string{"XADD xr 1-1 a 1", "XADD xr 2-1 a 1", "XADD xr 3-1 a 1", "XGROUP CREATE xr g 0", "XREADGROUP GROUP g c COUNT 1 STREAMS xr >", "XREADGROUP GROUP g d NOACK COUNT 1 STREAMS xr >", "XREADGROUP GROUP g c STREAMS xr 0"}},
	{"xack", []string{"XADD xk 1-1 a 1", "XGROUP CREATE xk g 0", "XREADGROUP GROUP g c STREAMS xk >", "XACK xk g 1-1"}},
	{"xclaim", []string{"XADD xc 1-1 a 1", "XGROUP CREATE xc g 0", "XREADGROUP GROUP g c STREAMS xc >", "XCLAIM xc g d 0 1-1", "XCLAIM xc g e 0 1-1 IDLE 1000 RETRYCOUNT 7 FORCE JUSTID"}},
	{"xautoclaim", []string{"XADD xac 1-1 a 1", "XADD xac 2-1 a 1", "XGROUP CREATE xac g 0", "XREADGROUP GROUP g c STREAMS xac >", "XDEL xac 2-1", "XAUTOCLAIM xac g d 0 0 COUNT 10"}},
	{"zadd", []string{"ZADD za 1 a 2 b", "ZADD za GT CH 5 a", "ZADD za INCR 0.5 b", "ZADD za NX 9 c"}},
	{"zdiffstore", []string{"ZADD zd1 1 a 2 b", "ZADD zd2 1 a", "ZDIFFSTORE zd3 2 zd1 zd2"}},
	{"zincrby", []string{"ZINCRBY zi 0.1 a", "ZINCRBY zi 0.2 a"}},
	{"zinterstore", []string{"ZADD zn1 1 a 2 b", "ZADD zn2 3 b", "ZINTERSTORE zn3 2 zn1 zn2 WEIGHTS 2 3 AGGREGATE MAX"}},
	{"zunionstore", []string{"ZADD zu1 1 a 2 b", "ZADD zu2 3 b", "ZUNIONSTORE zu3 2 zu1 zu2"}},
	{"zmpop", []string{"ZADD zm 1 a 2 b 3 c", "ZMPOP 2 nozset zm MIN COUNT 2"}},
	{"zpopmax", []string{"ZADD zpx 1 a 2 b 3 c", "ZPOPMAX zpx 2"}},
	{"zpopmin", []string{"ZADD zpn 1 a 2 b 3 c", "ZPOPMIN zpn"}},
	{"zrangestore", []string{"ZADD zrs 1 a 2 b 3 c", "ZRANGESTORE zrs2 zrs 0 1 REV"}},
	{"zrem", []string{"ZADD zrm 1 a 2 b", "ZREM zrm a"}},
	{"zremrangebylex", []string{"ZADD zrl 0 a 0 b 0 c", "ZREMRANGEBYLEX zrl [a (c"}},
	{"zremrangebyrank", []string{"ZADD zrr 1 a 2 b 3 c", "ZREMRANGEBYRANK zrr 0 1"}},
	{"zremrangebyscore", []string{"ZADD zrsc 1 a 2 b 3 c", "ZREMRANGEBYSCORE zrsc (1 2"}},
	{"swapdb", []string{"SWAPDB 4 5"}},
}

// TakeAll are examples of the commands that leave nothing behind; they run by
// themselves, after the others.
var TakeAll = []string{"FLUSHDB", "MSET fl 1 fl2 2", "FLUSHALL", "SET fl3 3"}

// A Conversation sends examples to one server, on one connection and database.
type Conversation struct {
	t    testing.TB
	node *proc.Node
	conn *redis.Conn
	has  map[string]bool
	sent atomic.Int64
}

// Converse opens a conversation in which those commands occur that all of the
// nodes know; the first is talked to.
func Converse(t testing.TB, db int, nodes ...*proc.Node) *Conversation {
	t.Helper()
	c := &Conversation{t: t, node: nodes[0], conn: nodes[0].NewClient(db).Conn()}
	for _, n := range nodes {
		all, _ := Commands(t, n)
		if c.has == nil {
			c.has = all
		}
		maps.DeleteFunc(c.has, func(name string, _ bool) bool { return !all[name] })
	}
	return c
}

// Send runs one call. An error reply fails the test.
func (c *Conversation) Send(call string) {
	c.t.Helper()
	var args []any
	for _, f := range strings.Fields(call) {
		if key, ok := strings.CutPrefix(f, "@"); ok {
			f = c.conn.Dump(context.Background(), key).Val()
		}
		args = append(args, f)
	}
	c.do(args...)
}

func (c *Conversation) do(args ...any) {
	c.t.Helper()
	if err := c.conn.Process(context.Background(), redis.NewCmd(context.Background(), args...)); err != nil && err != redis.Nil {
		c.t.Errorf("%s: %v: %v", c.node, args, err)
	}
	c.sent.Add(1)
}

// SendAll runs the examples of all commands, half of them in a transaction of
// their own.
func (c *Conversation) SendAll() {
	c.t.Helper()
	for i, ex := range WriteExamples {
		if c.t.Failed() {
			return
		}
		if !c.has[ex.Command] {
			continue
		}
		for j, call := range ex.Calls {
			if i%2 == 1 && j == len(ex.Calls)-1 && !strings.Contains(call, "@") {
				c.Send("MULTI")
				c.Send(call)
				c.Send("SET multi:" + ex.Command + " x")
				c.Send("EXEC")
				continue
			}
			c.Send(call)
		}
	}
}

// Commands returns the full names of a node's commands, and which of them write.
func Commands(t testing.TB, n *proc.Node) (all, writes map[string]bool) {
	t.Helper()
	all, writes = map[string]bool{}, map[string]bool{}
	var visit func(list []any)
	visit = func(list []any) {
		for _, e := range list {
			spec, ok := e.([]any)
			if !ok {
				continue
			}
			name := fmt.Sprint(spec[0])
			subs, _ := spec[9].([]any)
			all[name] = true
			if slices.Contains(spec[2].([]any), any("write")) && len(subs) == 0 {
				writes[name] = true
			}
			visit(subs)
		}
	}
	visit(n.Must("COMMAND").([]any))
	return all, writes
}
