package stack_test

import (
	"net/netip"
	"runtime"
	"testing"

	"shardnet/stack"
	"shardnet/stack/flow"
	"shardnet/test/testutil"
)

// segmentEcho answers where the bytes are, in the received frame.
type segmentEcho struct {
	f      flow.Flow
	frames int
}

func (e *segmentEcho) RunOnShard() {
	if _, err := e.f.Read(nil); err != nil && err != flow.ErrWouldBlock {
		e.f.Close()
	}
}

func (e *segmentEcho) HandleSegment(p []byte) int {
	e.frames++
	n, _ := e.f.Write(p)
	return n
}

// No Read, no Write and no segment allocates, whichever way a connection is served:
// both stacks' loops are counted.
func TestFastTCPAllocates(t *testing.T) {
	if testutil.RaceEnabled {
		t.Skip("the race detector allocates on its own account")
	}
	var inFrame *segmentEcho
	for _, c := range []struct {
		name  string
		serve func(t *testing.T, sh *stack.Shard, f flow.Flow)
	}{
		{"in the frame", func(_ *testing.T, sh *stack.Shard, f flow.Flow) {
			inFrame = &segmentEcho{f: f}
			f.Serve(inFrame)
		}},
		{"by a task", func(_ *testing.T, sh *stack.Shard, f flow.Flow) {
			f.Serve(&echoTask{f: f, sh: sh, buf: make([]byte, 16<<10)})
		}},
		{"by a goroutine", func(t *testing.T, _ *stack.Shard, f flow.Flow) {
			served := make(chan struct{})
			readable := newSignal()
			f.Notify(readable.notify)
			go func() {
				defer close(served)
				buf := make([]byte, 16<<10)
				for {
					n, err := f.Read(buf)
					switch err {
					case nil:
						f.Write(buf[:n])
					case flow.ErrWouldBlock:
						<-readable
					default:
						f.Close()
						return
					}
				}
			}()
			t.Cleanup(func() { <-served })
		}},
	} {
		for _, size := range []int{64, 10_000} {
			t.Run(c.name+"/"+map[int]string{64: "short", 10_000: "long"}[size], func(t *testing.T) {
				a, b := newBareCable(t, 1, 1)
				server := startStack(t, a, serverConfigOn(flow.TransportFast))
				client := startStack(t, b, clientConfigOn(flow.TransportFast))
				l := listenOn(t, server.Shard(0), flow.TransportFast, 7)
				f, err := client.Shard(0).DialTCP(netip.AddrPort{}, netip.AddrPortFrom(serverAddr4, 7), flow.SocketOptions{})
				if err != nil {
					t.Fatal(err)
				}
				defer f.Close()
				var sf flow.Flow
				testutil.Eventually(t, "it is accepted", func() bool { sf, err = l.Accept(); return err == nil })
				c.serve(t, server.Shard(0), sf)
				question, answer := make([]byte, size), make([]byte, size)
				ask := func() {
					if n, err := f.Write(question); n != size {
						t.Fatalf("wrote %d bytes, %v", n, err)
					}
					for got := 0; got < size; {
						n, err := f.Read(answer[got:])
						if err != nil && err != flow.ErrWouldBlock {
							t.Fatal(err)
						}
						if got += n; n == 0 {
							runtime.Gosched()
						}
					}
				}
				for range 200 {
					ask()
				}
				if n := testing.AllocsPerRun(300, ask); n != 0 {
					t.Errorf("%v allocations a request of %d bytes", n, size)
				}
				if c.name == "in the frame" {
					onLoop(server.Shard(0), func() {
						if inFrame.frames < 500 {
							t.Errorf("%d segments were offered in their frame", inFrame.frames)
						}
					})
				}
			})
		}
	}
}
