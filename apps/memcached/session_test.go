package memcached

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"
)

// fakeClock is a clock that tests set.
type fakeClock struct{ time.Time }

func newFakeClock() *fakeClock { return &fakeClock{time.Unix(1_700_000_000, 0)} }

func (c *fakeClock) now() time.Time          { return c.Time }
func (c *fakeClock) advance(d time.Duration) { c.Time = c.Add(d) }
func (c *fakeClock) config() *StoreConfig    { return &StoreConfig{Now: c.now, Shards: 1} }
func newSession(t testing.TB, st *Store) *Session {
	s := NewServer(st, nil).NewSession()
	t.Cleanup(s.Close)
	return s
}

// say gives in to the session, which must consume all of it, and returns the
// replies.
func say(t testing.TB, s *Session, in string) string {
	t.Helper()
	out, rest, done := converse(s, []byte(in))
	if rest != 0 && !done {
		t.Errorf("%.100q: %d bytes not consumed", in, rest)
	}
	return string(out)
}

// converse calls Process as its contract says, as long as there is progress.
func converse(s *Session, in []byte) (out []byte, rest int, done bool) {
	for {
		before := len(out)
		var n int
		n, out, done = s.Process(in, out)
		in = in[n:]
		if done || len(out) == before {
			return out, len(in), done
		}
	}
}

// converseInPieces gives in cut at cuts, each piece in memory that is spoilt
// afterwards, with what was left over in front.
func converseInPieces(s *Session, in []byte, cuts func(left int) int) (out []byte, rest int, done bool) {
	var kept []byte
	for len(in) > 0 && !done {
		n := cuts(len(in))
		piece := append(bytes.Clone(kept), in[:n]...)
		in = in[n:]
		var more []byte
		more, rest, done = converse(s, piece)
		out = append(out, more...)
		kept = bytes.Clone(piece[len(piece)-rest:])
		for i := range piece {
			piece[i] = '#'
		}
	}
	return out, rest, done
}

// checkSplit compares the replies to in as a whole with those to its pieces.
func checkSplit(t *testing.T, in []byte, cuts func(left int) int) {
	t.Helper()
	// Statistics count reads, and so on.
	in = bytes.ReplaceAll(in, []byte("stats"), []byte("state"))
	run := func(f func(*Session) ([]byte, int, bool)) (string, int, bool) {
		cfg := newFakeClock().config()
		cfg.MemoryLimit, cfg.MaxItemSize = 4<<20, 256<<10
		st, err := NewStore(cfg)
		if err != nil {
			t.Fatal(err)
		}
		s := NewServer(st, nil).NewSession()
		out, rest, done := f(s)
		if rest > maxLine && !done {
			t.Errorf("%d bytes were left over", rest)
		}
		s.Close()
		checkStore(t, st)
		return string(out), rest, done
	}
	whole, rest1, done1 := run(func(s *Session) ([]byte, int, bool) { return converse(s, in) })
	pieces, rest2, done2 := run(func(s *Session) ([]byte, int, bool) { return converseInPieces(s, in, cuts) })
	if whole != pieces || done1 != done2 || !done1 && rest1 != rest2 {
		t.Errorf("%.2000q:\nwhole  %.2000q, rest %d, done %v\npieces %.2000q, rest %d, done %v", in, whole, rest1, done1, pieces, rest2, done2)
	}
}

func FuzzSessionSplit(f *testing.F) {
	for i, request := range referenceScript() {
		if len(request) < 5000 {
			f.Add([]byte("set a 0 0 3\r\nabc\r\n"+request+"get a\r\n"), uint64(i))
		}
	}
	g := &generator{rand.New(rand.NewPCG(7, 7))}
	for seed := range uint64(10) {
		var in string
		for range 20 {
			if r := g.request(); len(r) < 1000 {
				in += r
			}
		}
		f.Add([]byte(in), seed)
	}
	f.Fuzz(func(t *testing.T, in []byte, seed uint64) {
		rng := rand.New(rand.NewPCG(seed, 0))
		most := 1 + rng.IntN(50)
		checkSplit(t, in, func(left int) int { return 1 + rng.IntN(min(left, most)) })
	})
}

func TestSessionSplitBytewise(t *testing.T) {
	var in strings.Builder
	for _, request := range referenceScript() {
		if len(request) < 10000 && !strings.Contains(request, "HTTP") && !strings.HasPrefix(request, "quit") {
			in.WriteString(request)
		}
	}
	checkSplit(t, []byte(in.String()), func(int) int { return 1 })
}

func TestSessionSplitLarge(t *testing.T) {
	var in strings.Builder
	for _, n := range []int{0, 1, 1000, 16 << 10, 100 << 10, 255 << 10, 300 << 10} {
		for _, cmd := range []string{"set", "add", "append", "prepend", "replace"} {
			fmt.Fprintf(&in, "%s large 3 0 %d\r\n%s\r\ngets large\r\n", cmd, n, strings.Repeat(string(rune('a'+n%26)), n))
		}
	}
	in.WriteString("get" + strings.Repeat(" large none", 2000) + "\r\n")
	for _, size := range []int{1, 7, 1400, 16 << 10, 100 << 10} {
		t.Run(fmt.Sprintf("pieces=%d", size), func(t *testing.T) {
			if size == 1 && testing.Short() {
				size = 3
			}
			checkSplit(t, []byte(in.String()), func(left int) int { return min(left, size) })
		})
	}
}

// TestSessionLongGet: a get may be of any length, and is answered while it
// comes, with bounded output at a time.
func TestSessionLongGet(t *testing.T) {
	st := newStore(t, nil)
	s := newSession(t, st)
	say(t, s, "set k 0 0 10000\r\n"+strings.Repeat("v", 10000)+"\r\n")
	const keys = 100000
	in := []byte("get " + strings.Repeat("k ", keys) + "\r\n")
	values, buf := 0, []byte(nil)
	for len(in) > 0 {
		n, out, done := s.Process(in, buf[:0])
		if done || n == 0 {
			t.Fatalf("stuck with %d bytes to go", len(in))
		}
		if len(out) > replyRoom+11000 {
			t.Fatalf("%d bytes of output at once", len(out))
		}
		values += bytes.Count(out, []byte("VALUE k 0 10000\r\n"))
		in, buf = in[n:], out
	}
	if values != keys || !bytes.HasSuffix(buf, []byte("END\r\n")) {
		t.Errorf("%d values for %d keys", values, keys)
	}
}

// TestSessionLines: what C memcached decides by how much a read brought, and
// what it does not check, decided here by length.
func TestSessionLines(t *testing.T) {
	long := strings.Repeat("x", maxLine)
	keys := strings.Repeat("k ", 2000)
	for _, test := range []struct {
		name, in, out string
		done          bool
	}{
		{"longest line", long + "\n", "ERROR\r\n", false},
		{"too long a line", long + "x\r\n", "CLIENT_ERROR line too long\r\n", true},
		{"too long a line without an end", long + "x", "CLIENT_ERROR line too long\r\n", true},
		{"spaces without end", strings.Repeat(" ", 5000), "CLIENT_ERROR line too long\r\n", true},
		{"long get", "get " + keys + "\r\nversion\r\n", "END\r\nVERSION " + DefaultVersion + "\r\n", false},
		{"long get, long key", "get " + keys + strings.Repeat("l", 251) + " k\r\nversion\r\n",
			errFormat + "VERSION " + DefaultVersion + "\r\n", false},
		{"long gat", "gat 0 " + keys + "\nversion\r\n", "END\r\nVERSION " + DefaultVersion + "\r\n", false},
		{"long gat, bad time", "gat x " + keys + "\nversion\r\n", errExptime + "VERSION " + DefaultVersion + "\r\n", false},
		{"long gat, endless time", "gat " + strings.Repeat("1", 5000) + " k\nversion\r\n", errExptime + "VERSION " + DefaultVersion + "\r\n", false},
		{"zero byte in a long get", "get " + keys + "\x00" + keys + "\nversion\r\n", "END\r\nVERSION " + DefaultVersion + "\r\n", false},
		{"binary protocol", "\x80\x0b\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00", "", true},
		{"binary magic later", "get k\r\n\x80\x0b\r\n", "END\r\nERROR\r\n", false},
		{"commands after quit", "quit\r\nversion\r\n", "", true},
	} {
		t.Run(test.name, func(t *testing.T) {
			st := newStore(t, nil)
			s := newSession(t, st)
			out, _, done := converse(s, []byte(test.in))
			if string(out) != test.out || done != test.done {
				t.Errorf("got %q, done %v", out, done)
			}
			checkSplit(t, []byte(test.in), func(int) int { return 1 })
		})
	}
}

func TestSessionExpiry(t *testing.T) {
	clock := newFakeClock()
	st := newStore(t, clock.config())
	s := newSession(t, st)
	unix := clock.Unix()
	expect := func(in, want string) {
		t.Helper()
		if got := say(t, s, in); got != want {
			t.Errorf("%q: got %q, want %q", in, got, want)
		}
	}
	hit := func(key string) { t.Helper(); expect("get "+key+"\r\n", "VALUE "+key+" 0 1\r\nv\r\nEND\r\n") }
	miss := func(key string) { t.Helper(); expect("get "+key+"\r\n", "END\r\n") }
	set := func(key string, exptime int64) {
		t.Helper()
		expect(fmt.Sprintf("set %s 0 %d 1\r\nv\r\n", key, exptime), "STORED\r\n")
	}
	set("never", 0)
	set("ten", 10)
	set("negative", -1)
	set("month", 60*60*24*30)
	set("unix", unix+100)
	set("past", unix-100)
	set("epoch", 60*60*24*30+1)
	set("touched", 10)
	set("got", 10)
	miss("negative")
	miss("past")
	miss("epoch")
	clock.advance(9 * time.Second)
	hit("ten")
	expect("touch touched 10\r\n", "TOUCHED\r\n")
	expect("gat 10 got\r\n", "VALUE got 0 1\r\nv\r\nEND\r\n")
	expect("mg ten t v\r\n", "VA 1 t1\r\nv\r\n")
	clock.advance(time.Second)
	miss("ten")
	expect("add ten 0 0 1\r\nv\r\n", "STORED\r\n")
	hit("touched")
	hit("got")
	clock.advance(9 * time.Second)
	miss("touched")
	miss("got")
	expect("incr got 1\r\n", "NOT_FOUND\r\n")
	clock.advance(80 * time.Second)
	hit("unix")
	clock.advance(time.Second)
	miss("unix")
	clock.advance(60*60*24*30*time.Second - 101*time.Second)
	hit("month")
	clock.advance(time.Second)
	miss("month")
	hit("never")
	hit("ten")
	clock.Time = time.Unix(unix-1000, 0)
	hit("never")
}

func TestSessionFlush(t *testing.T) {
	clock := newFakeClock()
	st := newStore(t, clock.config())
	s := newSession(t, st)
	expect := func(in, want string) {
		t.Helper()
		if got := say(t, s, in); got != want {
			t.Errorf("%q: got %q, want %q", in, got, want)
		}
	}
	const hit, miss = "VALUE k 0 1\r\nv\r\nEND\r\n", "END\r\n"
	expect("set k 0 0 1\r\nv\r\nflush_all\r\nget k\r\n", "STORED\r\nOK\r\n"+miss)
	expect("set k 0 0 1\r\nv\r\nget k\r\n", "STORED\r\n"+hit)
	expect("flush_all 10\r\nget k\r\n", "OK\r\n"+hit)
	clock.advance(9 * time.Second)
	expect("get k\r\n", hit)
	expect("set k 0 0 1\r\nv\r\nget k\r\n", "STORED\r\n"+hit)
	clock.advance(time.Second)
	expect("get k\r\n", miss)
	expect("set k 0 0 1\r\nv\r\nget k\r\n", "STORED\r\n"+hit)
	clock.advance(time.Hour)
	expect("get k\r\n", hit)
	// The first operation after the time may come late, and may be a set.
	expect("set old 0 0 1\r\nv\r\nflush_all 10\r\n", "STORED\r\nOK\r\n")
	clock.advance(time.Hour)
	expect("set k 0 0 1\r\nv\r\nget k old\r\n", "STORED\r\n"+hit)
	// An immediate flush forgets a delayed one.
	expect("flush_all 10\r\nflush_all\r\nset k 0 0 1\r\nv\r\n", "OK\r\nOK\r\nSTORED\r\n")
	clock.advance(time.Hour)
	expect("get k\r\n", hit)
	if st := st.Stats(); st.GetFlushed != 5 {
		t.Errorf("flushed items were met %d times, want 5", st.GetFlushed)
	}
}

// TestSessionNoreply: no command that may be told noreply replies to it.
func TestSessionNoreply(t *testing.T) {
	st := newStore(t, nil)
	s := newSession(t, st)
	for _, in := range []string{
		"set k 0 0 1 noreply\r\n1\r\n", "add k 0 0 1 noreply\r\n1\r\n", "replace k 0 0 1 noreply\r\n1\r\n",
		"append k 0 0 1 noreply\r\n1\r\n", "prepend k 0 0 1 noreply\r\n1\r\n", "cas k 0 0 1 1 noreply\r\n1\r\n",
		"cas k 0 0 1 x noreply\r\n", "set k 0 0 9999999 noreply\r\n" + strings.Repeat("x", 9999999) + "\r\n",
		"set k 0 0 1 noreply\r\n123", "set k x 0 1 noreply\r\n",
		"incr k 1 noreply\r\n", "decr k 1 noreply\r\n", "incr none 1 noreply\r\n", "incr k x noreply\r\n",
		"touch k 0 noreply\r\n", "touch k x noreply\r\n", "delete k noreply\r\n", "delete k 0 noreply\r\n", "delete k 1 noreply\r\n",
		"flush_all noreply\r\n", "flush_all 1 noreply\r\n", "verbosity 1 noreply\r\n", "cache_memlimit 64 noreply\r\n",
		"mg none q\r\n", "ms k 1 q\r\n1\r\n", "ma k q\r\n", "md k q\r\n",
	} {
		if out := say(t, s, in); out != "" {
			t.Errorf("%.100q: %q", in, out)
		}
	}
	if got := say(t, s, "version\r\n"); got != "VERSION "+DefaultVersion+"\r\n" {
		t.Errorf("then: %q", got)
	}
}

// TestSessionClose: whatever a session is in the middle of, closing it gives
// back what it holds. newStore's cleanup looks for leaks.
func TestSessionClose(t *testing.T) {
	st := newStore(t, nil)
	srv := NewServer(st, nil)
	for _, in := range []string{"", "ge", "get a", "set k 0 0 100000\r\n", "set k 0 0 100000\r\nhalf", "set k 0 0 3\r\nabc\r", "set k 0 0 9999999\r\nx", "get " + strings.Repeat("k ", 3000)} {
		s := srv.NewSession()
		converse(s, []byte(in))
		s.Close()
	}
	if got := st.Stats(); got.Items != 0 || got.Bytes != 0 {
		t.Errorf("%d items, %d bytes remain", got.Items, got.Bytes)
	}
	if sum := srv.tally.Sum(); sum.Opened != 8 || sum.Closed != 8 {
		t.Errorf("%+v", sum)
	}
}

// TestReservationsCountAndYield: values that are arriving hold memory within the
// limit; when they hold all of it there is an error, and no eviction of them.
func TestReservationsCountAndYield(t *testing.T) {
	st := newStore(t, &StoreConfig{Shards: 1, MemoryLimit: 8 << 20})
	srv := NewServer(st, nil)
	var held []*Session
	refused := 0
	for i := range 20 {
		s := srv.NewSession()
		held = append(held, s)
		out, _, _ := converse(s, fmt.Appendf(nil, "set k%d 0 0 1000000\r\n%s", i, strings.Repeat("x", 999_999)))
		switch string(out) {
		case "":
		case "SERVER_ERROR out of memory storing object\r\n":
			refused++
		default:
			t.Fatalf("got %q", out)
		}
	}
	if refused < 12 || refused > 14 {
		t.Errorf("%d of 20 values of 1 MB refused with 8 MiB", refused)
	}
	if got := st.Stats(); got.Bytes > 8<<20 || got.Allocated > 8<<20 || got.StoreNoMemory != uint64(refused) {
		t.Errorf("%+v", got)
	}
	for i, s := range held {
		if i < 20-refused {
			if out, _, _ := converse(s, []byte("x\r\n")); string(out) != "STORED\r\n" {
				t.Errorf("session %d: %q", i, out)
			}
		}
		s.Close()
	}
}

// TestLargeSetInPiecesIsLinear: each piece of a value is consumed when it comes,
// so none is looked at twice.
func TestLargeSetInPiecesIsLinear(t *testing.T) {
	st := newStore(t, &StoreConfig{MemoryLimit: 256 << 20, MaxItemSize: 64 << 20, Shards: 1})
	s := newSession(t, st)
	const size, piece = 50 << 20, 1400
	if n, _, _ := s.Process(fmt.Appendf(nil, "set k 0 0 %d\r\n", size), nil); n != len("set k 0 0 52428800\r\n") {
		t.Fatalf("consumed %d bytes of the line", n)
	}
	in := bytes.Repeat([]byte("p"), piece)
	left := size
	for left >= piece {
		if n, _, _ := s.Process(in, nil); n != piece {
			t.Fatalf("consumed %d of %d bytes", n, piece)
		}
		left -= piece
	}
	if got := say(t, s, strings.Repeat("p", left)+"\r\n"); got != "STORED\r\n" {
		t.Fatal(got)
	}
	if value, _, ok := st.Get(nil, []byte("k")); !ok || len(value) != size {
		t.Errorf("%d bytes came back", len(value))
	}
}
