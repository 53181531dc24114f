package audit

import (
	"os"

	"golang.org/x/sys/unix"
)

// allocate gives a file its size and its place on the disk: a store into the mapping can't then fail for want of space.
func allocate(f *os.File, size int64) error {
	for {
		if err := unix.Fallocate(int(f.Fd()), 0, 0, size); err != unix.EINTR {
			return err
		}
	}
}
