package stack_test

import (
	"fmt"
	"net/netip"
	"runtime"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"shardnet/stack"
	"shardnet/stack/flow"
)

// cpuTime is the user and system time of the process, or of the calling thread.
func cpuTime(who int) time.Duration {
	var ru unix.Rusage
	if err := unix.Getrusage(who, &ru); err != nil {
		return 0
	}
	return time.Duration(ru.Utime.Nano() + ru.Stime.Nano())
}

// echoTask serves one connection on its shard, with no goroutine: the Notify
// function posts it, and it reads and answers until there is no more.
type echoTask struct {
	f   flow.Flow
	sh  *stack.Shard
	buf []byte
}

func (e *echoTask) RunOnShard() {
	for {
		n, err := e.f.Read(e.buf)
		if err == flow.ErrWouldBlock {
			return
		}
		if err != nil {
			e.f.Close()
			return
		}
		if _, err := e.f.Write(e.buf[:n]); err != nil {
			e.f.Close()
			return
		}
	}
}

// acceptTask accepts what has come and serves it on the shard.
type acceptTask struct {
	l  flow.Listener
	sh *stack.Shard
}

func (a *acceptTask) RunOnShard() {
	for {
		f, err := a.l.Accept()
		if err != nil {
			return
		}
		e := &echoTask{f: f, sh: a.sh, buf: make([]byte, 2048)}
		f.Serve(e)
	}
}

// askTask is a closed-loop client on the client's shard: it sends a question when
// the answer to the last has come.
type askTask struct {
	f        flow.Flow
	sh       *stack.Shard
	question []byte
	got      int
	started  bool
	done     *int // answers, of all connections; the loop's
	want     int
	end      chan struct{}
	buf      []byte
	fail     func(error)
}

func (a *askTask) RunOnShard() {
	if !a.started {
		if err := a.f.ConnectError(); err != nil {
			if err != flow.ErrWouldBlock {
				a.fail(err)
			}
			return
		}
		a.started = true
		a.ask()
	}
	for {
		n, err := a.f.Read(a.buf)
		if err == flow.ErrWouldBlock {
			return
		}
		if err != nil {
			a.fail(err)
			return
		}
		if a.got += n; a.got < len(a.question) {
			continue
		}
		a.got = 0
		if *a.done++; *a.done == a.want {
			close(a.end)
		}
		if *a.done >= a.want {
			return
		}
		a.ask()
	}
}

func (a *askTask) ask() {
	if _, err := a.f.Write(a.question); err != nil {
		a.fail(err)
	}
}

// rr runs n requests over conns connections between two stacks of one shard, both
// without a goroutine a connection. It returns the CPU time that is not the
// client's, whose loop has a thread of its own.
func rr(b *testing.B, tr flow.Transport, conns, n int) (server, wall time.Duration) {
	a, c := newBareCable(b, 1, 1)
	scfg, ccfg := serverConfig(), clientConfig()
	scfg.Transport, ccfg.Transport = tr, tr
	scfg.Spin = -1
	if runtime.NumCPU() > 1 {
		scfg.CPUs, ccfg.CPUs = []int{0}, []int{1}
	} else {
		ccfg.CPUs = []int{0}
	}
	st, cl := startStack(b, a, scfg), startStack(b, c, ccfg)
	l, err := st.Shard(0).ListenTCP(netip.AddrPortFrom(serverAddr4, 7), flow.SocketOptions{})
	if err != nil {
		b.Fatal(err)
	}
	accept := &acceptTask{l: l, sh: st.Shard(0)}
	l.Serve(accept)
	end := make(chan struct{})
	failed := make(chan error, 1)
	var done int
	var before, after time.Duration
	cpu := func(to *time.Duration) {
		read := make(chan struct{})
		cl.Shard(0).Post(taskFunc(func() { *to = cpuTime(unix.RUSAGE_SELF) - cpuTime(unix.RUSAGE_THREAD); close(read) }))
		<-read
	}
	cpu(&before)
	start := time.Now()
	for range conns {
		f, err := cl.Shard(0).DialTCP(netip.AddrPort{}, netip.AddrPortFrom(serverAddr4, 7), flow.SocketOptions{})
		if err != nil {
			b.Fatal(err)
		}
		t := &askTask{f: f, sh: cl.Shard(0), question: make([]byte, 64), done: &done, want: n, end: end, buf: make([]byte, 2048),
			fail: func(err error) {
				select {
				case failed <- err:
				default:
				}
			}}
		f.Serve(t)
	}
	select {
	case <-end:
	case err := <-failed:
		b.Fatal(err)
	case <-time.After(time.Minute):
		b.Fatal("requests stalled")
	}
	wall = time.Since(start)
	cpu(&after)
	return after - before, wall
}

// BenchmarkRR is TCP request and response, 64 bytes, between two stacks over
// memory. server-ns/req is the CPU time of everything but the client's loop,
// goroutines changing threads among it: BenchmarkRequestCost in test/e2e has what a
// request costs a server over AF_XDP.
func BenchmarkRR(b *testing.B) {
	for _, conns := range []int{1, 64, 512} {
		for _, tcp := range []struct {
			name string
			tr   flow.Transport
		}{
			{"fast", flow.TransportFast},
			{"netstack", flow.TransportNetstack},
		} {
			b.Run(fmt.Sprintf("conns=%d/tcp=%s", conns, tcp.name), func(b *testing.B) {
				server, wall := rr(b, tcp.tr, conns, max(b.N, conns))
				b.ReportMetric(float64(server.Nanoseconds())/float64(b.N), "server-ns/req")
				b.ReportMetric(float64(b.N)/wall.Seconds(), "req/s")
			})
		}
	}
}

// BenchmarkBulk is one TCP stream between two stacks of one shard over memory,
// with a goroutine at each end.
func BenchmarkBulk(b *testing.B) {
	for _, tr := range transports {
		b.Run("tcp="+tr.String(), func(b *testing.B) { benchmarkBulk(b, tr) })
	}
}

func benchmarkBulk(b *testing.B, tr flow.Transport) {
	const piece = 64 << 10
	a, z := newBareCable(b, 1, 1)
	server, client := startStack(b, a, serverConfigOn(tr)), startStack(b, z, clientConfigOn(tr))
	l, err := server.Shard(0).ListenTCP(netip.AddrPortFrom(serverAddr4, 9), flow.SocketOptions{})
	if err != nil {
		b.Fatal(err)
	}
	ready := newSignal()
	l.Notify(ready.notify)
	c, err := dial(client.Shard(0), l.Addr())
	if err != nil {
		b.Fatal(err)
	}
	f, err := l.Accept()
	for err == flow.ErrWouldBlock {
		if err = ready.wait(); err == nil {
			f, err = l.Accept()
		}
	}
	if err != nil {
		b.Fatal(err)
	}
	b.SetBytes(piece)
	b.ReportAllocs()
	b.ResetTimer()
	go func() {
		buf := make([]byte, piece)
		for range b.N {
			if _, err := c.Write(buf); err != nil {
				b.Error(err)
				return
			}
		}
	}()
	s, buf := newConn(f), make([]byte, piece)
	for left := b.N * piece; left > 0; {
		n, err := s.Read(buf)
		if err != nil {
			b.Fatal(err)
		}
		left -= n
	}
	b.StopTimer()
	stats := server.Stats()
	b.ReportMetric(float64(stats.Merged)/float64(stats.RxPackets), "merged")
	b.ReportMetric(float64(client.Stats().Retransmits), "retransmits")
	f.Close()
	c.Close()
}

// BenchmarkUDPEcho is UDP request and response, 64 bytes, over memory with a raw
// peer that keeps 32 requests under way: answered in the frame by a handler, or by
// a goroutine by way of ReadFrom and WriteTo.
func BenchmarkUDPEcho(b *testing.B) {
	const window = 32
	for way, w := range udpEchoWays {
		for _, v6 := range []bool{false, true} {
			b.Run(fmt.Sprintf("in=%s/v6=%v", w.name, v6), func(b *testing.B) {
				p := newEchoPinger(b, way, v6)
				p.ask(window)
				b.ReportAllocs()
				b.ResetTimer()
				for left := b.N; left > 0; left -= window {
					if !p.ask(min(window, left)) {
						b.Fatal("no answer")
					}
				}
				b.StopTimer()
			})
		}
	}
}
