package tcp

import (
	"net/netip"
	"testing"
	"time"
)

// TestPathMTUOfIPv6 asks that no message makes an IPv6 path's MTU less than 1280, which every
// link has (RFC 8200 section 5).
func TestPathMTUOfIPv6(t *testing.T) {
	for _, mtu := range []int{0, 68, 1279} {
		s := newSim(t, 1)
		s.addrs = [2]netip.Addr{netip.MustParseAddr("2001:db8::1"), netip.MustParseAddr("2001:db8::2")}
		if _, err := s.hosts[1].e.Listen(netip.AddrPortFrom(s.addrs[1], 80), false, 1); err != nil {
			t.Fatal(err)
		}
		tuple := MakeTuple(netip.AddrPortFrom(s.addrs[0], 40000), netip.AddrPortFrom(s.addrs[1], 80))
		c, err := s.hosts[0].e.Dial(s.now, tuple)
		if err != nil {
			t.Fatal(err)
		}
		s.idle(t, time.Second)
		for range 2 { // the second finds segments that are small enough
			if _, err := c.Write(make([]byte, 1300)); err != nil {
				t.Fatal(err)
			}
			s.hosts[0].e.Flush(s.now)
			s.hosts[0].e.ICMP(s.now, &tuple, uint32(c.snd.una), ICMPTooBig, mtu)
			s.idle(t, time.Second)
			if want := uint16(minMTU6 - headers6); c.snd.mss != want {
				t.Errorf("MTU %d: the MSS is %d, want %d", mtu, c.snd.mss, want)
			}
		}
	}
}
