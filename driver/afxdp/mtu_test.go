//go:build linux

package afxdp

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"

	"shardnet/driver"
	"shardnet/driver/internal/wiretest"
	"shardnet/driver/netlab"
)

// At each MTU a frame as long as it allows gets through both ways, in as much
// memory as it takes, and one a byte longer is refused.
func TestOpenMTU(t *testing.T) {
	for _, c := range []struct{ mtu, frame int }{
		{1500, 2048}, {3000, 4096}, {3822, 4096}, {3823, 8192}, {8996, 12288}, {9000, 12288}, {11502, 12288},
	} {
		a, b := netlab.Pair(t, netlab.End{}, netlab.End{}, netlab.LinkConfig{MTU: c.mtu})
		for _, mode := range []Mode{Copy, Generic} {
			t.Run(fmt.Sprintf("mtu=%d/%v", c.mtu, mode), func(t *testing.T) {
				da, db := openPair(t, a, b, mode)
				if info := da.Info(); info.MTU != c.mtu || info.FrameSize != c.frame {
					t.Errorf("MTU %d, frame size %d, want %d and %d", info.MTU, info.FrameSize, c.mtu, c.frame)
				}
				there := wiretest.UDPFrame(t, a.MAC, b.MAC, "198.18.0.1", "198.18.0.2", c.mtu-28)
				wiretest.Transmit(t, da.Queue(0), there)
				if got := wiretest.ReceiveOne(t, db.Queue(0)); !bytes.Equal(got, there) {
					t.Errorf("received %d bytes, want the %d sent", len(got), len(there))
				}
				back := wiretest.UDPFrame(t, b.MAC, a.MAC, "198.18.0.2", "198.18.0.1", c.mtu-28)
				wiretest.Transmit(t, db.Queue(0), back)
				if got := wiretest.ReceiveOne(t, da.Queue(0)); !bytes.Equal(got, back) {
					t.Errorf("%d bytes came back, want the %d sent", len(got), len(back))
				}
				wiretest.Transmit(t, da.Queue(0), wiretest.UDPFrame(t, a.MAC, b.MAC, "198.18.0.1", "198.18.0.2", c.mtu-27))
				if st := da.Queue(0).Stats(); st.TxErrors != 1 || st.TxPackets != 1 {
					t.Errorf("of a frame that is too long counted %+v", st)
				}
			})
		}
	}
}

// An MTU that no packet of the driver's can have is refused, with what to do.
func TestOpenMTUTooLarge(t *testing.T) {
	a, _ := netlab.Pair(t, netlab.End{}, netlab.End{}, netlab.LinkConfig{MTU: 11503})
	dev, err := openIn(a, Config{})
	if err == nil {
		dev.Close()
	}
	if !errors.Is(err, ErrMTU) || !strings.Contains(err.Error(), "at most 11502") || !strings.Contains(err.Error(), "ip link set") {
		t.Errorf("Open gives %v", err)
	}
}

// Frames whose front is trimmed, to anywhere around the end of a chunk, leave as
// what is left of them.
func TestTrimJumbo(t *testing.T) {
	a, b := netlab.Pair(t, netlab.End{}, netlab.End{}, netlab.LinkConfig{MTU: 9000})
	da, db := openPair(t, a, b, Copy)
	q := da.Queue(0)
	fs := make([]driver.Frame, 1)
	sent := uint64(0)
	for _, size := range []int{20, 300, 4000, 8000} {
		packet := wiretest.UDPFrame(t, a.MAC, b.MAC, "198.18.0.1", "198.18.0.2", size)
		for _, trim := range []int{
			0, 1, jumboChunk - leastFirst - 1, jumboChunk - leastFirst, jumboChunk - leastFirst + 1,
			jumboChunk - 14, jumboChunk - 1, jumboChunk, jumboChunk + 1,
		} {
			if q.Alloc(fs) != 1 {
				t.Fatal("no frame")
			}
			fs[0].Data = append(fs[0].Data[trim:trim], packet...)
			if n, err := q.Transmit(fs); n != 1 || err != nil {
				t.Fatalf("Transmit takes %d: %v", n, err)
			}
			sent++
			if err := q.Flush(); err != nil {
				t.Fatal(err)
			}
			if got := wiretest.ReceiveOne(t, db.Queue(0)); !bytes.Equal(got, packet) {
				t.Errorf("trimmed by %d, a packet of %d bytes arrived as %d", trim, len(packet), len(got))
			}
		}
	}
	if st := q.Stats(); st.TxPackets != sent || st.TxErrors != 0 || st.Lent != 0 {
		t.Errorf("counted %+v", st)
	}
}
