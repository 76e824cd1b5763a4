package tcp

import (
	"errors"
	"fmt"
	"io"
	"net/netip"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// script runs an engine against a peer that is written down, in the manner of packetdrill:
// one line, one thing done or expected. Sequence numbers are relative to the initial
// ones of either side.
//
//	listen [BACKLOG] | dial | accept | write N | read N | eof | peek N
//	closewrite | closeread | close | abort | nagle | keepalive | listenerclose
//	state NAME          the connection's state
//	err NAME            what Read returns
//	+DURATION           time passes; timers run
//	< FLAGS SEQ(LEN) ack N win N ...    a segment comes in; flags of SFRPAU
//	> FLAGS SEQ(LEN) ack N win N ...    a segment went out, with at least these fields
//	icmp KIND SEQ [MTU] [ignored]
//
// Options: mss N, ws N, sackok, sack A-B,C-D, ts VAL [ecr N]; without ecr the last
// timestamp sent is echoed, "ecr -N" one of N ms before it, and "nots" says that there
// is none. Every segment that goes out must be expected.
type script struct {
	t     *testing.T
	e     *Engine
	now   int64
	l     *Listener
	c     *Conn
	out   []Segment
	iss   seqNum // the engine's
	known bool
	peer  netip.AddrPort
	ours  netip.AddrPort
	tsval uint32 // the last sent
	buf   []byte
	noBuf bool
	line  string
	ready Events
}

// peerISN makes the peer's sequence numbers wrap in every script.
const peerISN = 0xffffff00

func (s *script) Frame(_ *Conn, _ *Tuple, n int) []byte {
	if s.noBuf {
		return nil
	}
	return s.buf[:n]
}

func (s *script) Send(_ *Conn, b []byte) {
	src, dst := s.ours.Addr().AsSlice(), s.peer.Addr().AsSlice()
	if !VerifyChecksum(b, src, dst) {
		s.fatal("a segment with a wrong checksum")
	}
	var seg Segment
	if err := ParseSegment(&seg, append([]byte(nil), b...), src, dst); err != nil {
		s.fatal("%v", err)
	}
	if seg.Flags&FlagSYN != 0 {
		s.iss, s.known = seg.Seq, true
	}
	if seg.HasTS {
		s.tsval = seg.TSVal
	}
	s.out = append(s.out, seg)
}

func (s *script) fatal(format string, args ...any) {
	s.t.Helper()
	s.t.Fatalf("%q: %s", s.line, fmt.Sprintf(format, args...))
}

func runScript(t *testing.T, cfg Config, text string) *script {
	t.Helper()
	s := &script{t: t, now: int64(time.Hour), buf: make([]byte, 1<<16),
		ours: netip.MustParseAddrPort("198.18.0.2:80"), peer: netip.MustParseAddrPort("198.18.0.1:40000")}
	cfg.Output = s
	e, err := New(s.now, cfg)
	if err != nil {
		t.Fatal(err)
	}
	s.e = e
	for line := range strings.Lines(text) {
		line, _, _ = strings.Cut(line, "#")
		if s.line = strings.TrimSpace(line); s.line == "" {
			continue
		}
		s.do(strings.Fields(s.line))
		for c, ev := s.e.NextReady(); c != nil; c, ev = s.e.NextReady() {
			s.ready |= ev
		}
		if err := s.e.check(); err != nil {
			s.fatal("%v", err)
		}
	}
	if len(s.out) > 0 {
		s.fatal("sent also %s", s.show(&s.out[0]))
	}
	return s
}

func (s *script) do(f []string) {
	if f[0] == ">" {
		s.expect(f[1:])
		return
	}
	if len(s.out) > 0 {
		s.fatal("sent before %s", s.show(&s.out[0]))
	}
	arg := func(d int) int {
		if len(f) < 2 {
			return d
		}
		n, err := strconv.Atoi(f[1])
		if err != nil {
			s.fatal("%v", err)
		}
		return n
	}
	var err error
	switch f[0] {
	case "<":
		seg := s.parse(f[1:])
		if s.e.Input(s.now, &seg) == NoConnection {
			s.e.Reject(&seg)
		}
	case "listen":
		s.l, err = s.e.Listen(s.ours, false, arg(16))
	case "dial":
		s.c, err = s.e.Dial(s.now, MakeTuple(s.ours, s.peer))
	case "accept":
		s.c, err = s.l.Accept()
	case "write":
		var n int
		if n, err = s.c.Write(make([]byte, arg(0))); n != arg(0) {
			s.fatal("wrote %d, %v", n, err)
		}
	case "read":
		p := make([]byte, 1<<20)
		n := 0
		for {
			k, err := s.c.Read(p[n:])
			if n += k; err != nil {
				break
			}
		}
		if n != arg(0) {
			s.fatal("read %d", n)
		}
	case "closewrite":
		err = s.c.CloseWrite()
	case "closeread":
		s.c.CloseRead()
	case "close":
		s.c.Close()
	case "abort":
		s.c.Abort()
	case "listenerclose":
		s.l.Close()
	case "nagle":
		s.c.SetNoDelay(false)
	case "keepalive":
		s.c.SetKeepAlive(true, 10*time.Second, time.Second, 3)
	case "nobuf":
		s.noBuf = true
	case "buf":
		s.noBuf = false
	case "state":
		if got := s.c.State().String(); got != f[1] {
			s.fatal("the state is %s", got)
		}
	case "event":
		if want := map[string]Events{"readable": Readable, "writable": Writable, "closed": Closed}[f[1]]; s.ready&want == 0 {
			s.fatal("no such event")
		}
		s.ready = 0
	case "err":
		_, got := s.c.Read(make([]byte, 1))
		want := map[string]error{"EOF": io.EOF, "WOULDBLOCK": ErrWouldBlock, "ECONNRESET": syscall.ECONNRESET,
			"ECONNREFUSED": syscall.ECONNREFUSED, "ETIMEDOUT": syscall.ETIMEDOUT, "EHOSTUNREACH": syscall.EHOSTUNREACH}[f[1]]
		if want == nil || !errors.Is(got, want) {
			s.fatal("the error is %v", got)
		}
	case "none":
		if n := s.e.Stats().Conns; n != 0 {
			s.fatal("there are %d connections", n)
		}
	case "timewait":
		if n := s.e.Stats().TimeWaits; n != arg(1) {
			s.fatal("there are %d in TIME-WAIT", n)
		}
	case "icmp":
		s.icmp(f[1:])
	default:
		d, perr := time.ParseDuration(strings.TrimPrefix(f[0], "+"))
		if perr != nil {
			s.fatal("no such thing")
		}
		s.pass(d)
	}
	if err != nil {
		s.fatal("%v", err)
	}
	for s.e.Flush(s.now) && !s.noBuf {
	}
}

// pass lets time go by.
func (s *script) pass(d time.Duration) {
	end := s.now + int64(d)
	for {
		at, ok := s.e.NextTimer()
		if !ok || at > end {
			break
		}
		s.now = max(at, s.now)
		s.e.Advance(s.now)
		s.e.Flush(s.now)
	}
	s.now = end
	s.e.Advance(s.now)
}

func (s *script) icmp(f []string) {
	kind := map[string]ICMPKind{"toobig": ICMPTooBig, "refused": ICMPRefused, "unreachable": ICMPUnreachable, "noneighbour": ICMPNoNeighbor}[f[0]]
	seq, mtu, want := s.number(f[1]), 0, true
	for _, a := range f[2:] {
		if a == "ignored" {
			want = false
		} else {
			mtu = int(s.number(a))
		}
	}
	tuple := MakeTuple(s.ours, s.peer)
	if got := s.e.ICMP(s.now, &tuple, uint32(s.iss.add(seq)), kind, mtu); got != want {
		s.fatal("believed: %v", got)
	}
}

func (s *script) number(a string) uint32 {
	n, err := strconv.ParseInt(a, 10, 64)
	if err != nil {
		s.fatal("%v", err)
	}
	return uint32(n)
}

var flagNames = "FSRPAU"

func (s *script) parseFlags(a string) (fl uint8) {
	for _, r := range a {
		i := strings.IndexRune(flagNames, r)
		if i < 0 {
			s.fatal("no flag %c", r)
		}
		fl |= 1 << i
	}
	return fl
}

// fields reads what both kinds of segments have in common.
func (s *script) fields(f []string) (seg Segment, has map[string]bool) {
	has = make(map[string]bool)
	seg.Flags = s.parseFlags(f[0])
	seq, n, _ := strings.Cut(strings.TrimSuffix(f[1], ")"), "(")
	seg.Seq = seqNum(s.number(seq))
	seg.Payload = make([]byte, s.number(n))
	for i := 2; i < len(f); i++ {
		has[f[i]] = true
		next := func() uint32 {
			i++
			if i >= len(f) {
				s.fatal("no value")
			}
			return s.number(f[i])
		}
		switch f[i] {
		case "ack":
			seg.Ack = seqNum(next())
		case "win":
			seg.Window = uint16(next())
		case "mss":
			seg.HasMSS, seg.MSS = true, uint16(next())
		case "ws":
			seg.HasScale, seg.Scale = true, uint8(next())
		case "sackok":
			seg.SackOK = true
		case "ts":
			seg.HasTS, seg.TSVal = true, next()
			seg.TSEcr = s.tsval
		case "ecr":
			seg.TSEcr = next()
			if int32(seg.TSEcr) < 0 {
				seg.TSEcr += s.tsval
			}
		case "sack":
			i++
			for _, b := range strings.Split(f[i], ",") {
				lo, hi, _ := strings.Cut(b, "-")
				seg.Sack[seg.Blocks] = SackBlock{seqNum(s.number(lo)), seqNum(s.number(hi))}
				seg.Blocks++
			}
		case "nosack", "nots":
		default:
			s.fatal("no field %s", f[i])
		}
	}
	return seg, has
}

// parse makes a segment from the peer.
func (s *script) parse(f []string) Segment {
	seg, has := s.fields(f)
	if !has["win"] {
		seg.Window = 65535
	}
	if seg.Flags&FlagACK != 0 {
		seg.Ack += s.iss
	}
	seg.Seq += peerISN
	for i := range seg.Sack[:seg.Blocks] {
		seg.Sack[i].Start += s.iss
		seg.Sack[i].End += s.iss
	}
	seg.Tuple = MakeTuple(s.ours, s.peer)
	return seg
}

// expect compares with what was sent first.
func (s *script) expect(f []string) {
	want, has := s.fields(f)
	if len(s.out) == 0 {
		s.fatal("nothing was sent")
	}
	got := s.out[0]
	s.out = s.out[1:]
	shown := s.show(&got)
	got.Seq -= s.iss
	got.Ack -= peerISN
	if want.Flags&FlagRST != 0 && want.Flags&FlagACK == 0 || !s.known {
		got.Seq = s.relative(got.Seq, want.Seq)
	}
	ok := got.Flags == want.Flags && got.Seq == want.Seq && len(got.Payload) == len(want.Payload)
	ok = ok && (!has["ack"] || got.Ack == want.Ack) && (!has["win"] || got.Window == want.Window)
	ok = ok && (!has["mss"] || got.HasMSS && got.MSS == want.MSS) && (!has["ws"] || got.HasScale && got.Scale == want.Scale)
	ok = ok && (!has["sackok"] || got.SackOK) && (!has["ecr"] || got.HasTS && got.TSEcr == want.TSEcr)
	ok = ok && (!has["nots"] || !got.HasTS) && (!has["nosack"] || got.Blocks == 0 && !got.SackOK)
	if has["sack"] {
		ok = ok && got.Blocks == want.Blocks
		for i := range want.Sack[:want.Blocks] {
			ok = ok && got.Sack[i] == SackBlock{want.Sack[i].Start + peerISN, want.Sack[i].End + peerISN}
		}
	}
	if !ok {
		s.fatal("sent %s", shown)
	}
}

// relative leaves numbers as they are that are right, relative or not.
func (s *script) relative(got, want seqNum) seqNum {
	if got+s.iss == want {
		return want
	}
	return got
}

func (s *script) show(g *Segment) string {
	var b strings.Builder
	for i, r := range flagNames {
		if g.Flags&(1<<i) != 0 {
			b.WriteRune(r)
		}
	}
	fmt.Fprintf(&b, " %d(%d) ack %d win %d", int32(g.Seq.sub(s.iss)), len(g.Payload), int32(g.Ack-peerISN), g.Window)
	if g.HasMSS {
		fmt.Fprintf(&b, " mss %d", g.MSS)
	}
	if g.HasScale {
		fmt.Fprintf(&b, " ws %d", g.Scale)
	}
	if g.SackOK {
		b.WriteString(" sackok")
	}
	if g.HasTS {
		fmt.Fprintf(&b, " ts %d ecr %d", g.TSVal, g.TSEcr)
	}
	for i, bl := range g.Sack[:g.Blocks] {
		b.WriteString([]string{" sack ", ","}[min(i, 1)])
		fmt.Fprintf(&b, "%d-%d", bl.Start-peerISN, bl.End-peerISN)
	}
	return b.String()
}
