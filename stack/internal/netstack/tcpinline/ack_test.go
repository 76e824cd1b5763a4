package tcpinline

import (
	"strings"
	"testing"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
	"gvisor.dev/gvisor/pkg/waiter"
)

// ackRig is a connection from c to a over loopback, moved by d alone.
type ackRig struct {
	s    *stack.Stack
	d    *Drainer
	c, a *tcp.Endpoint
}

func newACKRig(t *testing.T) *ackRig {
	t.Helper()
	s := newStack(t)
	d, err := New(s)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close(); s.Close(); s.Wait() })
	var lq, cq waiter.Queue
	l, terr := s.NewEndpoint(tcp.ProtocolNumber, header.IPv4ProtocolNumber, &lq)
	if terr != nil {
		t.Fatal(terr)
	}
	t.Cleanup(l.Close)
	if terr := l.Bind(tcpip.FullAddress{Port: 80}); terr != nil {
		t.Fatal(terr)
	}
	if terr := l.Listen(10); terr != nil {
		t.Fatal(terr)
	}
	c, terr := s.NewEndpoint(tcp.ProtocolNumber, header.IPv4ProtocolNumber, &cq)
	if terr != nil {
		t.Fatal(terr)
	}
	c.Connect(tcpip.FullAddress{Addr: tcpip.AddrFrom4([4]byte{198, 18, 0, 1}), Port: 80})
	r := &ackRig{s: s, d: d, c: c.(*tcp.Endpoint)}
	r.settle()
	a, _, terr := l.Accept(nil)
	if terr != nil {
		t.Fatal(terr)
	}
	r.a = a.(*tcp.Endpoint)
	t.Cleanup(r.a.Abort)
	t.Cleanup(r.c.Abort)
	return r
}

// settle takes turns until nothing moves.
func (r *ackRig) settle() {
	for r.d.Drain() > 0 {
		r.d.SendACKs()
	}
	r.d.LeftToUser()
}

// ask has c send a question and a receive it, in a turn that has not ended.
func (r *ackRig) ask(t *testing.T) {
	t.Helper()
	if n, terr := r.c.Write(strings.NewReader("question"), tcpip.WriteOptions{}); n != 8 || terr != nil {
		t.Fatalf("write: %d, %v", n, terr)
	}
	for r.d.Drain() > 0 {
	}
	if !r.owes() {
		t.Fatal("what was received is acknowledged already")
	}
}

func (r *ackRig) owes() bool {
	_, next, acked := r.d.sequence(r.a)
	return *next != *acked
}

func (r *ackRig) sent() uint64 { return r.s.Stats().TCP.SegmentsSent.Value() }

func TestAnswerSavesTheACK(t *testing.T) {
	r := newACKRig(t)
	r.ask(t)
	before := r.sent()
	if _, terr := r.a.Write(strings.NewReader("answer"), tcpip.WriteOptions{}); terr != nil {
		t.Fatal(terr)
	}
	r.d.SendACKs()
	if n := r.sent() - before; n != 1 || r.owes() {
		t.Errorf("%d segments were sent for an answer; still owing: %v", n, r.owes())
	}
	if len(r.d.owing) != 0 || r.d.LeftToUser() {
		t.Error("the drainer still holds the endpoint")
	}
}

func TestACKWithoutAnswer(t *testing.T) {
	r := newACKRig(t)
	r.ask(t)
	before := r.sent()
	r.d.SendACKs()
	r.d.SendACKs()
	if n := r.sent() - before; n != 1 || r.owes() {
		t.Errorf("%d segments were sent, want one ACK; still owing: %v", n, r.owes())
	}
}

// An endpoint in a user's hands keeps its acknowledgement, and the loop awake, until
// the user lets go.
func TestACKOwedWhileAUserHolds(t *testing.T) {
	r := newACKRig(t)
	r.ask(t)
	r.d.LeftToUser()
	before := r.sent()
	r.a.LockUser()
	for range 3 {
		r.d.SendACKs()
		if !r.d.LeftToUser() {
			t.Error("the loop may sleep with an acknowledgement owed")
		}
	}
	if n := r.sent() - before; n != 0 {
		t.Errorf("%d segments were sent of an endpoint that a user holds", n)
	}
	r.a.UnlockUser()
	r.d.SendACKs()
	if n := r.sent() - before; n != 1 || r.owes() || r.d.LeftToUser() {
		t.Errorf("%d segments were sent, want one ACK; still owing: %v", n, r.owes())
	}
}

// What ends between Drain and SendACKs is not acknowledged, nor touched.
func TestNoACKAfterTheEnd(t *testing.T) {
	for name, end := range map[string]func(r *ackRig){
		"aborted":                               func(r *ackRig) { r.a.Abort() },
		"reset":                                 func(r *ackRig) { r.c.Abort(); r.d.Drain() },
		"closed with data unread, which resets": func(r *ackRig) { r.a.Close() },
	} {
		t.Run(name, func(t *testing.T) {
			r := newACKRig(t)
			r.ask(t)
			end(r)
			before := r.sent()
			r.d.SendACKs()
			if n := r.sent() - before; n != 0 {
				t.Errorf("%d segments were sent by SendACKs", n)
			}
			if len(r.d.owing) != 0 {
				t.Error("the drainer still holds the endpoint")
			}
		})
	}
}
