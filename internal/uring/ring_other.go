//go:build !linux || !(amd64 || arm64)

package uring

import "errors"

// Ring exists where the system has none so that its users compile.
type Ring struct{}

// New fails.
func New(int) (*Ring, error) { return nil, errors.ErrUnsupported }

// Do and Close are never called.
func (r *Ring) Do([]*Op) (int, error) { return 0, errors.ErrUnsupported }
func (r *Ring) Close()                {}
