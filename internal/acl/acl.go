// Package acl decides who a client is and what it may do. So far there is one
// user, default, who may do everything, behind the password of requirepass if
// one is set; the commands about users tell the truth about this one. Users,
// selectors and their decisions have their place here.
//
// Read acl.go, commands.go. All is safe for concurrent use.
package acl

import (
	"crypto/sha256"
	"crypto/subtle"

	"github.com/skeindb/skein/internal/config"
)

// ACL decides; the engine asks it as its Authenticator.
type ACL struct{ cfg *config.Config }

// New returns the decisions that follow from a configuration, and from its
// changes at run time.
func New(cfg *config.Config) *ACL { return &ACL{cfg} }

// Required reports whether a new connection has to authenticate first.
func (a *ACL) Required() bool { return a.cfg.RequirePass.Get() != "" }

// Authenticate checks a name and a password. It takes the same time for any
// wrong password.
func (a *ACL) Authenticate(user string, password []byte) bool {
	want := a.cfg.RequirePass.Get()
	x, y := sha256.Sum256([]byte(want)), sha256.Sum256(password)
	same := subtle.ConstantTimeCompare(x[:], y[:]) == 1
	return user == defaultUser && (want == "" || same)
}

const defaultUser = "default"
