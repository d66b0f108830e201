package sim

import (
	"cmp"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"runtime"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/skeindb/skein/internal/cluster"
)

// Main is the command "skein sim": it runs a campaign of worlds and prints what
// came of it. The result is the exit code: 0 if every world kept the invariants
// and healed, 1 if one did not, 2 for wrong arguments.
func Main(args []string, stdout io.Writer) int {
	fs := flag.NewFlagSet("sim", flag.ContinueOnError)
	fs.SetOutput(stdout)
	nodes := fs.Int("nodes", 50, "nodes of a cluster")
	seeds := fs.String("seeds", "1..100", "seeds to run, A or A..B")
	faultList := fs.String("faults", "", "comma list of faults that may strike (default all but those an operator must mend; all; none)")
	faultTime := fs.Duration("fault-time", 0, "how long faults strike (default 10 node timeouts)")
	refused := fs.Bool("refused", false, "cluster-crash-detection refused in all worlds, not in a third of them")
	traceName := fs.String("trace", "", "file for what happened; with one seed only")
	jobs := fs.Int("jobs", runtime.GOMAXPROCS(0), "worlds at the same time")
	story := fs.String("scenario", "", "file of a scenario to run instead")
	reportDir := fs.String("report", "", "directory for a report on clusters of several sizes, instead")
	sizes := fs.String("sizes", "10,20,50,100,200,500,1000,2000", "sizes of the report")
	verbose := fs.Bool("v", false, "a line for every seed; with -trace every message too")
	fs.Usage = func() {
		fmt.Fprintln(stdout, "usage: skein sim [--nodes N] [--seeds A..B] [--faults LIST] [--trace FILE] [-v]")
		fs.PrintDefaults()
		fmt.Fprintln(stdout, "faults:")
		for _, k := range kinds {
			fmt.Fprintf(stdout, "  %-10s %s\n", k.name, k.doc)
		}
	}
	if err := fs.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return 0
		}
		return 2
	}
	if *story != "" || *reportDir != "" {
		if err := runOther(*story, *traceName, *reportDir, *sizes, stdout); err != nil {
			fmt.Fprintln(stdout, err)
			return 1
		}
		return 0
	}
	opt := Options{Nodes: *nodes, FaultTime: cluster.Millis(faultTime.Milliseconds()), Messages: *verbose, Refused: *refused}
	first, last, err := parseSeeds(*seeds)
	switch {
	case *faultList == "all":
		opt.Faults = AllFaults()
	case *faultList == "none":
		opt.Faults = []string{}
	case *faultList != "":
		opt.Faults = strings.Split(*faultList, ",")
	}
	if err == nil {
		err = CheckFaults(opt.Faults)
	}
	if err == nil && fs.NArg() > 0 {
		err = fmt.Errorf("sim: argument %q", fs.Arg(0))
	}
	if err == nil && *nodes < 1 {
		err = fmt.Errorf("sim: --nodes %d: want at least 1", *nodes)
	}
	if err == nil && *traceName != "" {
		if first != last {
			err = fmt.Errorf("sim: --trace needs a single seed")
		} else {
			var file *os.File
			if file, err = os.Create(*traceName); err == nil {
				defer file.Close()
				opt.Trace = file
			}
		}
	}
	if err != nil {
		fmt.Fprintln(stdout, err)
		return 2
	}
	c := campaign{opt: opt, out: stdout, verbose: *verbose, replay: replay(*nodes, *faultList, *faultTime, *refused)}
	return c.run(first, last, *jobs)
}

// runOther runs a scenario or makes a report.
func runOther(story, traceName, dir, sizes string, stdout io.Writer) error {
	if story != "" {
		var trace *os.File
		if traceName != "" {
			var err error
			if trace, err = os.Create(traceName); err != nil {
				return err
			}
			defer trace.Close()
		}
		return RunScenario(story, trace)
	}
	var list []int
	for _, text := range strings.Split(sizes, ",") {
		n, err := strconv.Atoi(text)
		if err != nil || n < 6 {
			return fmt.Errorf("sim: --sizes %q: want numbers from 6 on", sizes)
		}
		list = append(list, n)
	}
	return Report(dir, list, stdout)
}

func parseSeeds(s string) (first, last uint64, err error) {
	a, b, isRange := strings.Cut(s, "..")
	if !isRange {
		b = a
	}
	first, err1 := strconv.ParseUint(a, 10, 64)
	last, err2 := strconv.ParseUint(b, 10, 64)
	if err1 != nil || err2 != nil || first > last {
		return 0, 0, fmt.Errorf("sim: --seeds %q: want A or A..B", s)
	}
	return first, last, nil
}

// replay is the command that repeats a seed, up to its number.
func replay(nodes int, faults string, faultTime time.Duration, refused bool) string {
	s := fmt.Sprintf("skein sim --nodes %d", nodes)
	if faults != "" {
		s += " --faults " + faults
	}
	if faultTime > 0 {
		s += fmt.Sprintf(" --fault-time %v", faultTime)
	}
	if refused {
		s += " --refused"
	}
	return s + " --trace sim.trace --seeds "
}

// campaign runs worlds side by side and reports in the order of seeds.
type campaign struct {
	opt     Options
	out     io.Writer
	verbose bool
	replay  string

	failed                              int
	heal                                []cluster.Millis
	virtual                             cluster.Millis
	steps, messages, elections, crashes int
}

func (c *campaign) run(first, last uint64, jobs int) int {
	// More would cost more in fresh memory than it spares in collections. Large
	// worlds keep most of what they allocate, and that is gigabytes.
	percent := 150
	if c.opt.Nodes > 300 {
		percent = 30
	}
	defer debug.SetGCPercent(debug.SetGCPercent(percent))
	start := time.Now()
	results := make([]chan Result, min(uint64(max(jobs, 1)), last-first+1))
	var wg sync.WaitGroup
	stop := make(chan struct{})
	for j := range results {
		results[j] = make(chan Result, 4)
		wg.Go(func() {
			var r runner
			for seed := first + uint64(j); seed >= first && seed <= last; seed += uint64(len(results)) {
				select {
				case results[j] <- r.run(seed, c.opt):
				case <-stop:
					return
				}
			}
		})
	}
	for seed := first; ; seed++ {
		c.report(<-results[(seed-first)%uint64(len(results))])
		if seed == last || c.failed >= 20 { // more of the same helps nobody
			break
		}
	}
	close(stop)
	wg.Wait()
	c.summary(time.Since(start))
	if c.failed > 0 {
		return 1
	}
	return 0
}

func (c *campaign) report(r Result) {
	c.virtual += r.Virtual
	c.steps += r.Steps
	c.messages += r.Messages
	c.elections += r.Elections
	c.crashes += r.Crashes
	if r.Err != nil {
		c.failed++
		fmt.Fprintf(c.out, "seed %d: %v\n  replay: %s%d\n", r.Seed, r.Err, c.replay, r.Seed)
		return
	}
	c.heal = append(c.heal, r.HealTime)
	if c.verbose {
		fmt.Fprintf(c.out, "seed %d: ok, hash %016x, %d.%03d s, healed in %d ms, %d messages, %d elections, %d crashes\n",
			r.Seed, r.Hash, r.Virtual/1000, r.Virtual%1000, r.HealTime, r.Messages, r.Elections, r.Crashes)
	}
}

func (c *campaign) summary(took time.Duration) {
	n := len(c.heal) + c.failed
	fmt.Fprintf(c.out, "%d worlds of %d nodes, %d failed; %d s of their time in %.1f s: %d steps, %d messages, %d elections won, %d crashes\n",
		n, c.opt.Nodes, c.failed, c.virtual/1000, took.Seconds(), c.steps, c.messages, c.elections, c.crashes)
	if len(c.heal) > 0 {
		slices.SortFunc(c.heal, cmp.Compare)
		fmt.Fprintf(c.out, "healed in %d ms (median), %d ms (slowest)\n", c.heal[len(c.heal)/2], c.heal[len(c.heal)-1])
	}
}
