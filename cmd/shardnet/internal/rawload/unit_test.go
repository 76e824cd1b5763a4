package rawload

import (
	"bytes"
	"net/netip"
	"reflect"
	"testing"
)

func TestKeys(t *testing.T) {
	for _, k := range []uint32{0, 1, 42, 1<<31 - 1, 1<<32 - 1} {
		for _, n := range []int{0, 1, 64, maxPayload} {
			key := appendKey(nil, k, n)
			if gk, gn, ok := parseKey(key); len(key) != keyLen || !ok || gk != k || gn != n {
				t.Errorf("key %q of %d, %d is read as %d, %d, %v", key, k, n, gk, gn, ok)
			}
			if got := appendValue(nil, k, n); len(got) > valueOverhead+n {
				t.Errorf("answer of %d bytes to %q exceeds its bound %d", len(got), key, valueOverhead+n)
			}
			if want := len(appendSet(nil, k, n)); memcachedAnswer(appendSet(nil, k, n), 1<<20) != len(stored) {
				t.Errorf("a set of %d bytes was not understood", want)
			}
		}
	}
	for _, bad := range []string{"", "00040-0000002", "00040:0000002a", "0004G-0000002a", "fffff-0000002a"} {
		if _, _, ok := parseKey([]byte(bad)); ok {
			t.Errorf("%q is read as a key", bad)
		}
	}
	if bytes.Equal(value(1, 64), value(2, 64)) {
		t.Error("two keys have one value")
	}
}

func TestChargen(t *testing.T) {
	b := make([]byte, 3*chargenPeriod)
	Chargen(b, 0)
	if got, want := string(b[:20]), " !\"#$%&'()*+,-./0123"; got != want {
		t.Errorf("the first line begins with %q, want %q", got, want)
	}
	if got, want := string(b[chargenLine-2:chargenLine+3]), "\r\n!\"#"; got != want {
		t.Errorf("the first line ends with %q, want %q", got, want)
	}
	for _, off := range []int{1, 73, chargenPeriod - 1, chargenPeriod + 5} {
		part := make([]byte, 200)
		if Chargen(part, uint64(off)); !bytes.Equal(part, b[off:off+200]) {
			t.Errorf("at %d: %q", off, part)
		}
	}
}

// TestPorts holds that a pair is given out again as late as can be.
func TestPorts(t *testing.T) {
	var p ports
	p.init(2, 12345)
	type pair struct {
		src  int
		port uint16
	}
	seen := make(map[pair]bool)
	for i := range p.size() {
		src, port, ok := p.take(i)
		if !ok || seen[pair{src, port}] || p.find(src, port) != i {
			t.Fatalf("pair %d: %d, %d, %v, seen %v, user %d", i, src, port, ok, seen[pair{src, port}], p.find(src, port))
		}
		if i%3 != 0 {
			p.give(src, port)
		}
		seen[pair{src, port}] = true
	}
	src, port, ok := p.take(7)
	if !ok || !seen[pair{src, port}] || p.free != p.size()-(p.size()+2)/3-1 {
		t.Errorf("after all: %d, %d, %v, %d free", src, port, ok, p.free)
	}
	for p.free > 0 {
		p.take(0)
	}
	if _, _, ok := p.take(0); ok {
		t.Error("a pair was given out twice")
	}
}

func TestSources(t *testing.T) {
	for _, f := range families {
		var s sources
		addrs := f.sources(1000)
		s.init(addrs)
		for i, a := range addrs {
			if got := s.find(a.AsSlice()); got != i {
				t.Errorf("%v is found at %d, not %d", a, got, i)
			}
		}
		if got := s.find(f.server.AsSlice()); got != -1 {
			t.Errorf("%v is found at %d", f.server, got)
		}
	}
}

// TestConnectionSize bounds what a connection costs: itself, its request, and its
// places in the lists.
func TestConnectionSize(t *testing.T) {
	lists := 3 * reflect.TypeFor[int32]().Size()
	if n := reflect.TypeFor[conn]().Size() + reflect.TypeFor[request]().Size() + lists; n > 100 {
		t.Errorf("an idle connection takes %d bytes, want at most 100", n)
	}
}

func TestBadConfig(t *testing.T) {
	client, _ := cable(t, 0)
	f := families[0]
	good := Config{Queue: client.Queue(0), Info: client.Info(), Sources: f.sources(2), Target: netip.AddrPortFrom(f.server, 7)}
	for name, bend := range map[string]func(*Config){
		"no queue":      func(c *Config) { c.Queue = nil },
		"no sources":    func(c *Config) { c.Sources = nil },
		"families":      func(c *Config) { c.Sources = families[1].sources(1) },
		"twice":         func(c *Config) { c.Sources = append(f.sources(1), f.source(1)) },
		"its target":    func(c *Config) { c.Sources = []netip.Addr{f.server} },
		"no target":     func(c *Config) { c.Target = netip.AddrPort{} },
		"no MAC":        func(c *Config) { c.Info.MAC = nil },
		"small MTU":     func(c *Config) { c.Info.MTU = 100 },
		"mapped":        func(c *Config) { c.Target = netip.MustParseAddrPort("[::ffff:198.18.0.2]:7") },
		"mapped source": func(c *Config) { c.Sources = []netip.Addr{netip.MustParseAddr("::ffff:198.18.0.3")} },
	} {
		cfg := good
		if bend(&cfg); true {
			if _, err := New(cfg); err == nil {
				t.Errorf("%s: no error", name)
			}
		}
	}
	g, err := New(good)
	if err != nil {
		t.Fatal(err)
	}
	for _, w := range []Work{
		{Kind: -1}, {Kind: 99}, {Conns: -1}, {Conns: 1 << 20}, {Payload: 7}, {Payload: 1473}, {Sets: 2}, {Zipf: 0.5},
		{Kind: TCPEcho, Payload: 1 << 20}, {Kind: MemcachedUDP, Value: 1400}, {Window: 1 << 20}, {Rate: -1},
		{Target: netip.AddrPortFrom(families[1].server, 7)},
	} {
		if _, err := w.withDefaults(g); err == nil {
			t.Errorf("%+v: no error", w)
		}
	}
	if err := g.Close(); err != nil {
		t.Error(err)
	}
	if _, err := g.Run(t.Context(), Work{}); err == nil {
		t.Error("a closed generator runs")
	}
}
