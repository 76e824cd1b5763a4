package afxdp

import (
	"testing"

	"golang.org/x/sys/unix"

	"shardnet/driver"
	"shardnet/driver/netlab"
)

// TestBusyPoll sees that the kernel was asked for busy polling, and that Receive
// asks it for packets when it has none.
func TestBusyPoll(t *testing.T) {
	a, _ := netlab.Pair(t, netlab.End{}, netlab.End{}, netlab.LinkConfig{Queues: 1})
	for _, busy := range []bool{true, false} {
		var dev *Device
		err := a.Host.Do(func() (err error) {
			dev, err = Open(&Config{Interface: a.Name, Addresses: addresses("198.18.0.9"), BusyPoll: busy})
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		q := dev.queues[0]
		prefers, err := unix.GetsockoptInt(q.sock.fd, unix.SOL_SOCKET, unix.SO_PREFER_BUSY_POLL)
		if err != nil || (prefers == 1) != busy {
			t.Errorf("BusyPoll %v: SO_PREFER_BUSY_POLL is %d, %v", busy, prefers, err)
		}
		bells := q.Counts.Doorbells
		if n, err := q.Receive(make([]driver.Frame, 8)); n != 0 || err != nil {
			t.Errorf("BusyPoll %v: Receive is %d, %v", busy, n, err)
		}
		if asked := q.Counts.Doorbells > bells; asked != busy {
			t.Errorf("BusyPoll %v: the kernel was asked: %v", busy, asked)
		}
		if err := dev.Close(); err != nil {
			t.Error(err)
		}
	}
}
