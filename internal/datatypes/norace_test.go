//go:build !race

package datatypes

const raceEnabled = false
