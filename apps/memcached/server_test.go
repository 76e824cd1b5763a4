package memcached

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"shardnet/test/apptest"
	"shardnet/test/testutil"
)

// pipes is a listener whose connections are net.Pipes: an unbuffered transport
// that is not the kernel's.
type pipes struct {
	ends   chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func newPipes() *pipes { return &pipes{ends: make(chan net.Conn), closed: make(chan struct{})} }

func (p *pipes) dial() net.Conn {
	ours, theirs := net.Pipe()
	p.ends <- theirs
	return ours
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.ends:
		return c, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error {
	p.once.Do(func() { close(p.closed) })
	return nil
}

func (p *pipes) Addr() net.Addr { return &net.UnixAddr{Name: "pipe", Net: "pipe"} }

// transports runs f with a connection of each kind to a fresh server.
func transports(t *testing.T, cfg *Config, f func(t *testing.T, srv *Server, c net.Conn)) {
	t.Run("pipe", func(t *testing.T) {
		srv := NewServer(newStore(t, nil), cfg)
		l := newPipes()
		ended := make(chan error, 1)
		go func() { ended <- srv.ServeTCP(l) }()
		c := l.dial()
		_ = c.SetDeadline(time.Now().Add(testutil.Patience))
		f(t, srv, c)
		c.Close()
		srv.Close()
		if err := <-ended; err != ErrServerClosed {
			t.Errorf("serving ended with %v", err)
		}
	})
	each(t, cfg, func(t *testing.T, srv *Server, rig *apptest.Rig) { f(t, srv, rig.Dial(t, "tcp")) })
}

// TestServerConversation sends one input after the other, and compares replies.
func TestServerConversation(t *testing.T) {
	big := strings.Repeat("b", 1_000_000)
	steps := []struct{ in, out string }{
		{"version\r\n", "VERSION test\r\n"},
		{"set k 5 0 3\r\nabc\r\n", "STORED\r\n"},
		{"get k\r\n", "VALUE k 5 3\r\nabc\r\nEND\r\n"},
		{"get k none k\r\n", "VALUE k 5 3\r\nabc\r\nVALUE k 5 3\r\nabc\r\nEND\r\n"},
		{"set quiet 0 0 2 noreply\r\n12\r\nincr quiet 30\r\n", "42\r\n"},
		{"add k 0 0 1\r\nx\r\nreplace none 0 0 1\r\nx\r\n", "NOT_STORED\r\nNOT_STORED\r\n"},
		{"set big 0 0 1000000\r\n" + big + "\r\n", "STORED\r\n"},
		{"get big\r\n", "VALUE big 0 1000000\r\n" + big + "\r\nEND\r\n"},
		{"set big 0 0 2000000\r\n" + big + big + "\r\nget big\r\n", "SERVER_ERROR object too large for cache\r\nEND\r\n"},
		{"set k 0 0 3\r\nabcde\r\n", "CLIENT_ERROR bad data chunk\r\nERROR\r\n"},
		{"bogus\r\n\r\n", "ERROR\r\nERROR\r\n"},
		{"delete k\r\ndelete k 0\r\n", "DELETED\r\nNOT_FOUND\r\n"},
		{"touch quiet 0\r\n", "TOUCHED\r\n"},
		{"gat 0 quiet\r\n", "VALUE quiet 0 2\r\n42\r\nEND\r\n"},
		{"flush_all\r\nget quiet\r\n", "OK\r\nEND\r\n"},
		{"verbosity 1\r\n", "OK\r\n"},
	}
	transports(t, &Config{Version: "test"}, func(t *testing.T, srv *Server, c net.Conn) {
		for _, step := range steps {
			go c.Write([]byte(step.in))
			got := make([]byte, len(step.out))
			if n, err := io.ReadFull(c, got); err != nil || string(got) != step.out {
				t.Fatalf("%.60q: got %.100q, %v, want %.100q", step.in, got[:n], err, step.out)
			}
		}
		go c.Write([]byte("quit\r\n"))
		if _, err := c.Read(make([]byte, 1)); err != io.EOF {
			t.Errorf("after quit: %v", err)
		}
	})
}

// writes counts the writes of a connection.
type writes struct {
	net.Conn
	mu    sync.Mutex
	sizes []int
}

func (w *writes) Write(p []byte) (int, error) {
	w.mu.Lock()
	w.sizes = append(w.sizes, len(p))
	w.mu.Unlock()
	return w.Conn.Write(p)
}

// TestServerGathersReplies: the replies to all commands of one read leave in one
// write; what is long leaves in parts.
func TestServerGathersReplies(t *testing.T) {
	srv := NewServer(newStore(t, nil), nil)
	l := newPipes()
	go srv.ServeTCP(l)
	defer srv.Close()
	ours, theirs := net.Pipe()
	counted := &writes{Conn: theirs}
	l.ends <- counted
	defer ours.Close()
	_ = ours.SetDeadline(time.Now().Add(testutil.Patience))
	in := strings.Repeat("get none\r\n", 100) + "version\r\n"
	go ours.Write([]byte(in))
	want := strings.Repeat("END\r\n", 100) + "VERSION " + DefaultVersion + "\r\n"
	got := make([]byte, len(want))
	if _, err := io.ReadFull(ours, got); err != nil || string(got) != want {
		t.Fatalf("%q, %v", got, err)
	}
	counted.mu.Lock()
	if len(counted.sizes) != 1 {
		t.Errorf("writes of %v bytes for one read", counted.sizes)
	}
	counted.sizes = nil
	counted.mu.Unlock()

	value := strings.Repeat("v", 10000)
	go ours.Write([]byte("set k 0 0 10000 noreply\r\n" + value + "\r\n" + strings.Repeat("get k\r\n", 100)))
	got = make([]byte, 100*len("VALUE k 0 10000\r\n"+value+"\r\nEND\r\n"))
	if _, err := io.ReadFull(ours, got); err != nil {
		t.Fatal(err)
	}
	counted.mu.Lock()
	defer counted.mu.Unlock()
	for _, n := range counted.sizes {
		if n > replyRoom+11000 {
			t.Errorf("%d bytes in one write", n)
		}
	}
	if len(counted.sizes) > 20 {
		t.Errorf("%d writes for 1 MB", len(counted.sizes))
	}
}

func TestServerHalfClose(t *testing.T) {
	each(t, nil, func(t *testing.T, srv *Server, rig *apptest.Rig) {
		c := rig.Dial(t, "tcp")
		if _, err := c.Write([]byte("set k 0 0 1\r\nv\r\nget k\r\nget unfini")); err != nil {
			t.Fatal(err)
		}
		_ = c.(apptest.CloseWriter).CloseWrite()
		if got, err := io.ReadAll(c); err != nil || string(got) != "STORED\r\nVALUE k 0 1\r\nv\r\nEND\r\n" {
			t.Errorf("got %q, %v", got, err)
		}
		if !testutil.Poll(func() bool { s := srv.tally.Sum(); return s.Opened == uint64(rig.PacketConns)+1 && s.Closed == 1 }) {
			t.Errorf("%+v", srv.tally.Sum())
		}
	})
}

func TestServerMaxConnections(t *testing.T) {
	each(t, &Config{MaxConnections: 2}, func(t *testing.T, srv *Server, rig *apptest.Rig) {
		one, two := rig.Dial(t, "tcp"), rig.Dial(t, "tcp")
		for _, c := range []net.Conn{one, two} {
			fmt.Fprint(c, "version\r\n")
			if line, err := bufio.NewReader(c).ReadString('\n'); err != nil {
				t.Fatalf("%q, %v", line, err)
			}
		}
		if got, err := io.ReadAll(rig.Dial(t, "tcp")); err != nil || string(got) != errTooMany {
			t.Errorf("third connection: %q, %v", got, err)
		}
		one.Close()
		if !testutil.Poll(func() bool { return srv.open.Load() == 1 }) {
			t.Fatal("a closed connection counts")
		}
		c := rig.Dial(t, "tcp")
		fmt.Fprint(c, "version\r\n")
		if line, err := bufio.NewReader(c).ReadString('\n'); err != nil || !strings.HasPrefix(line, "VERSION") {
			t.Errorf("after one has left: %q, %v", line, err)
		}
		if got := srv.tally.Sum().Rejected; got != 1 {
			t.Errorf("%d rejected", got)
		}
	})
}

// TestServerShutdown: commands that were read are answered, and idle connections
// do not hold it up.
func TestServerShutdown(t *testing.T) {
	each(t, nil, func(t *testing.T, srv *Server, rig *apptest.Rig) {
		idle, busy, half := rig.Dial(t, "tcp"), rig.Dial(t, "tcp"), rig.Dial(t, "tcp")
		fmt.Fprint(busy, "version\r\n")
		fmt.Fprint(half, "set k 0 0 100000\r\n"+strings.Repeat("x", 50000))
		if !testutil.Poll(func() bool {
			s := srv.tally.Sum()
			return s.Opened == uint64(rig.PacketConns)+3 && s.Requests == 2 && s.BytesIn == 9+18+50000
		}) {
			t.Fatalf("%+v", srv.tally.Sum())
		}
		ctx, cancel := context.WithTimeout(context.Background(), testutil.Patience)
		defer cancel()
		if err := rig.Shutdown(ctx); err != nil {
			t.Fatal(err)
		}
		for name, test := range map[string]struct {
			c    net.Conn
			want string
		}{"idle": {idle, ""}, "busy": {busy, "VERSION " + DefaultVersion + "\r\n"}, "half": {half, ""}} {
			if got, err := io.ReadAll(test.c); err != nil || string(got) != test.want {
				t.Errorf("%s: %q, %v", name, got, err)
			}
		}
		if s := srv.store.Stats(); s.Bytes != 0 {
			t.Errorf("%d bytes are held by nobody", s.Bytes)
		}
	})
}

func TestServerStats(t *testing.T) {
	_, rig := start(t, newStore(t, &StoreConfig{Shards: 1}), &Config{MaxConnections: 77})
	a := newAsker(rig.Dial(t, "tcp"))
	ask := func(request string) map[string]string {
		t.Helper()
		reply, err := a.ask([]byte(request))
		if err != nil {
			t.Fatal(err)
		}
		got := map[string]string{}
		for line := range strings.SplitSeq(strings.TrimSuffix(reply, "END\r\n"), "\r\n") {
			if f := strings.Fields(line); len(f) == 3 && f[0] == "STAT" {
				got[f[1]] = f[2]
			} else if line != "" {
				t.Errorf("%q: line %q", request, line)
			}
		}
		return got
	}
	for _, request := range []string{
		"set a 0 0 1\r\n1\r\n", "set b 0 0 1\r\nb\r\n", "get a b none\r\n", "incr a 1\r\n", "incr none 1\r\n", "decr a 1\r\n", "decr none 1\r\n",
		"touch a 0\r\n", "touch none 0\r\n", "delete b\r\n", "delete b\r\n", "cas a 0 0 1 9999\r\nx\r\n", "cas none 0 0 1 1\r\nx\r\n",
		"set big 0 0 9999999\r\n" + strings.Repeat("x", 9999999) + "\r\n", "set old 0 -1 1\r\nx\r\n", "get old\r\n", "flush_all 1000\r\n",
	} {
		if _, err := a.ask([]byte(request)); err != nil {
			t.Fatal(err)
		}
	}
	got := ask("stats\r\n")
	for name, want := range map[string]string{
		"curr_items": "1", "total_items": "3", "cmd_get": "4", "get_hits": "2", "get_misses": "2", "get_expired": "1", "cmd_set": "5",
		"incr_hits": "1", "incr_misses": "1", "decr_hits": "1", "decr_misses": "1", "touch_hits": "1", "touch_misses": "1", "cmd_touch": "2",
		"delete_hits": "1", "delete_misses": "1", "cas_misses": "1", "cas_badval": "1", "cas_hits": "0", "store_too_large": "1",
		"cmd_flush": "1", "evictions": "0", "curr_connections": fmt.Sprint(rig.PacketConns + 1), "max_connections": "77", "bytes": "64", "limit_maxbytes": "67108864",
		"version": DefaultVersion,
	} {
		if got[name] != want {
			t.Errorf("%s is %q, want %s", name, got[name], want)
		}
	}
	if got := ask("stats items\r\n"); got["items:1:number"] != "1" {
		t.Errorf("items: %v", got)
	}
	if got := ask("stats slabs\r\n"); got["1:used_chunks"] != "2" || got["total_malloced"] != "262144" {
		t.Errorf("slabs: %v", got)
	}
	if got := ask("stats settings\r\n"); got["maxconns"] != "77" || got["item_size_max"] != "1048576" || got["evictions"] != "on" {
		t.Errorf("settings: %v", got)
	}
	if reply, err := a.ask([]byte("stats reset\r\n")); err != nil || reply != "RESET\r\n" {
		t.Errorf("%q, %v", reply, err)
	}
	if got := ask("stats\r\n"); got["cmd_get"] != "0" || got["cmd_flush"] != "0" || got["curr_items"] != "1" {
		t.Errorf("after reset: %v", got)
	}
}

// TestBuffersShrink: a long reply does not stay with a connection that asks for
// short ones from then on.
func TestBuffersShrink(t *testing.T) {
	st := newStore(t, nil)
	s := newSession(t, st)
	say(t, s, "set big 0 0 1000000\r\n"+strings.Repeat("b", 1_000_000)+"\r\n")
	ours, theirs := net.Pipe()
	go io.Copy(io.Discard, theirs)
	defer ours.Close()
	b := NewServer(st, nil).buffers.New().(*buffers)
	answer := func(in string) {
		if have, ok := b.answer(s, ours, copy(b.in, in)); have != 0 || !ok {
			t.Fatalf("%q: %d left, %v", in, have, ok)
		}
	}
	answer("get big\r\n")
	big := cap(b.out)
	for range idleReplies {
		answer("get big\r\n")
		answer("version\r\n")
	}
	if cap(b.out) != big {
		t.Errorf("capacity went from %d to %d while it was used", big, cap(b.out))
	}
	for range idleReplies {
		answer("version\r\n")
	}
	if cap(b.out) != minBuffer {
		t.Errorf("capacity stays at %d", cap(b.out))
	}
}
