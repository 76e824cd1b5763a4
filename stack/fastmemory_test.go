package stack_test

import (
	"bytes"
	"fmt"
	"io"
	"net/netip"
	"sync"
	"testing"

	"shardnet/stack"
	"shardnet/stack/flow"
	"shardnet/test/testutil"
)

// littleMemory is the least that a stack of one shard takes.
const littleMemory = 1 << 20

// startLittle starts a server with littleMemory and a client with plenty.
func startLittle(t *testing.T) (server, client *stack.Stack) {
	t.Helper()
	a, b := newCable(t, 1, 1)
	cfg := serverConfigOn(flow.TransportFast)
	cfg.TCPMemory = littleMemory
	return startStack(t, a, cfg), startStack(t, b, clientConfigOn(flow.TransportFast))
}

// within checks that st keeps to its budget, but for what is known of segments in
// flight beyond it.
func within(t *testing.T, st *stack.Stack) {
	t.Helper()
	if n := st.Stats().TCPMemory; n > littleMemory+littleMemory/16 {
		t.Errorf("%d bytes of %d are in use", n, littleMemory)
	}
}

// More connections than there is memory for: those that have some go on, the others
// wait their turn, and nothing is left in use at the end.
func TestConnectionsBeyondMemory(t *testing.T) {
	server, client := startLittle(t)
	sh := client.Shard(0)
	startEcho(t, server, 7)
	const most = 1000
	var waiting []flow.Flow
	for range most {
		f, err := sh.DialTCP(netip.AddrPort{}, netip.AddrPortFrom(serverAddr4, 7), flow.SocketOptions{})
		if err != nil {
			t.Fatal(err)
		}
		waiting = append(waiting, f)
	}
	asked := make(map[flow.Flow]bool)
	// progress asks those that are connected and returns those that were answered.
	progress := func() (answered []flow.Flow) {
		still := waiting[:0]
		for _, f := range waiting {
			if !asked[f] {
				if _, err := f.Write([]byte("hello")); err == nil {
					asked[f] = true
				} else if err != flow.ErrWouldBlock {
					t.Fatalf("write: %v", err)
				}
			}
			got := make([]byte, 10)
			switch n, err := f.Read(got); {
			case err == nil && string(got[:n]) == "hello":
				answered = append(answered, f)
			case err == flow.ErrWouldBlock:
				still = append(still, f)
			default:
				t.Fatalf("read %q, %v", got[:n], err)
			}
		}
		waiting = still
		return answered
	}
	served := 0
	var have []flow.Flow
	testutil.Eventually(t, "the memory is full", func() bool {
		have = append(have, progress()...)
		within(t, server)
		return len(have) >= littleMemory/8/2592 && server.Stats().TCPMemory > littleMemory*3/4
	})
	if len(have) == most {
		t.Fatal("there was memory for all: nothing was put to the test")
	}
	// Each that leaves makes room for one that waits.
	testutil.Eventually(t, "all were answered", func() bool {
		for _, f := range have {
			f.Close()
		}
		served += len(have)
		have = progress()
		within(t, server)
		return served+len(have) == most
	})
	for _, f := range have {
		f.Close()
	}
	testutil.Eventually(t, "nothing is in use", func() bool { return server.Stats().TCPMemory == 0 && client.Stats().TCPMemory == 0 })
}

// Connections that send more than there is memory for take turns, and each byte
// arrives.
func TestWritesBeyondMemory(t *testing.T) {
	server, client := startLittle(t)
	l := listenOn(t, server.Shard(0), flow.TransportFast, 7)
	const conns, size = 48, 200_000
	var wg sync.WaitGroup
	var ends, writers []*conn
	for range conns {
		c, err := dial(client.Shard(0), netip.AddrPortFrom(serverAddr4, 7))
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		ends = append(ends, c)
		writers = append(writers, accept(t, l))
	}
	for i, s := range writers {
		wg.Go(func() {
			defer s.Close()
			if _, err := s.Write(bytes.Repeat([]byte{byte(i)}, size)); err != nil {
				t.Error(err)
			}
		})
	}
	testutil.Eventually(t, "the memory is full", func() bool { return server.Stats().TCPMemory > littleMemory*7/8 })
	within(t, server)
	errs := make(chan error, conns)
	for i, c := range ends {
		wg.Go(func() {
			b, err := io.ReadAll(c)
			if err == nil && (len(b) != size || bytes.Count(b, b[:1]) != size) {
				err = fmt.Errorf("%d bytes came", len(b))
			}
			if err != nil {
				errs <- fmt.Errorf("connection %d: %w", i, err)
			}
		})
	}
	wg.Wait()
	close(errs)
	for err := range errs {
		t.Error(err)
	}
	within(t, server)
	for _, c := range ends {
		c.Close()
	}
	testutil.Eventually(t, "nothing is in use", func() bool { return server.Stats().TCPMemory == 0 })
}
