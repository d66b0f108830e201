//go:build !linux

package proc

import (
	"os/exec"
	"strconv"
	"strings"
)

func start(cmd *exec.Cmd) error { return cmd.Start() }

// stopped tells whether a process is stopped.
func stopped(pid int) bool {
	state, err := exec.Command("ps", "-o", "state=", "-p", strconv.Itoa(pid)).Output()
	return err == nil && strings.HasPrefix(strings.TrimSpace(string(state)), "T")
}
