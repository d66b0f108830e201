package rdb

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"time"

	"github.com/skeindb/skein/internal/ds"
)

// CheckReport is what Check found in a file.
type CheckReport struct {
	Keys, Expires, AlreadyExpired int
	Functions                     int
	ByKind                        [KindModule + 1]int
	Modules                       map[string]int // values, by type of module
	ModuleAux                     map[string]int // data beside the keys, likewise
}

// Check reads a whole RDB, every value in full, and reports to out as it goes,
// each line with the offset it is about. It returns the error that ended it.
func Check(src io.Reader, name string, nowMs int64, out io.Writer) (rep CheckReport, err error) {
	return CheckReader(NewReader(src), name, nowMs, out)
}

// CheckReader is Check of what a new Reader will read; it tells afterwards where
// that ended.
func CheckReader(r *Reader, name string, nowMs int64, out io.Writer) (rep CheckReport, err error) {
	say := func(format string, args ...any) {
		fmt.Fprintf(out, "[offset %d] %s\n", r.Offset(), fmt.Sprintf(format, args...))
	}
	say("Checking RDB file %s", name)
	var key []byte
	for {
		event, err := r.Next()
		if err == nil && event == EventKey {
			k := r.Key()
			key = append(key[:0], k.Name...)
			rep.Keys++
			rep.ByKind[r.Value().Kind()]++
			if k.ExpireAtMs != 0 {
				rep.Expires++
				if k.ExpireAtMs <= nowMs {
					rep.AlreadyExpired++
				}
			}
			v := r.Value()
			if err = checkValue(v); err == nil && v.Kind() == KindModule {
				count(&rep.Modules, moduleName(v.module))
			}
		}
		if err != nil {
			fmt.Fprintln(out, "--- RDB ERROR DETECTED ---")
			say("%v", errors.Unwrap(err))
			fmt.Fprintf(out, "[additional info] While reading: %s\n", r.What())
			if rep.Keys > 0 {
				fmt.Fprintf(out, "[additional info] Last key: %q\n", clip(key))
			}
			rep.print(out)
			return rep, err
		}
		switch event {
		case EventAux:
			name, value := r.Aux()
			say("AUX FIELD %s = '%s'", name, value)
		case EventDB:
			say("Selecting DB ID %d", r.DB())
		case EventModuleAux:
			count(&rep.ModuleAux, r.Module())
		case EventFunction:
			rep.Functions++
		case EventEnd:
			switch {
			case r.Checked():
				say("Checksum OK")
			case r.Version() >= trailerVersion:
				say("RDB file was saved with checksum disabled: no check performed")
			}
			if n := len(r.Buffered()); n > 0 {
				say("Bytes follow the end of the RDB")
			}
			say("\\o/ RDB looks OK! \\o/")
			rep.print(out)
			return rep, nil
		}
	}
}

func count(m *map[string]int, name string) {
	if *m == nil {
		*m = make(map[string]int)
	}
	(*m)[name]++
}

func (rep *CheckReport) print(out io.Writer) {
	fmt.Fprintf(out, "[info] %d keys read\n", rep.Keys)
	fmt.Fprintf(out, "[info] %d expires\n", rep.Expires)
	fmt.Fprintf(out, "[info] %d already expired\n", rep.AlreadyExpired)
	for k := KindString; k <= KindModule; k++ {
		if n := rep.ByKind[k]; n > 0 {
			fmt.Fprintf(out, "[info] %d of type %v\n", n, k)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(rep.Modules)) {
		fmt.Fprintf(out, "[info] %d values of module type %s: %s\n", rep.Modules[name], name, withoutModule)
	}
	for _, name := range slices.Sorted(maps.Keys(rep.ModuleAux)) {
		fmt.Fprintf(out, "[info] %d pieces of data beside the keys of module type %s: %s\n", rep.ModuleAux[name], name, withoutModule)
	}
	if rep.Functions > 0 {
		fmt.Fprintf(out, "[info] %d function libraries\n", rep.Functions)
	}
}

const withoutModule = "a server without the module refuses the file, this one unless rdb-module-data is skip"

// checkValue reads a value to its end, and the order of a packed sorted set.
func checkValue(v *Value) error {
	switch v.Kind() {
	case KindString:
		v.Str()
	case KindStream:
		v.Stream()
	case KindModule:
		v.skip()
	case KindZSet:
		if lp, ok := v.Listpack(); ok {
			if err := ds.ValidateLPZ(lp, true); err != nil {
				v.s.corrupt("%v", err)
			}
			break
		}
		fallthrough
	default:
		var e Elem
		for v.Next(&e) {
		}
	}
	return v.Err()
}

// CheckMain is the command "skein check-rdb <file>": it prints a report and
// returns the exit code, 0 for a sound file. open opens the file.
func CheckMain(args []string, out io.Writer, open func(path string) (io.ReadCloser, error)) int {
	if len(args) != 1 {
		fmt.Fprintln(out, "Usage: skein check-rdb <rdb-file-name>")
		return 1
	}
	f, err := open(args[0])
	if err != nil {
		fmt.Fprintf(out, "Cannot open file: %v\n", err)
		return 1
	}
	defer f.Close()
	if _, err := Check(f, args[0], time.Now().UnixMilli(), out); err != nil {
		return 1
	}
	return 0
}
