package socketapi

import (
	"errors"
	"net"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"shardnet/test/testutil"
)

// TestGroupSpreads dials many connections and accepts them through the group, by
// one goroutine, through the members, by one each, and both at once.
func TestGroupSpreads(t *testing.T) {
	const shards, conns = 4, 200
	for _, tc := range []struct {
		name            string
		group, eachOf   int // accepting goroutines on the group, and on each member
		wantEveryMember bool
	}{
		{name: "group", group: 1},
		{name: "group by four", group: 4},
		{name: "members", eachOf: 1},
		{name: "members by two", eachOf: 2},
		{name: "mixed", group: 2, eachOf: 2},
	} {
		t.Run(tc.name, func(t *testing.T) {
			inWorlds(t, shards, func(t *testing.T, w *world) {
				g := w.listen(t, "tcp", ":0")
				if g.Len() != shards {
					t.Fatalf("Len is %d", g.Len())
				}
				var mu sync.Mutex
				perShard := make([]int, shards)
				accepted := 0
				var wg sync.WaitGroup
				serve := func(l net.Listener, only int) {
					for {
						c, err := l.Accept()
						if err != nil {
							if !errors.Is(err, net.ErrClosed) {
								t.Errorf("Accept: %v", err)
							}
							return
						}
						i := c.(*Conn).Shard()
						if only >= 0 && i != only {
							t.Errorf("member %d accepted a connection of shard %d", only, i)
						}
						mu.Lock()
						perShard[i]++
						accepted++
						mu.Unlock()
						c.Close()
					}
				}
				for range tc.group {
					wg.Go(func() { serve(g, -1) })
				}
				for i := range shards {
					if got := g.Listener(i).Shard(); got != i {
						t.Errorf("Listener(%d) is of shard %d", i, got)
					}
					for range tc.eachOf {
						wg.Go(func() { serve(g.Listener(i), i) })
					}
				}
				address := "198.18.0.1:" + port(g)
				for range conns {
					w.dial(t, "tcp", address).Close()
				}
				testutil.Eventually(t, "all connections are accepted", func() bool {
					mu.Lock()
					defer mu.Unlock()
					return accepted >= conns
				})
				g.Close()
				wg.Wait()
				if accepted != conns {
					t.Errorf("accepted %d connections of %d", accepted, conns)
				}
				for i, n := range perShard {
					if n == 0 {
						t.Errorf("shard %d of %v had no connection", i, perShard)
					}
				}
			})
		})
	}
}

func port(g *Group) string {
	_, p, _ := net.SplitHostPort(g.Addr().String())
	return p
}

// TestGroupTakesTurns fills the queues of all shards first: a group must not drain
// one shard before it looks at the next.
func TestGroupTakesTurns(t *testing.T) {
	const shards, each = 4, 8
	w := newFakeWorld(t, shards)
	g := w.listen(t, "tcp", ":0")
	for range shards * each { // the fake deals them out evenly
		w.dial(t, "tcp", "198.18.0.1:"+port(g))
	}
	var order []int
	for range shards * each {
		order = append(order, accept(t, g).Shard())
	}
	for i := range len(order) - shards + 1 {
		seen := make(map[int]bool)
		for _, s := range order[i : i+shards] {
			seen[s] = true
		}
		if len(seen) != shards {
			t.Fatalf("shards were served in the order %v", order)
		}
	}
}

func TestGroupAddresses(t *testing.T) {
	inWorlds(t, 2, func(t *testing.T, w *world) {
		for _, tc := range []struct {
			network, address, host string
			dial, refuse           []string
		}{
			{"tcp", ":0", "[::]", []string{"198.18.0.1", "[2001:db8::1]"}, nil},
			{"tcp", "0.0.0.0:0", "[::]", []string{"198.18.0.1", "[2001:db8::1]"}, nil},
			{"tcp4", ":0", "0.0.0.0", []string{"198.18.0.1"}, []string{"[2001:db8::1]"}},
			{"tcp6", ":0", "[::]", []string{"[2001:db8::1]"}, []string{"198.18.0.1"}},
			{"tcp", "198.18.0.1:0", "198.18.0.1", []string{"198.18.0.1"}, []string{"[2001:db8::1]"}},
			{"tcp", "[2001:db8::1]:0", "[2001:db8::1]", []string{"[2001:db8::1]"}, []string{"198.18.0.1"}},
			{"tcp", "[::ffff:198.18.0.1]:0", "198.18.0.1", []string{"198.18.0.1"}, nil},
		} {
			t.Run(tc.network+" "+tc.address, func(t *testing.T) {
				g := w.listen(t, tc.network, tc.address)
				p := port(g)
				if got, want := g.Addr().String(), tc.host+":"+p; got != want || p == "0" {
					t.Errorf("Addr is %s, want %s", got, want)
				}
				if g.Listener(1).Addr() != g.Addr() {
					t.Error("a member's Addr differs from the group's")
				}
				for _, host := range tc.dial {
					c := w.dial(t, "tcp", host+":"+p)
					s := accept(t, g)
					if got := s.LocalAddr().String(); got != host+":"+p {
						t.Errorf("accepted connection is at %s, dialled %s", got, host+":"+p)
					}
					if got, want := s.RemoteAddr().String(), c.LocalAddr().String(); got != want {
						t.Errorf("accepted connection is from %s, dialled from %s", got, want)
					}
				}
				for _, host := range tc.refuse {
					if _, err := w.tryDial("tcp", host+":"+p); !errors.Is(err, syscall.ECONNREFUSED) {
						t.Errorf("dial %s: %v, want ECONNREFUSED", host, err)
					}
				}
			})
		}
	})
}

// TestListenAllOrNone takes the port on one shard only: Listen must fail and leave
// the others free, and port 0 must choose another.
func TestListenAllOrNone(t *testing.T) {
	inWorlds(t, 3, func(t *testing.T, w *world) {
		var lc ListenConfig
		free := w.listen(t, "tcp", ":0")
		taken := port(free)
		for i := range 3 {
			if i != 1 {
				free.Listener(i).Close()
			}
		}
		_, err := lc.listen(w.server, "tcp", ":"+taken)
		if !errors.Is(err, syscall.EADDRINUSE) {
			t.Fatalf("Listen on a port taken on shard 1: %v", err)
		}
		if _, err = lc.listenPacket(w.server, "udp", ":"+taken); err != nil {
			t.Errorf("ListenPacket on the same number: %v", err)
		}
		free.Close()
		w.listen(t, "tcp", ":"+taken)
	})
}

func TestListenPortZeroRetries(t *testing.T) {
	w := newFakeWorld(t, 3)
	// Shard 0 will choose 40001 first, which shard 2 has not free; then shard 1
	// chooses 41001, which shard 0 has not free.
	for shard, port := range map[int]uint16{2: 40001, 0: 41001} {
		sh := w.server.shard(shard).(*fakeShard)
		if _, err := sh.ListenTCP(addrPortOf("198.18.0.1", port), (&ListenConfig{}).options(false)); err != nil {
			t.Fatal(err)
		}
	}
	g := w.listen(t, "tcp", "198.18.0.1:0")
	if got := port(g); got != "42001" {
		t.Errorf("chose port %s", got)
	}
	for i := range 3 {
		n := 0
		for _, l := range w.server.shard(i).(*fakeShard).tcp {
			if l.local.Port() == 42001 {
				n++
			}
		}
		all := len(w.server.shard(i).(*fakeShard).tcp)
		if want := map[int]int{0: 2, 1: 1, 2: 2}[i]; n != 1 || all != want {
			t.Errorf("shard %d has %d listeners, %d of them on the port: a try left some behind", i, all, n)
		}
	}
}

func TestReusePort(t *testing.T) {
	inWorlds(t, 2, func(t *testing.T, w *world) {
		reuse := ListenConfig{ReusePort: true}
		a := w.listenConfig(t, reuse, "tcp", "198.18.0.1:0")
		b := w.listenConfig(t, reuse, "tcp", a.Addr().String())
		var lc ListenConfig
		if _, err := lc.listen(w.server, "tcp", a.Addr().String()); !errors.Is(err, syscall.EADDRINUSE) {
			t.Errorf("a third without ReusePort: %v, want EADDRINUSE", err)
		}
		var wg sync.WaitGroup
		var got [2]int
		for i, g := range []*Group{a, b} {
			wg.Go(func() {
				for {
					c, err := g.Accept()
					if err != nil {
						return
					}
					got[i]++
					c.Close()
				}
			})
		}
		const conns = 64
		for range conns {
			c := w.dial(t, "tcp", a.Addr().String())
			c.Read(make([]byte, 1)) // until it was accepted
			c.Close()
		}
		a.Close()
		b.Close()
		wg.Wait()
		if got[0] == 0 || got[1] == 0 || got[0]+got[1] != conns {
			t.Errorf("the groups accepted %v of %d connections", got, conns)
		}
	})
}

// TestListenerClose closes members one after the other under a waiting group.
func TestListenerClose(t *testing.T) {
	inWorlds(t, 2, func(t *testing.T, w *world) {
		g := w.listen(t, "tcp", "198.18.0.1:0")
		on := start(func() (int, error) { _, err := g.Accept(); return 0, err })
		of0 := start(func() (int, error) { _, err := g.Listener(0).Accept(); return 0, err })
		blocked(t, "socketapi.(*Group).Accept")
		blocked(t, "socketapi.(*Listener).Accept")
		if err := g.Listener(0).Close(); err != nil {
			t.Fatal(err)
		}
		if r := wait(t, of0); !errors.Is(r.err, net.ErrClosed) {
			t.Errorf("Accept of the closed member: %v", r.err)
		}
		if err := g.Listener(0).Close(); !errors.Is(err, net.ErrClosed) {
			t.Errorf("second Close of a member: %v", err)
		}
		// The group goes on with the other shard.
		served := false
		for range 64 {
			c, err := w.tryDial("tcp", g.Addr().String())
			if err != nil {
				if !errors.Is(err, syscall.ECONNREFUSED) {
					t.Fatal(err)
				}
				continue
			}
			c.Close()
			if r := wait(t, on); r.err != nil {
				t.Fatalf("Accept of the group: %v", r.err)
			}
			served = true
			break
		}
		if !served {
			t.Error("no connection reached the open member")
		}
		on = start(func() (int, error) {
			for {
				if _, err := g.Accept(); err != nil {
					return 0, err
				}
			}
		})
		blocked(t, "socketapi.(*Group).Accept")
		g.Listener(1).Close()
		if r := wait(t, on); !errors.Is(r.err, net.ErrClosed) {
			t.Errorf("Accept of a group without members: %v", r.err)
		}
		if err := g.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
		if err := g.Close(); !errors.Is(err, net.ErrClosed) {
			t.Errorf("second Close: %v", err)
		}
	})
}

func TestGroupCloseUnblocks(t *testing.T) {
	inWorlds(t, 2, func(t *testing.T, w *world) {
		g := w.listen(t, "tcp", ":0")
		var calls []<-chan result
		for range 2 {
			for _, l := range []net.Listener{g, g.Listener(0), g.Listener(1)} {
				calls = append(calls, start(func() (int, error) { _, err := l.Accept(); return 0, err }))
			}
		}
		blocked(t, "socketapi.(*Group).Accept")
		blocked(t, "socketapi.(*Listener).Accept")
		g.Close()
		for _, c := range calls {
			if r := wait(t, c); !errors.Is(r.err, net.ErrClosed) {
				t.Errorf("Accept: %v", r.err)
			}
		}
	})
}

func TestGroupDeadline(t *testing.T) {
	inWorlds(t, 2, func(t *testing.T, w *world) {
		g := w.listen(t, "tcp", "198.18.0.1:0")
		on := start(func() (int, error) { _, err := g.Accept(); return 0, err })
		of1 := start(func() (int, error) { _, err := g.Listener(1).Accept(); return 0, err })
		if err := g.SetDeadline(time.Now().Add(30 * time.Millisecond)); err != nil {
			t.Fatal(err)
		}
		for _, c := range []<-chan result{on, of1} {
			if r := wait(t, c); !errors.Is(r.err, os.ErrDeadlineExceeded) {
				t.Errorf("Accept: %v, want os.ErrDeadlineExceeded", r.err)
			}
		}
		// A member's own deadline leaves the group alone.
		g.SetDeadline(time.Time{})
		g.Listener(0).SetDeadline(time.Unix(1, 0))
		if _, err := g.Listener(0).Accept(); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("Accept of a member past its deadline: %v", err)
		}
		w.dial(t, "tcp", g.Addr().String())
		accept(t, g)
		g.Close()
		if err := g.SetDeadline(time.Time{}); !errors.Is(err, net.ErrClosed) {
			t.Errorf("SetDeadline after Close: %v", err)
		}
	})
}

// TestAcceptErrorIsNotTheEnd has a shard whose Accept fails once.
func TestAcceptErrorIsNotTheEnd(t *testing.T) {
	w := newFakeWorld(t, 2)
	g := w.listen(t, "tcp", "198.18.0.1:0")
	l := g.Listener(1).flow.(*fakeListener)
	l.err = syscall.ECONNABORTED
	_, err := g.Accept()
	if !errors.Is(err, syscall.ECONNABORTED) || !strings.Contains(err.Error(), "accept") {
		t.Errorf("Accept: %v, want ECONNABORTED", err)
	}
	w.dial(t, "tcp", g.Addr().String())
	accept(t, g)
}

func TestListenOptions(t *testing.T) {
	w := newFakeWorld(t, 2)
	lc := ListenConfig{Backlog: 7, ReadBuffer: 8, WriteBuffer: 9, KeepAlive: -1}
	g := w.listenConfig(t, lc, "tcp", "198.18.0.1:0")
	for i := range 2 {
		opt := g.Listener(i).flow.(*fakeListener).opt
		if opt.Backlog != 7 || opt.ReadBuffer != 8 || opt.WriteBuffer != 9 || opt.ReusePort || opt.V6Only {
			t.Errorf("shard %d listens with %+v", i, opt)
		}
	}
	w.dial(t, "tcp", g.Addr().String())
	if f := accept(t, g).flow.(*fakeFlow); len(f.set) != 0 {
		t.Errorf("options %v were set with KeepAlive off", f.set)
	}
	for name, lc := range map[string]ListenConfig{
		"default": {},
		"idle":    {KeepAlive: time.Minute},
		"config":  {KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: time.Minute, Interval: -1, Count: 3}},
	} {
		want := map[string]net.KeepAliveConfig{
			"default": {Enable: true, Idle: 15 * time.Second, Interval: 15 * time.Second, Count: 9},
			"idle":    {Enable: true, Idle: time.Minute, Interval: 15 * time.Second, Count: 9},
			"config":  {Enable: true, Idle: time.Minute, Count: 3}, // 0 is unchanged for a flow
		}[name]
		g := w.listenConfig(t, lc, "tcp", "198.18.0.1:0")
		w.dial(t, "tcp", g.Addr().String())
		if f := accept(t, g).flow.(*fakeFlow); f.keepAlive != want {
			t.Errorf("%s: probes are %+v, want %+v", name, f.keepAlive, want)
		}
	}
}
