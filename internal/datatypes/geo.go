package datatypes

import (
	"cmp"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/skeindb/skein/internal/command"
	"github.com/skeindb/skein/internal/ds"
	"github.com/skeindb/skein/internal/store"
)

// Positions are members of a sorted set, with scores as in geohash.go.

const (
	errGeoUnit   = "ERR unsupported unit provided. please use M, KM, FT, MI"
	errGeoMember = "ERR could not decode requested zset member"
)

func geoSpecs() []*command.Spec {
	const (
		logN      = "O(log(N)) for each member, N being the number of members of the sorted set."
		search    = "O(N+log(M)), N being the number of members in and around the shape, M the number of members in the shape."
		options   = "[WITHCOORD] [WITHDIST] [WITHHASH] [COUNT count [ANY]] [ASC | DESC]"
		units     = "<M | KM | FT | MI>"
		byMember  = "key member radius " + units + " " + options
		byCoord   = "key longitude latitude radius " + units + " " + options
		storing   = " [STORE key | STOREDIST key]"
		searching = "<FROMMEMBER member | FROMLONLAT longitude latitude> <BYRADIUS radius " + units + " | BYBOX width height " + units + ">"
	)
	read := func() []command.KeySpec { return command.OneKey(command.RO | command.Access) }
	stores := func(base int) []command.KeySpec {
		out := command.OW | command.Update
		return append(read(), command.KeySpec{Flags: out, Keyword: "STORE", StartFrom: base, Step: 1},
			command.KeySpec{Flags: out, Keyword: "STOREDIST", StartFrom: base, Step: 1})
	}
	extra := func(base int) func([][]byte, func(int, command.KeyFlags)) {
		return func(argv [][]byte, visit func(int, command.KeyFlags)) { geoStoreKey(argv, base, visit) }
	}
	return []*command.Spec{
		{Name: "geoadd", Group: command.Geo, Since: "3.2.0", Arity: -5, Complexity: logN,
			Summary: "Adds members with their positions, or moves them.",
			Syntax:  "key [NX | XX] [CH] longitude latitude member [longitude latitude member ...]",
			Flags:   command.Write | command.DenyOOM, Keys: command.OneKey(command.RW | command.Update), Run: geoadd},
		{Name: "geopos", Group: command.Geo, Since: "3.2.0", Arity: -2, Complexity: "O(1) for each member.",
			Summary: "Returns the positions of members.", Syntax: "key [member [member ...]]",
			Flags: command.ReadOnly, Keys: read(), Run: geopos},
		{Name: "geohash", Group: command.Geo, Since: "3.2.0", Arity: -2, Complexity: "O(1) for each member.",
			Summary: "Returns the positions of members as geohash strings.", Syntax: "key [member [member ...]]",
			Flags: command.ReadOnly, Keys: read(), Run: geohash},
		{Name: "geodist", Group: command.Geo, Since: "3.2.0", Arity: -4, Complexity: "O(1)",
			Summary: "Returns the distance between two members.", Syntax: "key member1 member2 [M | KM | FT | MI]",
			Flags: command.ReadOnly, Keys: read(), Run: geodist},
		{Name: "geosearch", Group: command.Geo, Since: "6.2.0", Arity: -7, Complexity: search,
			Summary: "Returns the members inside of a circle or box.", Syntax: "key " + searching + " [ASC | DESC] [COUNT count [ANY]] [WITHCOORD] [WITHDIST] [WITHHASH]",
			Flags: command.ReadOnly, Keys: read(), Run: func(c *command.Ctx) { geoSearch(c, geoQuery{src: 1, opts: 2}) }},
		{Name: "geosearchstore", Group: command.Geo, Since: "6.2.0", Arity: -8, Complexity: search,
			Summary: "Stores the members inside of a circle or box.",
			Syntax:  "destination source " + searching + " [ASC | DESC] [COUNT count [ANY]] [STOREDIST]",
			Flags:   command.Write | command.DenyOOM,
			Keys:    []command.KeySpec{command.KeyAt(1, command.OW|command.Update), command.KeyAt(2, command.RO|command.Access)},
			Run:     func(c *command.Ctx) { geoSearch(c, geoQuery{src: 2, opts: 3, storeArg: 1}) }},
		{Name: "georadius", Group: command.Geo, Since: "3.2.0", Arity: -6, Complexity: search,
			Summary: "Returns or stores the members inside of a circle. Older form of GEOSEARCH.", Syntax: byCoord + storing,
			Flags: command.Write | command.DenyOOM, Keys: stores(6), ExtraKeys: extra(6),
			Run: func(c *command.Ctx) { geoSearch(c, geoQuery{src: 1, opts: 6, mayStore: true}) }},
		{Name: "georadius_ro", Group: command.Geo, Since: "3.2.10", Arity: -6, Complexity: search,
			Summary: "Returns the members inside of a circle.", Syntax: byCoord,
			Flags: command.ReadOnly, Keys: read(), Run: func(c *command.Ctx) { geoSearch(c, geoQuery{src: 1, opts: 6}) }},
		{Name: "georadiusbymember", Group: command.Geo, Since: "3.2.0", Arity: -5, Complexity: search,
			Summary: "Returns or stores the members inside of a circle around one of them. Older form of GEOSEARCH.", Syntax: byMember + storing,
			Flags: command.Write | command.DenyOOM, Keys: stores(5), ExtraKeys: extra(5),
			Run: func(c *command.Ctx) { geoSearch(c, geoQuery{src: 1, opts: 5, mayStore: true}) }},
		{Name: "georadiusbymember_ro", Group: command.Geo, Since: "3.2.10", Arity: -5, Complexity: search,
			Summary: "Returns the members inside of a circle around one of them.", Syntax: byMember,
			Flags: command.ReadOnly, Keys: read(), Run: func(c *command.Ctx) { geoSearch(c, geoQuery{src: 1, opts: 5}) }},
	}
}

// geoStoreKey visits the destination of GEORADIUS in the rare case that the key
// specifications, which see the first STORE, miss it: the last one counts, and an
// option's argument may itself be called "store".
func geoStoreKey(argv [][]byte, base int, visit func(arg int, f command.KeyFlags)) {
	at, first, firstDist := 0, 0, 0
	for i := base; i+1 < len(argv); i++ {
		if first == 0 && command.Word(argv[i], "store") {
			first = i + 1
		}
		if firstDist == 0 && command.Word(argv[i], "storedist") {
			firstDist = i + 1
		}
	}
	for i := base; i+1 < len(argv); i++ {
		switch {
		case command.Word(argv[i], "store"), command.Word(argv[i], "storedist"):
			i++
			at = i
		case command.Word(argv[i], "count"):
			i++
		}
	}
	if at != 0 && at != first && at != firstDist {
		visit(at, command.OW|command.Update)
	}
}

// parsePosition reads a longitude and a latitude; where they are none it has
// replied.
func parsePosition(c *command.Ctx, args [][]byte) (p geoPoint, ok bool) {
	lon, ok1 := command.ParseFloat(args[0])
	lat, ok2 := command.ParseFloat(args[1])
	if !ok1 || !ok2 {
		c.Error(command.ErrNotFloat)
		return p, false
	}
	if math.Abs(lon) > geoLonMax || math.Abs(lat) > geoLatMax {
		c.Error("ERR invalid longitude,latitude pair " + fixed(lon, 6) + "," + fixed(lat, 6))
		return p, false
	}
	return geoPoint{lon, lat}, true
}

// fixed is printf's %.nf.
func fixed(f float64, n int) string {
	switch {
	case math.IsInf(f, 1):
		return "inf"
	case math.IsInf(f, -1):
		return "-inf"
	}
	return strconv.FormatFloat(f, 'f', n, 64)
}

// parseUnit returns the metres of a unit; where it is none it has replied.
func parseUnit(c *command.Ctx, arg []byte) (metres float64, ok bool) {
	switch {
	case command.Word(arg, "m"):
		return 1, true
	case command.Word(arg, "km"):
		return 1000, true
	case command.Word(arg, "ft"):
		return 0.3048, true
	case command.Word(arg, "mi"):
		return 1609.34, true
	}
	c.Error(errGeoUnit)
	return 0, false
}

func geoadd(c *command.Ctx) {
	at, flags := 2, 0
	for ; at < len(c.Argv); at++ {
		if arg := c.Argv[at]; command.Word(arg, "nx") {
			flags |= zaddNX
		} else if command.Word(arg, "xx") {
			flags |= zaddXX
		} else if command.Word(arg, "ch") {
			flags |= zaddCH
		} else {
			break
		}
	}
	if (len(c.Argv)-at)%3 != 0 || flags&zaddNX != 0 && flags&zaddXX != 0 {
		c.Error(command.ErrSyntax)
		return
	}
	// It becomes the ZADD that it is: for this server and for its replicas.
	argv := append(make([][]byte, 0, len(c.Argv)), []byte("zadd"))
	argv = append(argv, c.Argv[1:at]...)
	for i := at; i < len(c.Argv); i += 3 {
		p, ok := parsePosition(c, c.Argv[i:])
		if !ok {
			return
		}
		argv = append(argv, strconv.AppendUint(nil, geoScore(p), 10), c.Argv[i+2])
	}
	own := c.Argv
	c.Argv = argv
	zaddFrom(c, at, flags)
	c.Argv = own
	if c.Dirty != 0 {
		c.Propagate(argv...)
	}
}

// geoMember returns the position of a member; o need not exist.
func geoMember(o *store.Obj, member []byte) (p geoPoint, ok bool) {
	if !o.Exists() {
		return p, false
	}
	score, ok := zsetScore(o, member)
	return geoPosition(score), ok
}

// replyPosition replies with a longitude and a latitude.
func replyPosition(c *command.Ctx, p geoPoint) {
	c.Array(2)
	for _, f := range [...]float64{p.lon, p.lat} {
		text := strings.TrimRight(fixed(f, 17), "0")
		text = strings.TrimSuffix(text, ".")
		if c.RESP3() {
			c.RawString("," + text + "\r\n")
		} else {
			c.BulkString(text)
		}
	}
}

func geopos(c *command.Ctx) {
	o := c.Obj(0)
	if !findZSet(c, 1, o) {
		return
	}
	c.Array(len(c.Argv) - 2)
	for _, m := range c.Argv[2:] {
		if p, ok := geoMember(o, m); ok {
			replyPosition(c, p)
		} else {
			c.NullArray()
		}
	}
}

func geohash(c *command.Ctx) {
	o := c.Obj(0)
	if !findZSet(c, 1, o) {
		return
	}
	c.Array(len(c.Argv) - 2)
	for _, m := range c.Argv[2:] {
		if p, ok := geoMember(o, m); ok {
			text := geohashText(p)
			c.Bulk(text[:])
		} else {
			c.Null()
		}
	}
}

func geodist(c *command.Ctx) {
	unit := 1.0
	if len(c.Argv) == 5 {
		var ok bool
		if unit, ok = parseUnit(c, c.Argv[4]); !ok {
			return
		}
	} else if len(c.Argv) > 5 {
		c.Error(command.ErrSyntax)
		return
	}
	o := c.Obj(0)
	if !findZSet(c, 1, o) {
		return
	}
	a, ok1 := geoMember(o, c.Argv[2])
	b, ok2 := geoMember(o, c.Argv[3])
	if !ok1 || !ok2 {
		c.Null()
		return
	}
	c.BulkString(fixed(geoDistance(a, b)/unit, 4))
}

// geoQuery is a search with its options.
type geoQuery struct {
	src, opts, storeArg int  // positions: source, first option, destination or 0
	mayStore            bool // the destination is an option

	shape                         geoShape
	unit                          float64 // metres
	withCoord, withDist, withHash bool
	storeDist                     bool
	asc, desc, any                bool
	count                         int64 // 0: all
}

// distance reads a number of units, of what the word says.
func (q *geoQuery) distance(c *command.Ctx, arg []byte, what string) (f float64, ok bool) {
	f, ok = command.ParseFloat(arg)
	if !ok {
		c.Error("ERR need numeric " + what)
	}
	return f, ok
}

// circle reads a radius and its unit.
func (q *geoQuery) circle(c *command.Ctx, args [][]byte) (ok bool) {
	r, ok := q.distance(c, args[0], "radius")
	if !ok {
		return false
	}
	if r < 0 {
		c.Error("ERR radius cannot be negative")
		return false
	}
	if q.unit, ok = parseUnit(c, args[1]); ok {
		q.shape.box, q.shape.radius = false, r*q.unit
	}
	return ok
}

// box reads a width, a height and their unit.
func (q *geoQuery) box(c *command.Ctx, args [][]byte) (ok bool) {
	w, ok := q.distance(c, args[0], "width")
	if !ok {
		return false
	}
	h, ok := q.distance(c, args[1], "height")
	if !ok {
		return false
	}
	if w < 0 || h < 0 {
		c.Error("ERR height or width cannot be negative")
		return false
	}
	if q.unit, ok = parseUnit(c, args[2]); ok {
		q.shape.box, q.shape.width, q.shape.height = true, w*q.unit, h*q.unit
	}
	return ok
}

// member puts the middle of the shape on a member.
func (q *geoQuery) member(c *command.Ctx, o *store.Obj, member []byte) (ok bool) {
	if q.shape.middle, ok = geoMember(o, member); !ok {
		c.Error(errGeoMember)
	}
	return ok
}

// parse reads what follows the source o, which need not exist. Where it is wrong
// it has replied and returns false.
func (q *geoQuery) parse(c *command.Ctx, o *store.Obj) (ok bool) {
	search := q.opts <= 3 // GEOSEARCH and GEOSEARCHSTORE
	fixedDest := q.storeArg != 0
	switch {
	case q.opts == 6:
		if q.shape.middle, ok = parsePosition(c, c.Argv[2:]); !ok || !q.circle(c, c.Argv[4:]) {
			return false
		}
	case q.opts == 5 && o.Exists():
		if !q.member(c, o, c.Argv[2]) || !q.circle(c, c.Argv[3:]) {
			return false
		}
	}
	var fromMember, fromPosition, byRadius, byBox bool
	for i := q.opts; i < len(c.Argv); i++ {
		left := len(c.Argv) - i - 1
		switch is := func(word string) bool { return command.Word(c.Argv[i], word) }; {
		case is("withdist"):
			q.withDist = true
		case is("withhash"):
			q.withHash = true
		case is("withcoord"):
			q.withCoord = true
		case is("any"):
			q.any = true
		case is("asc"):
			q.asc, q.desc = true, false
		case is("desc"):
			q.asc, q.desc = false, true
		case is("count") && left > 0:
			i++
			if q.count, ok = command.ParseInt(c.Argv[i]); !ok {
				c.Error(command.ErrNotInteger)
				return false
			}
			if q.count <= 0 {
				c.Error("ERR COUNT must be > 0")
				return false
			}
		case q.mayStore && left > 0 && (is("store") || is("storedist")):
			q.storeDist = is("storedist")
			i++
			q.storeArg = i
		case search && is("frommember") && left > 0 && !fromPosition:
			i++
			if o.Exists() && !q.member(c, o, c.Argv[i]) {
				return false
			}
			fromMember = true
		case search && is("fromlonlat") && left > 1 && !fromMember:
			if q.shape.middle, ok = parsePosition(c, c.Argv[i+1:]); !ok {
				return false
			}
			fromPosition = true
			i += 2
		case search && is("byradius") && left > 1 && !byBox:
			if !q.circle(c, c.Argv[i+1:]) {
				return false
			}
			byRadius = true
			i += 2
		case search && is("bybox") && left > 2 && !byRadius:
			if !q.box(c, c.Argv[i+1:]) {
				return false
			}
			byBox = true
			i += 3
		case fixedDest && is("storedist"):
			q.storeDist = true
		default:
			c.Error(command.ErrSyntax)
			return false
		}
	}
	name := string(c.Argv[0])
	switch {
	case q.storeArg != 0 && (q.withDist || q.withHash || q.withCoord):
		what := "STORE option in GEORADIUS"
		if fixedDest {
			what = "GEOSEARCHSTORE"
		}
		c.Error("ERR " + what + " is not compatible with WITHDIST, WITHHASH and WITHCOORD options")
	case search && !fromMember && !fromPosition:
		c.Error("ERR exactly one of FROMMEMBER or FROMLONLAT can be specified for " + name)
	case search && !byRadius && !byBox:
		c.Error("ERR exactly one of BYRADIUS and BYBOX can be specified for " + name)
	case q.any && q.count == 0:
		c.Error("ERR the ANY argument requires COUNT argument")
	default:
		return true
	}
	return false
}

// geoHit is a member found by a search. The member is a view of the source.
type geoHit struct {
	member   ds.Elem
	score    float64
	at       geoPoint
	distance float64 // in the unit of the query
}

// run returns the members of o in the shape, nearest or farthest first if that
// is asked for, or needed to choose as many as wanted.
func (q *geoQuery) run(o *store.Obj) (hits []geoHit) {
	for _, cell := range q.shape.cells() {
		lo, hi := cell.scores()
		geoRange(o, lo, hi, func(member ds.Elem, score float64) bool {
			p := geoPosition(score)
			if d, ok := q.shape.contains(p); ok {
				hits = append(hits, geoHit{member, score, p, d / q.unit})
			}
			return !q.any || int64(len(hits)) < q.count
		})
		if q.any && int64(len(hits)) >= q.count {
			break
		}
	}
	switch {
	case q.desc:
		slices.SortStableFunc(hits, func(a, b geoHit) int { return cmp.Compare(b.distance, a.distance) })
	case q.asc || q.count != 0 && !q.any:
		slices.SortStableFunc(hits, func(a, b geoHit) int { return cmp.Compare(a.distance, b.distance) })
	}
	if q.count != 0 && int64(len(hits)) > q.count {
		hits = hits[:q.count]
	}
	return hits
}

// geoRange visits the members with scores from lo on and below hi, in order,
// until visit returns false.
func geoRange(o *store.Obj, lo, hi float64, visit func(member ds.Elem, score float64) bool) {
	if o.Encoding() != store.Listpack {
		for it := zsetTree(o).SeekScore(lo, false); it.Valid() && it.Score() < hi; it.Next() {
			if !visit(ds.Elem{Str: it.Member()}, it.Score()) {
				return
			}
		}
		return
	}
	zsetElems(o, func(member ds.Elem, score float64) bool {
		return score < lo || score < hi && visit(member, score)
	})
}

func geoSearch(c *command.Ctx, q geoQuery) {
	o := c.Obj(0)
	if !findZSet(c, q.src, o) || !q.parse(c, o) {
		return
	}
	var hits []geoHit
	if o.Exists() {
		hits = q.run(o)
	}
	if q.storeArg != 0 {
		var r zsetResult
		for _, h := range hits {
			if q.storeDist {
				h.score = h.distance
			}
			r.add(h.member, h.score)
		}
		event := "georadiusstore"
		if !q.mayStore {
			event = "geosearchstore"
		}
		r.store(c, q.storeArg, event)
		return
	}
	fields := 1 + int(boolInt(q.withDist)+boolInt(q.withHash)+boolInt(q.withCoord))
	c.Array(len(hits))
	for _, h := range hits {
		if fields > 1 {
			c.Array(fields)
		}
		replyElem(c, h.member)
		if q.withDist {
			c.BulkString(fixed(h.distance, 4))
		}
		if q.withHash {
			c.Int(int64(h.score))
		}
		if q.withCoord {
			replyPosition(c, h.at)
		}
	}
}
