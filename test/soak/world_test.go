package soak

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"shardnet/driver"
	"shardnet/driver/drivertest"
	"shardnet/driver/fault"
	"shardnet/driver/memnic"
	"shardnet/socketapi"
	"shardnet/stack"
	"shardnet/stack/flow"
	"shardnet/test/testutil"
)

// world is two stacks on a cable, each with a server of net.Conns and one of events,
// and goroutines on both that talk to the other's.
type world struct {
	t    *testing.T
	name string // for what goes wrong
	ends [2]*end

	excuses []error

	stopping atomic.Bool // no new conversation begins
	closing  atomic.Bool // stacks are being closed: whatever happens to a conversation is right
	workers  sync.WaitGroup
	servers  sync.WaitGroup
	talks    [numKinds]atomic.Int64
	visits   atomic.Int64
	reported atomic.Int64
}

// end is one of the stacks.
type end struct {
	st    *stack.Stack
	addrs []netip.Addr
	group *socketapi.Group
	echo  echo
	dial  socketapi.Dialer
}

const (
	talkPort = 7
	echoPort = 8
)

// keepAlive is quick, so that an end learns of a reset that got lost.
var keepAlive = net.KeepAliveConfig{Enable: true, Idle: time.Second, Interval: time.Second, Count: 10}

// newWorld starts a world. With loss, the cable is a bad one.
func newWorld(t *testing.T, transport flow.Transport, shards int, loss fault.Config) *world {
	t.Helper()
	w := &world{t: t, name: fmt.Sprintf("shards=%d fault=%v", shards, loss), excuses: excuses}
	if transport == flow.TransportNetstack {
		// What it says at times of a connection that the peer has closed and left.
		w.excuses = append(slices.Clone(excuses), syscall.ECONNABORTED)
	}
	q := memnic.End{Queues: shards, RxRing: 512, TxRing: 512}
	a, b, err := memnic.NewPair(&memnic.Config{A: q, B: q})
	if err != nil {
		t.Fatal(err)
	}
	for i, nic := range []*memnic.Device{a, b} {
		var dev driver.Device = drivertest.Guard(t, nic)
		if i == 0 {
			if dev, err = fault.Wrap(dev, loss); err != nil {
				t.Fatal(err)
			}
		}
		e := &end{addrs: []netip.Addr{
			netip.AddrFrom4([4]byte{198, 18, 0, byte(1 + i)}),
			netip.MustParseAddr(fmt.Sprintf("2001:db8::%d", 1+i)),
		}}
		e.st, err = stack.New(dev, &stack.Config{
			Addresses:    []netip.Prefix{netip.PrefixFrom(e.addrs[0], 24), netip.PrefixFrom(e.addrs[1], 64)},
			Transport:    transport,
			TCPMemory:    64 << 20,
			CloseTimeout: 200 * time.Millisecond,
		})
		if err != nil {
			t.Fatal(err)
		}
		e.dial = socketapi.Dialer{Stack: e.st, KeepAliveConfig: keepAlive, Timeout: patience}
		lc := socketapi.ListenConfig{KeepAliveConfig: keepAlive}
		if e.group, err = lc.Listen(e.st, "tcp", fmt.Sprintf(":%d", talkPort)); err != nil {
			t.Fatal(err)
		}
		if _, err = lc.Handle(e.st, "tcp", fmt.Sprintf(":%d", echoPort), &e.echo); err != nil {
			t.Fatal(err)
		}
		w.ends[i] = e
		w.servers.Go(func() { w.accept(e) })
	}
	return w
}

// accept answers whoever calls, until the stack closes.
func (w *world) accept(e *end) {
	for {
		c, err := e.group.Accept()
		if err != nil {
			if !errors.Is(err, net.ErrClosed) {
				w.report("accept", err)
			}
			return
		}
		w.servers.Go(func() {
			h, err := answer(c.(*socketapi.Conn))
			w.judge("server", h.kind, err)
		})
	}
}

// work talks to the other end's servers, one conversation after the other.
func (w *world) work(from, to *end) {
	for !w.stopping.Load() && !w.closing.Load() {
		h := header{kind: kind(rand.IntN(int(numKinds))), up: size(), down: size(), seed: rand.Uint32N(1 << 30)}
		visit := rand.IntN(3) == 0
		port := uint16(talkPort)
		if visit {
			port = echoPort
		}
		addr := netip.AddrPortFrom(to.addrs[rand.IntN(len(to.addrs))], port)
		c, err := from.dial.Dial("tcp", addr.String())
		if err != nil {
			w.judge("dial", transfer, err)
			continue
		}
		if visit {
			w.visits.Add(1)
			w.judge("client of events", bothReset, visitEcho(c.(*socketapi.Conn), h))
		} else {
			w.talks[h.kind].Add(1)
			w.judge("client", h.kind, talk(c.(*socketapi.Conn), h))
		}
	}
}

// size is how much is sent: mostly little, and at times more than buffers hold.
func size() uint32 {
	switch rand.IntN(20) {
	case 0:
		return 1 + rand.Uint32N(2<<20)
	case 1, 2, 3:
		return 1 + rand.Uint32N(100_000)
	}
	return 1 + rand.Uint32N(3000)
}

// judge reports an error that a conversation of that kind should not end with.
func (w *world) judge(who string, k kind, err error) {
	switch {
	case err == nil:
	case errors.Is(err, errWrong):
	case w.closing.Load(), k.rude() && w.excused(err):
		return
	}
	if err != nil {
		w.report(fmt.Sprintf("%s, kind %d", who, k), err)
	}
}

func (w *world) report(what string, err error) {
	if w.reported.Add(1) <= 5 {
		w.t.Errorf("%s: %s: %v", w.name, what, err)
	}
}

// excuses are how a connection may end that was reset or left.
var excuses = []error{io.EOF, syscall.ECONNRESET, syscall.EPIPE}

func (w *world) excused(err error) bool {
	if err == nil {
		return true
	}
	if j, ok := err.(interface{ Unwrap() []error }); ok {
		for _, e := range j.Unwrap() {
			if !w.excused(e) {
				return false
			}
		}
		return true
	}
	return slices.ContainsFunc(w.excuses, func(e error) bool { return errors.Is(err, e) })
}

// run talks for a while, and then ends the world: in order, when every connection must
// be gone by itself and leave nothing, or by closing its stacks in the midst of it.
func (w *world) run(d time.Duration, inOrder bool) {
	w.t.Helper()
	for i, e := range w.ends {
		for range 12 {
			w.workers.Go(func() { w.work(e, w.ends[1-i]) })
		}
	}
	time.Sleep(d) // the load itself
	if inOrder {
		w.stopping.Store(true)
		w.wait("conversations", &w.workers, patience+30*time.Second)
		w.drain()
	}
	w.closing.Store(true)
	first := rand.IntN(2)
	for i := range w.ends {
		if err := w.ends[(first+i)%2].st.Close(); err != nil {
			w.report("close", err)
		}
	}
	// Nobody waits for anything on a closed stack.
	w.wait("conversations", &w.workers, patience/4)
	w.wait("servers", &w.servers, patience/4)
	for i, e := range w.ends {
		if opened, closed := e.echo.opened.Load(), e.echo.closed.Load(); opened != closed {
			w.report("events", fmt.Errorf("OnOpen was called %d times, OnClose %d", opened, closed))
		}
		s := e.st.Stats()
		if s.Queue.Lent != 0 || s.TCPMemory != 0 {
			w.report("closed stack", fmt.Errorf("stack %d holds %d frames, and %d bytes of TCP's memory", i, s.Queue.Lent, s.TCPMemory))
		}
	}
}

// orphaned bounds what may be left of a connection that both applications have done
// with, where segments get lost and overtake each other: 60 s in FIN-WAIT-2, when the
// peer's reset was lost; 63 s in SYN-RECEIVED, when a SYN came that is older than the
// connection's end, and the peer is in TIME-WAIT and ignores resets (RFC 1337).
const orphaned = 90 * time.Second

// drain waits until no connection is left, as both ends have closed all of them.
func (w *world) drain() {
	deadline := time.Now().Add(orphaned)
	for i, e := range w.ends {
		for {
			s := e.st.Stats()
			if s.Established == 0 && s.TCPMemory == 0 && e.echo.opened.Load() == e.echo.closed.Load() {
				break
			}
			if time.Now().After(deadline) {
				w.report("drain", fmt.Errorf("stack %d: %d connections are left, and %d bytes of memory; events: %d opened, %d closed",
					i, s.Established, s.TCPMemory, e.echo.opened.Load(), e.echo.closed.Load()))
				break
			}
			time.Sleep(5 * time.Millisecond)
		}
	}
}

// wait waits for goroutines, and fails the test with where they are if they hang.
func (w *world) wait(what string, wg *sync.WaitGroup, limit time.Duration) {
	done := make(chan struct{})
	go func() {
		wg.Wait()
		close(done)
	}()
	select {
	case <-done:
	case <-time.After(limit):
		w.t.Fatalf("%s: %s hang:\n%s", w.name, what, testutil.Stacks())
	}
}
