package tcpinline

import (
	"os"
	"reflect"
	"runtime"
	"strings"
	"testing"
	"time"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/link/loopback"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv4"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
	"gvisor.dev/gvisor/pkg/tcpip/transport/udp"
	"gvisor.dev/gvisor/pkg/waiter"
)

// TestVersion fails when go.mod has another netstack than the one that was read:
// read transport/tcp/dispatcher.go again, then change Version.
func TestVersion(t *testing.T) {
	mod, err := os.ReadFile("../../../../go.mod")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(mod), "gvisor.dev/gvisor "+Version) {
		t.Errorf("go.mod does not require gvisor.dev/gvisor %s: compare processor.start and the dispatcher with Drain, and the layout with checkLayout", Version)
	}
}

func newStack(t *testing.T) *stack.Stack {
	t.Helper()
	s := stack.New(stack.Options{
		NetworkProtocols:   []stack.NetworkProtocolFactory{ipv4.NewProtocol},
		TransportProtocols: []stack.TransportProtocolFactory{tcp.NewProtocol},
		HandleLocal:        true,
	})
	if err := s.CreateNIC(1, loopback.New()); err != nil {
		t.Fatal(err)
	}
	addr := tcpip.AddrFrom4([4]byte{198, 18, 0, 1})
	if err := s.AddProtocolAddress(1, tcpip.ProtocolAddress{Protocol: header.IPv4ProtocolNumber, AddressWithPrefix: addr.WithPrefix()}, stack.AddressProperties{}); err != nil {
		t.Fatal(err)
	}
	s.SetRouteTable([]tcpip.Route{{Destination: header.IPv4EmptySubnet, NIC: 1}})
	return s
}

// TestDrainAloneRunsTCP connects two endpoints over loopback: nothing moves
// until Drain is called, everything by Drain alone.
func TestDrainAloneRunsTCP(t *testing.T) {
	for _, procs := range []int{1, 2, 8} {
		old := runtime.GOMAXPROCS(procs)
		defer runtime.GOMAXPROCS(old)
		s := newStack(t)
		d, err := New(s)
		if err != nil {
			t.Fatal(err)
		}
		var lq, cq waiter.Queue
		l, terr := s.NewEndpoint(tcp.ProtocolNumber, header.IPv4ProtocolNumber, &lq)
		if terr != nil {
			t.Fatal(terr)
		}
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
		if !d.Pending() {
			t.Fatal("a SYN is on its way and nothing is pending")
		}
		time.Sleep(20 * time.Millisecond) // a processor that was not parked would have run
		if _, _, terr := l.Accept(nil); terr == nil {
			t.Fatal("the handshake went on without Drain: processors are not parked")
		}
		for d.Drain() > 0 {
		}
		a, _, terr := l.Accept(nil)
		if terr != nil {
			t.Fatalf("Accept after Drain: %v", terr)
		}
		if n, terr := c.Write(strings.NewReader("hello"), tcpip.WriteOptions{}); n != 5 || terr != nil {
			t.Fatalf("Write: %d, %v", n, terr)
		}
		for d.Drain() > 0 {
		}
		buf := make(tcpip.SliceWriter, 10)
		if res, terr := a.Read(&buf, tcpip.ReadOptions{}); terr != nil || res.Count != 5 {
			t.Fatalf("Read: %+v, %v", res, terr)
		}
		c.Close()
		for d.Drain() > 0 {
		}
		if st := tcp.EndpointState(a.State()); st != tcp.StateCloseWait {
			t.Errorf("peer of a closed connection is in state %v", st)
		}
		// Teardown with segments still queued: Close must hand them back.
		a.Close()
		l.Close()
		d.Close()
		d.Close()
		done := make(chan struct{})
		go func() { s.Close(); s.Wait(); close(done) }()
		select {
		case <-done:
		case <-time.After(10 * time.Second):
			t.Fatal("stack does not end: processors were not resumed")
		}
	}
}

func TestNewRefusesAStackWithoutTCP(t *testing.T) {
	s := stack.New(stack.Options{TransportProtocols: []stack.TransportProtocolFactory{udp.NewProtocol}})
	if _, err := New(s); err == nil {
		t.Error("New takes a stack without TCP")
	}
}

func TestLayoutMismatchIsAnError(t *testing.T) {
	var protocol struct{ dispatcher struct{ processors []int } }
	for _, v := range []any{protocol, &protocol, &struct{}{}, 7} {
		if _, err := checkLayout(reflect.TypeOf(v)); err == nil {
			t.Errorf("checkLayout takes %T", v)
		}
	}
}
