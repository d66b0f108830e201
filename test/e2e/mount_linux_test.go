package e2e

import "syscall"

// mountSmall mounts a file system of 2 MB in memory.
func mountSmall(dir string) error { return syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=2m") }
