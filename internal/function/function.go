// Package function keeps libraries of functions: their source, as it came, from
// clients, files, and the primary. It does not run them, as there is no script
// engine: what it is for is that no library is lost on the way through this
// server. A library tells its engine and its name in its first line. Which
// functions it has only its code knows; those that it registers with their names
// spelled out are listed (source.go), others not.
//
// Read function.go, source.go, commands.go.
package function

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
)

// Library is one library. It is not changed once it is kept.
type Library struct {
	Name      string
	Engine    string // as the first line has it
	Source    []byte
	Functions []Function // as far as they are known
}

// Function is what is known of a function without running its library.
type Function struct {
	Name, Description string
	Flags             []string
}

// Libraries are all libraries of a node. Changes are made under the world lock, or
// while data is loaded, so that a snapshot shows what it should; the lock in here
// is a leaf, and what is read may be called from anywhere.
type Libraries struct {
	mu    sync.Mutex
	named map[string]*Library
}

// existsError refuses a second library of a name.
type existsError string

func (e existsError) Error() string { return "Library '" + string(e) + "' already exists" }

// Load adds the library with this source, which it copies. It is an error if one of
// its name exists, unless replace is set.
func (l *Libraries) Load(source []byte, replace bool) (*Library, error) {
	lib, err := parse(source)
	if err != nil {
		return nil, err
	}
	return lib, l.add([]*Library{lib}, replace)
}

// LoadFile adds a library that a file or a snapshot holds.
func (l *Libraries) LoadFile(source []byte) error {
	if _, err := l.Load(source, false); err != nil {
		return fmt.Errorf("function: load a library: %w", err)
	}
	return nil
}

// add adds all or, with an error, none.
func (l *Libraries) add(libs []*Library, replace bool) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i, lib := range libs {
		twice := slices.ContainsFunc(libs[:i], func(x *Library) bool { return x.Name == lib.Name })
		if twice || !replace && l.named[lib.Name] != nil {
			return existsError(lib.Name)
		}
	}
	if l.named == nil {
		l.named = make(map[string]*Library)
	}
	for _, lib := range libs {
		l.named[lib.Name] = lib
	}
	return nil
}

var errNone = errors.New("Library not found")

func (l *Libraries) remove(name string) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.named[name] == nil {
		return errNone
	}
	delete(l.named, name)
	return nil
}

// Clear removes all libraries.
func (l *Libraries) Clear() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.named = nil
}

// All returns the libraries, by name.
func (l *Libraries) All() []*Library {
	l.mu.Lock()
	defer l.mu.Unlock()
	all := make([]*Library, 0, len(l.named))
	for _, name := range slices.Sorted(maps.Keys(l.named)) {
		all = append(all, l.named[name])
	}
	return all
}

// Sources returns the sources of all libraries, in the order of All.
func (l *Libraries) Sources() [][]byte {
	var out [][]byte
	for _, lib := range l.All() {
		out = append(out, lib.Source)
	}
	return out
}

// Totals returns how many libraries and known functions there are, and the bytes
// of the sources.
func (l *Libraries) Totals() (libraries, functions int, bytes int64) {
	for _, lib := range l.All() {
		libraries++
		functions += len(lib.Functions)
		bytes += int64(len(lib.Source))
	}
	return libraries, functions, bytes
}
