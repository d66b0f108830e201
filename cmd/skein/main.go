// Command skein is a Redis Cluster server and what is needed around it, in one
// binary. The first argument says what it does; called by the name of a server,
// such as skein-server or redis-server, it is that server, and by the name
// redis-check-rdb or redis-check-aof that checker.
package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/skeindb/skein/internal/aof"
	"github.com/skeindb/skein/internal/cluster/sim"
	"github.com/skeindb/skein/internal/disk"
	"github.com/skeindb/skein/internal/rdb"
	"github.com/skeindb/skein/internal/server"
	"github.com/skeindb/skein/internal/up"
)

const usage = `skein: a Redis Cluster server

Usage: skein server [/path/to/redis.conf] [--directive value ...]   run one node
       skein up [--primaries N] [--replicas N] [--port P] [--dir D] [--fresh] [-- --directive value ...]
                                                                    run a whole cluster on this machine
       skein sim [--nodes N] [--seeds A..B] [--faults LIST] [--trace FILE] [-v]
                                                                    run clusters in a virtual world
       skein check-rdb FILE                                         read an RDB file and say whether it is sound
       skein check-aof [--fix | --truncate-to-timestamp T] FILE     the same for an append-only file, by its manifest or alone
       skein version

skein <command> --help tells more. A link named skein-server or redis-server to
this program is "skein server".
`

func main() {
	os.Exit(run(os.Args))
}

func run(args []string) int {
	name := filepath.Base(args[0])
	switch {
	case strings.Contains(name, "-sentinel"):
		return server.Main([]string{"--sentinel"}, os.Stdin, os.Stdout, os.Stderr) // says that there is none
	case strings.Contains(name, "-check-rdb"):
		return checkRDB(args[1:])
	case strings.Contains(name, "-check-aof"):
		return checkAOF(args[1:])
	case strings.Contains(name, "-server"):
		return server.Main(args[1:], os.Stdin, os.Stdout, os.Stderr)
	}
	if len(args) < 2 {
		fmt.Fprint(os.Stderr, usage)
		return 1
	}
	switch rest := args[2:]; args[1] {
	case "server":
		return server.Main(rest, os.Stdin, os.Stdout, os.Stderr)
	case "up":
		return up.Main(rest, os.Stdout, os.Stderr)
	case "sim":
		return sim.Main(rest, os.Stdout)
	case "check-rdb":
		return checkRDB(rest)
	case "check-aof":
		return checkAOF(rest)
	case "version", "-v", "--version":
		fmt.Println(server.VersionLine())
		return 0
	case "help", "-h", "--help":
		fmt.Print(usage)
		return 0
	}
	fmt.Fprintf(os.Stderr, "skein: no command %q\n\n%s", args[1], usage)
	return 1
}

func checkRDB(args []string) int {
	return rdb.CheckMain(args, os.Stdout, func(path string) (io.ReadCloser, error) { return os.Open(path) })
}

func checkAOF(args []string) int { return aof.CheckMain(args, os.Stdin, os.Stdout, disk.OS{}) }
