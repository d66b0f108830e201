//go:build !race

package proc

// Race says that tests and servers run under the race detector.
const Race = false
