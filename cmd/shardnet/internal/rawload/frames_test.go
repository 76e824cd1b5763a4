package rawload

import (
	"testing"

	"shardnet/driver"
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
		tmpl := &g.templates(protoUDP)[0]
		body := b[len(tmpl.l3)+udpHeaderLen:]
		add(tmpl.udp(b, firstPort, echoPort, 64))
		be.PutUint64(body, 77<<48|1<<16)
		add(tmpl.udp(b, firstPort, echoPort, len(appendGet(body[:8], 42, 100))))
		add(tmpl.udp(b, firstPort, echoPort, len(appendSet(body[:8], 42, 100))))
		tcp := g.newTCPLoad(1)
		tcp.app = newRequester(tcp, &echoProtocol{payload: 64, pattern: pattern()}, 1)
		c := &conn{port: firstPort, una: 1000, nxt: 1000, max: 1000, end: 5000, rcv: 77}
		add(tcp.segment(b, 0, c, 1000, flagSYN, 0))
		add(tcp.segment(b, 0, c, 1000, flagACK|flagPSH, 100))
		add(tcp.segment(b, 0, c, 1000, flagACK|flagFIN, 0))
		add(tcp.segment(b, 0, c, 1000, flagRST, 0))
		add(segmentTo(b, f, c, 5, 1001, flagSYN|flagACK, 0))
	}
	return frames
}

// segmentTo makes a segment from the server to c, with n bytes of c's own stream as
// far as that is where they belong.
func segmentTo(b []byte, f family, c *conn, seq, ack uint32, flags uint8, n int) int {
	src, dst := f.server.AsSlice(), f.source(1).AsSlice()
	tmpl := template{l3: make([]byte, etherLen, etherLen+ipv6Len), l4Sum: sum(dst, sum(src, protoTCP+uint64(c.port)))}
	putEther(tmpl.l3, make([]byte, 6), make([]byte, 6), etherTypeIPv6)
	if f.server.Is4() {
		be.PutUint16(tmpl.l3[12:], etherTypeIPv4)
		tmpl.l3 = append(tmpl.l3, 0x45, 0, 0, 0, 0, 0, 0x40, 0, 64, protoTCP, 0, 0)
	} else {
		tmpl.l3 = append(tmpl.l3, 0x60, 0, 0, 0, 0, 0, protoTCP, 64)
	}
	tmpl.l3 = append(append(tmpl.l3, src...), dst...)
	tmpl.ipSum = sum(tmpl.l3[etherLen:], 0)
	at := tmpl.put(b, tcpHeaderLen+n)
	h := b[at : at+tcpHeaderLen+n]
	be.PutUint16(h, echoPort)
	be.PutUint16(h[2:], c.port)
	be.PutUint32(h[4:], seq)
	be.PutUint32(h[8:], ack)
	be.PutUint32(h[12:], 5<<28|uint32(flags)<<16|1000)
	be.PutUint32(h[16:], 0)
	copy(h[tcpHeaderLen:], pattern()[(c.una+c.mark)%patternLen:])
	be.PutUint16(h[16:], ^fold(sum(h, sum(dst, sum(src, protoTCP+uint64(len(h)))))))
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
