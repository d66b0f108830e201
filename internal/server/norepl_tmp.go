package server

import (
	"time"

	"github.com/skeindb/skein/internal/bus"
)

type noRepl struct{}

func (noRepl) Follow(string, int, bool)    {}
func (noRepl) Promote()                    {}
func (noRepl) Offset() int64               { return 0 }
func (noRepl) Link() (bool, time.Duration) { return false, -1 }

func (s *Server) replication() bus.Replication { return noRepl{} }
