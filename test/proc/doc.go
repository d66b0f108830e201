// Package proc runs servers as processes for tests: skein-server and, beside
// it, redis-server, on free loopback ports, each in a directory of its own. It
// builds the binary once per test program, stops every process that it started,
// and shows the ends of their logs when a test fails.
//
// Read binary.go, node.go, cluster.go, cli.go, wait.go. A Node belongs to the goroutine
// of its test; Do and Client may be used by several.
package proc
