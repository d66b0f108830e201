//go:build race

package datatypes

const raceEnabled = true
