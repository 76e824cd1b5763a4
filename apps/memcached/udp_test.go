package memcached

import (
	"encoding/binary"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"shardnet/test/apptest"
	"shardnet/test/testutil"
)

// askUDP sends one datagram and puts the reply together from its datagrams, in
// whatever order they come. It checks their headers.
func askUDP(t *testing.T, c net.Conn, id uint16, request string) string {
	t.Helper()
	datagram := binary.BigEndian.AppendUint16(nil, id)
	datagram = append(datagram, 0, 0, 0, 1, 0, 0)
	return exchangeUDP(t, c, id, append(datagram, request...))
}

func exchangeUDP(t *testing.T, c net.Conn, id uint16, datagram []byte) string {
	t.Helper()
	_ = c.SetDeadline(time.Now().Add(testutil.Patience))
	if _, err := c.Write(datagram); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 65536)
	parts := map[uint16]string{}
	for {
		n, err := c.Read(buf)
		if err != nil {
			t.Fatalf("%d datagrams, then %v", len(parts), err)
		}
		if n < udpHeader || n > 1400 {
			t.Fatalf("datagram of %d bytes", n)
		}
		got, seq, total, zero := binary.BigEndian.Uint16(buf), binary.BigEndian.Uint16(buf[2:]), binary.BigEndian.Uint16(buf[4:]), binary.BigEndian.Uint16(buf[6:])
		if got != id || seq >= total || zero != 0 {
			t.Fatalf("header: id %d (want %d), datagram %d of %d, reserved %d", got, id, seq, total, zero)
		}
		if _, ok := parts[seq]; ok {
			t.Fatalf("datagram %d came twice", seq)
		}
		if seq+1 < total && n != 1400 {
			t.Errorf("datagram %d of %d has %d bytes", seq, total, n)
		}
		if parts[seq] = string(buf[udpHeader:n]); len(parts) == int(total) {
			var reply strings.Builder
			for i := range total {
				reply.WriteString(parts[i])
			}
			return reply.String()
		}
	}
}

func TestUDP(t *testing.T) {
	each(t, nil, func(t *testing.T, _ *Server, rig *apptest.Rig) {
		c := rig.Dial(t, "udp")
		// Values that fill the reply's datagrams exactly, and a byte more or less.
		value := func(n int) string { return strings.Repeat("v", n) }
		const frame = len("VALUE k 0 1000\r\n" + "\r\nEND\r\n")
		id := uint16(65530)
		for _, n := range []int{1, 1000, udpPayload - frame - 1, udpPayload - frame, udpPayload - frame + 1, 2*udpPayload - frame, 2*udpPayload - frame + 1, 50_000} {
			id++
			if got := askUDP(t, c, id, fmt.Sprintf("set k 0 0 %d\r\n%s\r\n", n, value(n))); got != "STORED\r\n" {
				t.Fatalf("set of %d bytes: %q", n, got)
			}
			id++
			if got, want := askUDP(t, c, id, "get k\r\n"), fmt.Sprintf("VALUE k 0 %d\r\n%s\r\nEND\r\n", n, value(n)); got != want {
				t.Errorf("get of %d bytes: %.100q", n, got)
			}
		}
		for request, want := range map[string]string{
			"get none\r\n":                        "END\r\n",
			"version\r\nget none\r\n":             "VERSION " + DefaultVersion + "\r\nEND\r\n",
			"incr none 1\r\n":                     "NOT_FOUND\r\n",
			"nonsense\r\n":                        "ERROR\r\n",
			"mn\r\nget k":                         "MN\r\n", // what is not complete is ignored
			"mn\r\nset half 0 0 9\r\nhalf":        "MN\r\n",
			"mn\r\nquit\r\nmn\r\n":                "MN\r\n",
			"flush_all noreply\r\nget k\r\n":      "END\r\n",
			"get " + value(251) + "\r\n":          errFormat,
			"get" + strings.Repeat(" none", 9000): "", // below
		} {
			id++
			if want == "" {
				request, want = request+"\r\n", "END\r\n"
			}
			if got := askUDP(t, c, id, request); got != want {
				t.Errorf("%.60q: got %.100q, want %q", request, got, want)
			}
		}
	})
}

func TestUDPRefuses(t *testing.T) {
	each(t, &Config{MaxUDPReply: 100_000}, func(t *testing.T, srv *Server, rig *apptest.Rig) {
		c := rig.Dial(t, "udp")
		if got := exchangeUDP(t, c, 7, []byte("\x00\x07\x00\x00\x00\x02\x00\x00get k\r\n")); got != errManyPackets {
			t.Errorf("request in two datagrams: %q", got)
		}
		if err := srv.store.Set([]byte("k"), make([]byte, 60_000), 0, 0); err != nil {
			t.Fatal(err)
		}
		if got := askUDP(t, c, 8, "get k\r\n"); len(got) != 60_000+len("VALUE k 0 60000\r\n\r\nEND\r\n") {
			t.Errorf("%d bytes", len(got))
		}
		if got := askUDP(t, c, 9, "get k k\r\n"); got != errLongReply {
			t.Errorf("reply longer than allowed: %.100q", got)
		}
		// Too short for a request: no reply, and the next one is answered.
		for _, short := range []string{"", "get", "\x00\x01\x00\x00\x00\x01\x00\x00"} {
			if _, err := c.Write([]byte(short)); err != nil {
				t.Fatal(err)
			}
		}
		if got := askUDP(t, c, 10, "mn\r\n"); got != "MN\r\n" {
			t.Errorf("%q", got)
		}
		if s := srv.tally.Sum(); s.Dropped != 4 {
			t.Errorf("%+v", s)
		}
		if s := srv.store.Stats(); s.Bytes > 61_000 {
			t.Errorf("%d bytes in use", s.Bytes)
		}
	})
}

// TestUDPPlainPacketConn: a PacketConn that has no netip methods will do.
func TestUDPPlainPacketConn(t *testing.T) {
	pc, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	srv := NewServer(newStore(t, nil), nil)
	ended := make(chan error, 1)
	go func() { ended <- srv.ServeUDP(struct{ net.PacketConn }{pc}) }()
	c, err := net.Dial("udp", pc.LocalAddr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if got := askUDP(t, c, 1, "set k 0 0 1\r\nv\r\nget k\r\n"); got != "STORED\r\nVALUE k 0 1\r\nv\r\nEND\r\n" {
		t.Errorf("%q", got)
	}
	srv.Close()
	if err := <-ended; err != ErrServerClosed {
		t.Error(err)
	}
}
