//go:build linux && amd64

package asavie

import (
	"errors"
	"fmt"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"

	"shardnet/driver"
)

// libraryPanic is what the library panics with.
func libraryPanic(errno unix.Errno) error {
	return fmt.Errorf("sendto failed with rc=%d and errno=%d", ^uintptr(0), errno)
}

func TestSendError(t *testing.T) {
	for _, tt := range []struct {
		errno unix.Errno
		want  error
	}{
		{unix.ENETDOWN, driver.ErrLinkDown},
		{unix.ENXIO, driver.ErrDeviceGone},
		{unix.ENOBUFS, nil},
		{unix.EBADF, unix.EBADF},
		{unix.EOPNOTSUPP, unix.EOPNOTSUPP},
	} {
		if err := sendError(libraryPanic(tt.errno)); !errors.Is(err, tt.want) || (err == nil) != (tt.want == nil) {
			t.Errorf("sendto failing with %v becomes %v, want %v", tt.errno, err, tt.want)
		}
	}
}

// TestSendErrorKeepsBugs holds that a panic which is not the library's report of
// a failed sendto is not swallowed.
func TestSendErrorKeepsBugs(t *testing.T) {
	index := func() (p any) {
		defer func() { p = recover() }()
		var none []int
		return none[len(none)]
	}()
	if _, ok := index.(runtime.Error); !ok {
		t.Fatal("no runtime error to try with")
	}
	for _, p := range []any{index, "sendto failed", errors.New("other"), errors.New("sendto failed with rc=1 and errno=x")} {
		got := func() (got any) {
			defer func() { got = recover() }()
			return fmt.Errorf("swallowed: %v", sendError(p))
		}()
		if got != p {
			t.Errorf("panic %v goes up as %v", p, got)
		}
	}
}

func TestWithErrno(t *testing.T) {
	for _, errno := range []unix.Errno{unix.EBUSY, unix.ENOBUFS, unix.EINVAL, unix.ENODEV} {
		in := fmt.Errorf("syscall.Bind SockaddrXDP failed: %v", errno)
		if err := withErrno(in); !errors.Is(err, errno) || err.Error() != in.Error() {
			t.Errorf("%q becomes %q, want %v in it", in, err, errno)
		}
	}
	if in := errors.New("something else"); withErrno(in) != in {
		t.Error("an error without an errno changes")
	}
}

func TestParseMapping(t *testing.T) {
	got, ok := parseMapping("7f0dc0a1b000-7f0dc0a24000 rw-s 180000000 00:08 47711                      socket:[47711]")
	if want := (mapping{0x7f0dc0a1b000, 0x7f0dc0a24000, unix.XDP_UMEM_PGOFF_COMPLETION_RING, 47711}); !ok || got != want {
		t.Errorf("parsed %+v, %v, want %+v", got, ok, want)
	}
	for _, line := range []string{
		"",
		"7f0dc0a1b000-7f0dc0a24000 rw-p 00000000 00:00 0",
		"7f0dc0a1b000-7f0dc0a24000 r-xp 00000000 08:01 1234                       /usr/bin/socket:[1]",
		"7f0dc0a24000-7f0dc0a1b000 rw-s 00000000 00:08 47711                      socket:[47711]",
		"x-y rw-s 00000000 00:08 47711                      socket:[47711]",
	} {
		if got, ok := parseMapping(line); ok {
			t.Errorf("%q is taken for a ring: %+v", line, got)
		}
	}
}
