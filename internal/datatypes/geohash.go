package datatypes

import "math"

// A position is kept as the score of a sorted set: a number of 52 bits whose odd
// bits, from bit 1 on, are the cell of the longitude among 2^26, and whose even
// bits are that of the latitude. Cells of 2^step by 2^step, step up to 26, are
// ranges of scores.
const (
	geoSteps  = 26
	geoLonMax = 180
	geoLatMax = 85.05112878 // that of the Mercator projection; EPSG:900913

	earthRadius = 6372797.560856 // metres, as every server of the protocol has it
	mercatorMax = 20037726.37    // metres from the middle of the projection to its edge
)

// geoPoint is a position in degrees.
type geoPoint struct{ lon, lat float64 }

// geoCell is a cell of the grid of a step.
type geoCell struct {
	x, y uint32 // longitude, latitude
	step uint
}

// cellOf returns the cell of a position, with latitudes up to latMax.
func cellOf(p geoPoint, latMax float64, step uint) geoCell {
	n := float64(uint64(1) << step)
	x := (p.lon + geoLonMax) / (2 * geoLonMax) * n
	y := (p.lat + latMax) / (2 * latMax) * n
	return geoCell{uint32(x), uint32(y), step}
}

// bits returns the cell's number.
func (g geoCell) bits() uint64 { return spread(g.y) | spread(g.x)<<1 }

// scores returns the range of scores of the positions in the cell: from lo up to,
// and without, hi.
func (g geoCell) scores() (lo, hi float64) {
	shift := 2 * (geoSteps - g.step)
	b := g.bits()
	return float64(b << shift), float64((b + 1) << shift)
}

// move returns the cell some cells further east and north. The grid has no edge:
// it goes on at the other side.
func (g geoCell) move(east, north int) geoCell {
	mask := uint32(1)<<g.step - 1
	return geoCell{(g.x + uint32(east)) & mask, (g.y + uint32(north)) & mask, g.step}
}

// bounds returns the corners of the cell.
func (g geoCell) bounds() (min, max geoPoint) {
	n := float64(uint64(1) << g.step)
	at := func(i, top float64) float64 { return -top + float64(i/n*(2*top)) }
	x, y := float64(g.x), float64(g.y)
	return geoPoint{at(x, geoLonMax), at(y, geoLatMax)}, geoPoint{at(x+1, geoLonMax), at(y+1, geoLatMax)}
}

// geoScore returns the score of a position.
func geoScore(p geoPoint) uint64 { return cellOf(p, geoLatMax, geoSteps).bits() }

// geoPosition returns the middle of a score's cell.
func geoPosition(score float64) geoPoint {
	b := uint64(int64(score))
	min, max := geoCell{gather(b >> 1), gather(b), geoSteps}.bounds()
	middle := func(a, b, top float64) float64 { return math.Max(-top, math.Min(top, (a+b)/2)) }
	return geoPoint{middle(min.lon, max.lon, geoLonMax), middle(min.lat, max.lat, geoLatMax)}
}

// geohashAlphabet holds the digits of a geohash, as geohash.org has them.
const geohashAlphabet = "0123456789bcdefghjkmnpqrstuvwxyz"

// geohashText returns the geohash of a position: latitudes reach to the poles
// there. 52 bits make ten digits; the eleventh is 0.
func geohashText(p geoPoint) (text [11]byte) {
	b := cellOf(p, 90, geoSteps).bits()
	for i := range text {
		d := uint64(0)
		if i < 10 {
			d = b >> (52 - 5*(i+1)) & 31
		}
		text[i] = geohashAlphabet[d]
	}
	return text
}

// spread moves bit i of v to bit 2*i.
func spread(v uint32) uint64 {
	x := uint64(v)
	x = (x | x<<16) & 0x0000ffff0000ffff
	x = (x | x<<8) & 0x00ff00ff00ff00ff
	x = (x | x<<4) & 0x0f0f0f0f0f0f0f0f
	x = (x | x<<2) & 0x3333333333333333
	return (x | x<<1) & 0x5555555555555555
}

// gather is the inverse of spread; it ignores the odd bits.
func gather(x uint64) uint32 {
	x &= 0x5555555555555555
	x = (x | x>>1) & 0x3333333333333333
	x = (x | x>>2) & 0x0f0f0f0f0f0f0f0f
	x = (x | x>>4) & 0x00ff00ff00ff00ff
	x = (x | x>>8) & 0x0000ffff0000ffff
	return uint32(x | x>>16)
}

func radians(deg float64) float64 { return deg * (math.Pi / 180) }
func degrees(rad float64) float64 { return rad / (math.Pi / 180) }

// geoDistance returns the metres between two positions on a sphere.
func geoDistance(a, b geoPoint) float64 {
	lat1, lat2 := radians(a.lat), radians(b.lat)
	v := math.Sin((radians(b.lon) - radians(a.lon)) / 2)
	if v == 0 {
		return latDistance(a.lat, b.lat)
	}
	u := math.Sin((lat2 - lat1) / 2)
	h := float64(u*u) + float64(math.Cos(lat1)*math.Cos(lat2)*v*v)
	return 2 * earthRadius * math.Asin(math.Sqrt(h))
}

// latDistance returns the metres between two latitudes.
func latDistance(a, b float64) float64 { return earthRadius * math.Abs(radians(b)-radians(a)) }

// geoShape is what is searched: a circle, or a box whose sides follow longitudes
// and latitudes.
type geoShape struct {
	middle        geoPoint
	box           bool
	radius        float64 // metres
	width, height float64 // of a box, metres
}

// contains tells whether p lies in the shape, and how far from the middle.
func (s *geoShape) contains(p geoPoint) (distance float64, ok bool) {
	if s.box && (latDistance(p.lat, s.middle.lat) > s.height/2 ||
		geoDistance(p, geoPoint{s.middle.lon, p.lat}) > s.width/2) {
		return 0, false
	}
	distance = geoDistance(s.middle, p)
	return distance, s.box || distance <= s.radius
}

// bounds returns corners between which the shape lies.
func (s *geoShape) bounds() (min, max geoPoint) {
	width, height := s.radius, s.radius
	if s.box {
		width, height = s.width/2, s.height/2
	}
	dLat := degrees(height / earthRadius)
	// The same distance spans more degrees nearer to the pole.
	wide := s.middle.lat + dLat
	if s.middle.lat < 0 {
		wide = s.middle.lat - dLat
	}
	dLon := degrees(width / earthRadius / math.Cos(radians(wide)))
	return geoPoint{s.middle.lon - dLon, s.middle.lat - dLat}, geoPoint{s.middle.lon + dLon, s.middle.lat + dLat}
}

// cells returns the cells that cover the shape, nine at most: that of the middle,
// then the neighbours that the shape reaches, in the order in which the members
// of a result that is not sorted come.
func (s *geoShape) cells() []geoCell {
	reach := s.radius
	if s.box {
		reach = math.Sqrt(s.width/2*(s.width/2) + s.height/2*(s.height/2))
	}
	min, max := s.bounds()
	step := geoStep(reach, s.middle.lat)
	c := cellOf(s.middle, geoLatMax, step)
	_, north := c.move(0, 1).bounds()
	south, _ := c.move(0, -1).bounds()
	_, east := c.move(1, 0).bounds()
	west, _ := c.move(-1, 0).bounds()
	if step > 1 && (north.lat < max.lat || south.lat > min.lat || east.lon < max.lon || west.lon > min.lon) {
		step-- // cells were too small
		c = cellOf(s.middle, geoLatMax, step)
	}
	cells := append(make([]geoCell, 0, 9), c)
	from, to := c.bounds()
	for _, d := range [...]struct{ x, y int }{{0, 1}, {0, -1}, {1, 0}, {-1, 0}, {1, 1}, {-1, 1}, {1, -1}, {-1, -1}} {
		if step >= 2 && (d.y < 0 && from.lat < min.lat || d.y > 0 && to.lat > max.lat ||
			d.x < 0 && from.lon < min.lon || d.x > 0 && to.lon > max.lon) {
			continue // the shape ends before
		}
		// Where cells are huge, neighbours on both sides are the same.
		if next := c.move(d.x, d.y); next != cells[len(cells)-1] {
			cells = append(cells, next)
		}
	}
	return cells
}

// geoStep returns the largest step whose cells are no smaller than the reach of
// a search, estimated; fewer near the poles, where cells get narrow.
func geoStep(reach, lat float64) uint {
	if reach == 0 {
		return geoSteps
	}
	step := 1
	for ; reach < mercatorMax; reach *= 2 {
		step++
	}
	step -= 2
	if math.Abs(lat) > 66 {
		step--
		if math.Abs(lat) > 80 {
			step--
		}
	}
	return uint(max(1, min(step, geoSteps)))
}
