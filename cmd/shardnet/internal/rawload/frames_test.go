package rawload

import (
	"testing"

	"shardnet/driver"
	"shardnet/driver/wire"
)

// sampleFrames are frames of every kind that a generator sends and receives.
func sampleFrames(t testing.TB) [][]byte {
	t.Helper()
	var frames [][]byte
	for _, f := range families {
		client, _ := cable(t, 0)
		g := generate(t, client, f, 1, echoPort)
		g.target = target{addr: f.server, ip: f.server.AsSlice(), heard: make([]bool, 1)}
		g.target.port = echoPort
		g.result = newResult()
		b := make([]byte, 2048)
		add := func(n int) { frames = append(frames, append([]byte(nil), b[:n]...)) }
		add(g.solicit(b, 0))
		tmpl := &g.templates(wire.ProtoUDP)[0]
		body := b[len(tmpl.l3)+wire.UDPLen:]
		add(tmpl.udp(b, firstPort, echoPort, 64))
		be.PutUint64(body, 77<<48|1<<16)
		add(tmpl.udp(b, firstPort, echoPort, len(appendGet(body[:8], 42, 100))))
		add(tmpl.udp(b, firstPort, echoPort, len(appendSet(body[:8], 42, 100))))
		tcp := g.newTCPLoad(1)
		tcp.app = newRequester(tcp, &echoProtocol{payload: 64, pattern: pattern()}, 1)
		c := &conn{port: firstPort, una: 1000, nxt: 1000, max: 1000, end: 5000, rcv: 77}
		add(tcp.segment(b, 0, c, 1000, wire.SYN, 0))
		add(tcp.segment(b, 0, c, 1000, wire.ACK|wire.PSH, 100))
		add(tcp.segment(b, 0, c, 1000, wire.ACK|wire.FIN, 0))
		add(tcp.segment(b, 0, c, 1000, wire.RST, 0))
		add(segmentTo(b, f, c, 5, 1001, wire.SYN|wire.ACK, 0))
	}
	return frames
}

// segmentTo makes a segment from the server to c, with n bytes of c's own stream as
// far as that is where they belong.
func segmentTo(b []byte, f family, c *conn, seq, ack uint32, flags uint8, n int) int {
	src, dst, v4 := f.server.AsSlice(), f.source(1).AsSlice(), f.server.Is4()
	var mac [6]byte
	at := wire.EthernetLen + wire.IPLen(v4)
	h := b[at : at+wire.TCPLen+n]
	if v4 {
		wire.PutEthernet(b, &mac, &mac, wire.EtherTypeIPv4)
		wire.PutIPv4(b[wire.EthernetLen:], 0, wire.IPv4Len+len(h), 0, wire.DontFragment, wire.DefaultTTL, wire.ProtoTCP, src, dst)
	} else {
		wire.PutEthernet(b, &mac, &mac, wire.EtherTypeIPv6)
		wire.PutIPv6(b[wire.EthernetLen:], 0, len(h), wire.ProtoTCP, wire.DefaultTTL, src, dst)
	}
	wire.PutTCP(h, echoPort, c.port, seq, ack, wire.TCPLen, flags, 1000)
	copy(h[wire.TCPLen:], pattern()[(c.una+c.mark)%patternLen:])
	wire.SetTCPChecksum(h, src, dst)
	return at + len(h)
}

// drain takes what a queue has received.
func drain(q driver.Queue) {
	var fs [batch]driver.Frame
	for {
		n, err := q.Receive(fs[:])
		if n == 0 || err != nil {
			return
		}
		q.Release(fs[:n])
	}
}
