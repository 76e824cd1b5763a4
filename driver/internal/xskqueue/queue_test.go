//go:build linux

package xskqueue

import (
	"errors"
	"testing"

	"golang.org/x/sys/unix"

	"shardnet/driver"
)

func TestSendError(t *testing.T) {
	for _, c := range []struct {
		name  string
		errno unix.Errno
		is    error // nil: none
	}{
		{"sent", 0, nil},
		{"busy", unix.EBUSY, nil},
		{"no room in the socket's buffer", unix.ENOBUFS, nil},
		{"link down", unix.ENETDOWN, driver.ErrLinkDown},
		{"unbound", unix.ENXIO, driver.ErrDeviceGone},
		{"unregistered", unix.ENODEV, driver.ErrDeviceGone},
		{"anything else", unix.EINVAL, unix.EINVAL},
	} {
		t.Run(c.name, func(t *testing.T) {
			if err := SendError(c.errno); !errors.Is(err, c.is) {
				t.Errorf("%v means %v, want %v", c.errno, err, c.is)
			}
		})
	}
}
