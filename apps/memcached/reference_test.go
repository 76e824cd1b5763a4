package memcached

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"shardnet/test/apptest"
	"shardnet/test/testutil"
)

// needTool returns the path of a program that apt's package has. As root, where
// the tests are to be complete, not having it is a failure.
func needTool(t *testing.T, tool, pkg string) string {
	t.Helper()
	path, err := exec.LookPath(tool)
	if err == nil {
		return path
	}
	if os.Geteuid() == 0 {
		t.Fatalf("%s is not installed (package %s)", tool, pkg)
	}
	t.Skipf("%s is not installed (package %s)", tool, pkg)
	return ""
}

// startReference starts C memcached on loopback and returns its address, and
// the version it says it has.
func startReference(t *testing.T, args ...string) (addr, version string) {
	t.Helper()
	path := needTool(t, "memcached", "memcached")
	for range 5 {
		// Another process may take the port between these two steps.
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		addr = l.Addr().String()
		l.Close()
		_, port, _ := net.SplitHostPort(addr)
		args = append([]string{"-l", "127.0.0.1", "-p", port, "-t", "1"}, args...)
		if os.Geteuid() == 0 {
			args = append(args, "-u", "root")
		}
		var stderr bytes.Buffer
		cmd := exec.Command(path, args...)
		cmd.Stderr = &stderr
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		ended := make(chan struct{})
		go func() {
			_ = cmd.Wait()
			close(ended)
		}()
		t.Cleanup(func() {
			_ = cmd.Process.Kill()
			<-ended
		})
		testutil.Poll(func() bool {
			select {
			case <-ended:
				return true
			default:
			}
			c, err := net.Dial("tcp", addr)
			if err != nil {
				return false
			}
			defer c.Close()
			fmt.Fprint(c, "version\r\n")
			line, _ := bufio.NewReader(c).ReadString('\n')
			version = strings.TrimSuffix(strings.TrimPrefix(line, "VERSION "), "\r\n")
			return version != ""
		})
		if version != "" {
			return addr, version
		}
		t.Logf("memcached on %s: %s", addr, stderr.String())
	}
	t.Fatal("memcached does not start")
	return "", ""
}

// asker sends one request at a time and reads its whole reply.
type asker struct {
	c net.Conn
	r *bufio.Reader
}

func newAsker(c net.Conn) *asker { return &asker{c, bufio.NewReader(c)} }

// ask sends request, and a meta no-op behind it to know where the reply ends. If
// the connection ends, so does the reply, with EOF.
func (a *asker) ask(request []byte) (string, error) {
	_ = a.c.SetDeadline(time.Now().Add(testutil.Patience))
	if _, err := a.c.Write(append(request[:len(request):len(request)], "mn\r\n"...)); err != nil {
		return "", err
	}
	var reply strings.Builder
	for {
		line, err := a.r.ReadString('\n')
		if line == "MN\r\n" {
			return reply.String(), nil
		}
		reply.WriteString(line)
		if err == io.EOF {
			return reply.String() + "<EOF>", nil
		}
		if err != nil {
			return reply.String(), err
		}
	}
}

// pair is this server and memcached, fresh, told the same.
type pair struct {
	t            *testing.T
	rig          *apptest.Rig
	reference    string // address
	ours, theirs *asker
}

// eachPair runs f as a subtest for each API of ours.
func eachPair(t *testing.T, f func(p *pair)) {
	apptest.Each(t, func(t *testing.T, api apptest.API) { f(newPair(t, api)) })
}

func newPair(t *testing.T, api apptest.API) *pair {
	// Its LRU threads hold references to items for moments, and incr behaves
	// otherwise then.
	addr, version := startReference(t, "-o", "no_lru_maintainer,no_lru_crawler")
	// With one shard CAS uniques are counted as memcached counts them.
	store := newStore(t, &StoreConfig{Shards: 1})
	rig := api.Serve(t, NewServer(store, &Config{Version: version}), ErrServerClosed)
	p := &pair{t: t, rig: rig, reference: addr}
	p.dial()
	return p
}

func (p *pair) dial() {
	c, err := net.Dial("tcp", p.reference)
	if err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(func() { c.Close() })
	p.ours, p.theirs = newAsker(p.rig.Dial(p.t, "tcp")), newAsker(c)
}

// compare asks both and reports whether they agree.
func (p *pair) compare(request string) bool {
	p.t.Helper()
	ours, err := p.ours.ask([]byte(request))
	if err != nil {
		p.t.Errorf("%.100q: ours: %q, %v", request, ours, err)
		return false
	}
	theirs, err := p.theirs.ask([]byte(request))
	if err != nil {
		p.t.Errorf("%.100q: memcached: %q, %v", request, theirs, err)
		return false
	}
	if ours != theirs {
		p.t.Errorf("%.200q:\n     ours %.300q\nmemcached %.300q", request, ours, theirs)
		return false
	}
	if strings.HasSuffix(ours, "<EOF>") {
		p.dial()
	}
	return true
}

// TestReferenceScript compares replies to a script that visits the corners of
// the protocol, byte for byte.
func TestReferenceScript(t *testing.T) {
	eachPair(t, func(p *pair) {
		for _, request := range referenceScript() {
			p.compare(request)
		}
	})
}

func referenceScript() []string {
	long := strings.Repeat("k", 250)
	value := func(cmd string, n int, tail string) string {
		return fmt.Sprintf("%s %d%s\r\n%s\r\n", cmd, n, tail, strings.Repeat("v", n))
	}
	now := time.Now().Unix()
	return []string{
		"get none\r\n", "gets none\r\n", "get a b c\r\n", "get\r\n", "get \r\n", "gets\r\n", "bget a\r\n", "bget\r\n",
		value("set a 0 0", 3, ""), "get a\r\n", "gets a\r\n", "get a a b a\r\n", "  get   a   b  \r\n", "get a\n",
		value("set a 4294967295 0", 0, ""), "get a\r\n", value("set a 4294967296 0", 1, ""), "get a\r\n",
		value("set a -1 0", 1, ""), value("set a +7 0", 1, ""), "get a\r\n", value("set a 1x 0", 1, ""),
		value("set a 18446744073709551616 0", 1, ""), value("set a -18446744073709551615 0", 1, ""), "get a\r\n",
		"set a 0 0 -1\r\n", "set a 0 0 x\r\n", "set a 0 0\r\n", "set a 0\r\n", "set a\r\n", "set\r\n",
		"set a 0 0 2147483646\r\n", "set a 0 0 2147483647\r\n", "set a 0 0 4294967298\r\nhi\r\n", "get a\r\n",
		"set a 0 0 3 noreply\r\nabc\r\n", "get a\r\n", "set a 0 0 3 noreplx\r\nabd\r\n", "get a\r\n",
		"set a 0 0 3 1 2\r\n", "set a 0 0 noreply\r\n", "set noreply 0 0 1\r\nz\r\n", "get noreply\r\n",
		"set a 0 0 3\r\nabcd\r\n", "set a 0 0 3\r\nabcdef\r\n", "get a\r\n", "set a 0 0 3\nabc\r\n", "get a\r\n",
		"set a 0 0 1\r\n\r\n\r\n", "set b 0 0 1\r\nx\n\n",
		value("set "+long+" 0 0", 5, ""), "get " + long + "\r\n", "gets " + long + " a\r\n",
		"set " + long + "k 0 0 5\r\n", "get " + long + "k\r\n", "get a " + long + "k a\r\n", "gat 0 a " + long + "k\r\n",
		"delete " + long + "k\r\n", "incr " + long + "k 1\r\n", "touch " + long + "k 1\r\n", "delete " + long + "\r\n",
		value("add a 1 0", 2, ""), value("add new 1 0", 2, ""), "get new\r\n", value("add new 2 0", 3, ""), "get new\r\n",
		value("replace new 9 0", 4, ""), "get new\r\n", value("replace gone 9 0", 4, ""),
		value("append new 1 1", 2, ""), value("prepend new 1 1", 1, ""), "gets new\r\n",
		value("append gone 1 1", 2, ""), value("prepend gone 1 1", 2, " noreply"), "get gone\r\n",
		"cas new 1 0 1 1\r\nx\r\n", "cas gone 1 0 1 1\r\nx\r\n", "cas new 1 0 1 0\r\nx\r\n", "cas new 1 0 1 x\r\n",
		"cas new 1 0 1\r\n", "cas new 1 0 1 99 noreply\r\nx\r\n", "gets new\r\n",
		"delete new\r\n", "delete new\r\n", "delete\r\n", "delete a 0\r\n", "delete a 1\r\n", "delete a 0 noreply\r\n",
		"delete a noreply\r\n", "delete a noreply noreply\r\n", "delete a 0 0\r\n", "delete a 0 noreply x\r\n", "delete a b c d e\r\n",
		value("set n 3 0", 0, ""), "incr n 1\r\n", "set n 3 0 2\r\n10\r\n", "incr n 1\r\n", "decr n 2\r\n", "get n\r\n",
		"incr n 991\r\n", "gets n\r\n", "decr n 5000\r\n", "gets n\r\n", "incr n 18446744073709551615\r\n", "get n\r\n",
		"incr n 2\r\n", "gets n\r\n", "incr n -1\r\n", "incr n 18446744073709551616\r\n", "incr n x\r\n", "incr n\r\n", "incr\r\n",
		"incr n 1 noreply\r\n", "get n\r\n", "incr n noreply\r\n", "decr n 1 2\r\n", "decr gone 1\r\n", "incr n 1 2 3\r\n",
		"set n 3 0 3\r\nabc\r\n", "incr n 1\r\n", "set n 3 0 5\r\n12 ab\r\n", "incr n 1\r\n", "get n\r\n",
		"set n 3 0 4\r\n 7\t0\r\n", "incr n 1\r\n", "get n\r\n", "set n 3 0 2\r\n-1\r\n", "incr n 1\r\n", "set n 3 0 2\r\n+1\r\n", "incr n 1\r\n", "get n\r\n",
		"set n 3 0 20\r\n18446744073709551615\r\n", "incr n 1\r\n", "get n\r\n", "set n 3 0 21\r\n184467440737095516150\r\n", "incr n 1\r\n",
		"set n 3 0 3\r\n007\r\n", "incr n 1\r\n", "get n\r\n", "incr n 1\t2\r\n", "incr n 1\v\r\n",
		"set t 0 0 1\r\nt\r\n", "touch t 0\r\n", "touch t 100\r\n", "get t\r\n", "touch t -1\r\n", "get t\r\n", "touch t 0\r\n",
		"touch t\r\n", "touch t x\r\n", "touch\r\n", "touch gone 0 noreply\r\n", "touch t 0 1 2\r\n",
		"set t 0 0 1\r\nt\r\n", "gat 100 t\r\n", "gats 100 t gone t\r\n", "gat x t\r\n", "gat 100\r\n", "gat\r\n", "gats\r\n",
		"gat -1 t\r\n", "get t\r\n", "gat 0 t\r\n", "gat 12x t\r\n", "gat  5   t \r\n",
		"set e 0 -1 1\r\ne\r\n", "get e\r\n", "set e 0 2592000 1\r\ne\r\n", "get e\r\n", "set e 0 2592001 1\r\ne\r\n", "get e\r\n",
		fmt.Sprintf("set e 0 %d 1\r\ne\r\n", now+1000), "get e\r\n", fmt.Sprintf("set e 0 %d 1\r\ne\r\n", now-1000), "get e\r\n",
		"set e 0 4294967296 1\r\ne\r\n", "get e\r\n", "set e 0 4294967295 1\r\ne\r\n", "get e\r\n", "set e 0 -9223372036854775808 1\r\ne\r\n", "get e\r\n",
		"set e 0 9223372036854775808 1\r\n",
		"set f 0 0 1\r\nf\r\n", "flush_all\r\n", "get f\r\n", "set f 0 0 1\r\nf\r\n", "gets f\r\n", "flush_all 0\r\n", "get f\r\n",
		"set f 0 0 1\r\nf\r\n", "flush_all noreply\r\n", "get f\r\n", "set f 0 0 1\r\nf\r\n", "flush_all 0 noreply\r\n", "get f\r\n",
		"set f 0 0 1\r\nf\r\n", "flush_all 1000\r\n", "get f\r\n", "flush_all x\r\n", "flush_all 1 2 3\r\n", "flush_all -5\r\n", "get f\r\n",
		"version\r\n", "version x\r\n", "verbosity\r\n", "verbosity 0\r\n", "verbosity x\r\n", "verbosity 1 noreply\r\n", "verbosity 0 1\r\n", "verbosity 1 2 3\r\n",
		"cache_memlimit\r\n", "cache_memlimit x\r\n", "cache_memlimit 7\r\n", "cache_memlimit 1000000001\r\n", "cache_memlimit 100\r\n", "cache_memlimit 64 noreply\r\n",
		"shutdown\r\n", "shutdown x\r\n", "stats reset\r\n", "stats nonsense\r\n", "stats sizes\r\n",
		"\r\n", "\n", " \r\n", "x\r\n", "xx\r\n", "GET a\r\n", "nonsense a b c\r\n", "get\ta\r\n", "seta 0 0 1\r\n", "mx a\r\n", "m\r\n",
		"a" + strings.Repeat(" b", 30) + "\r\n", "delete" + strings.Repeat(" b", 30) + "\r\n", "get" + strings.Repeat(" b", 60) + "\r\n",
		"get a\x00b\r\n", "set a\x00b 0 0 1\r\n", "\x00get a\r\n", "get \x00\r\n",
		"set k\x01\x7f 0 0 1\r\nc\r\n", "get k\x01\x7f\r\n", "set \xc3\xa4 0 0 1\r\nc\r\n", "get \xc3\xa4\r\n", "set c\r 0 0 1\r\nc\r\n", "get c\r\r\n",
		value("set big 0 0", 1048576-48-8-4-2, ""), "get big\r\n", value("set big 0 0", 1048576-48-8-4-1, ""), "get big\r\n",
		value("set big 1 0", 1048576-48-8-4-2, ""), value("set big 0 0", 1048576, " noreply"), "get big\r\n",
		value("set big 0 0", 600000, ""), value("append big 0 0", 400000, ""), value("append big 0 0", 100000, ""), "get big\r\n",
		value("prepend big 0 0", 48000, ""), "get big\r\n", value("add big 0 0", 2000000, ""), "delete big\r\n",
		"get " + strings.Repeat("key ", 480) + "\r\n", "gets " + strings.Repeat("a e ", 2000) + "\r\n",
		"GET / HTTP/1.1\r\n", "POST / HTTP/1.0\r\n", "quit\r\n", "quit now\r\n",
		// Meta commands.
		"mg gone\r\n", "mg gone v q\r\n", "mg gone k O12\r\n", "mg\r\n", "mg " + long + "k v\r\n", "mg gone z\r\n", "mg gone v v\r\n", "mg gone Nx\r\n",
		"ms m\r\n", "ms m x\r\n", "ms m -1\r\n", "ms m 2\r\nhi\r\n", "mg m\r\n", "mg m v\r\n", "mg m s v f c k t h Oabc\r\n", "mg m h u\r\n",
		"ms m 2 F77 c k Oxyz q\r\nhi\r\n", "mg m f v q\r\n", "ms m 2 c k Oxyz b\r\nhi\r\n", "ms m 2 F77 T0 c O1 k\r\nyo\r\n", "mg m f v t\r\n",
		"ms m 2 ME\r\nno\r\n", "ms m 2 MA c\r\nap\r\n", "ms m 2 MP\r\npr\r\n", "ms m 2 MR\r\nre\r\n", "mg m v c\r\n", "ms gone2 1 MR\r\nx\r\n", "ms gone2 1 MA O9\r\nx\r\n",
		"ms m 2 MX\r\nno\r\n", "ms m 2 MXX\r\nno\r\n", "ms m 2 z\r\nno\r\n", "ms m 2 C1 c k\r\nno\r\n", "ms gone3 2 C1\r\nno\r\n", "ms m 2 Cx\r\nno\r\n", "ms m 2 Fx\r\nno\r\n",
		"ms m 2 q\r\nnoo\r\n", "ms m 2 O" + strings.Repeat("o", 32) + "\r\nno\r\n", "ms m 2 O" + strings.Repeat("o", 31) + "\r\nno\r\n",
		"ms m 2 C1 I\r\nst\r\n", "mg m v c\r\n", "mg m v\r\n", "mg m v c t\r\n", "ms m 3\r\nnew\r\n", "mg m v\r\n",
		"md m I T100\r\n", "mg m v\r\n", "mg m v\r\n", "md m C1\r\n", "md m q k\r\n", "md m O1 k\r\n", "md gone q\r\n", "md\r\n", "md m zz\r\n", "md m z\r\n",
		"mg viv N0 v t\r\n", "mg viv N0 v\r\n", "mg viv v\r\n", "mg viv N100 k O7\r\n", "ms viv 1 T100\r\nv\r\n", "mg viv R200 v\r\n", "mg viv R200 v\r\n", "mg viv T0 t v\r\n", "mg viv T-1\r\n", "mg viv v\r\n",
		"ma num\r\n", "ma num N0 J13 v\r\n", "ma num v\r\n", "ma num D7 v c k O5\r\n", "ma num MD v\r\n", "ma num M- D100 v\r\n", "ma num MI v t\r\n", "ma num M+ q\r\n", "ma num v q\r\n", "ma num MZ\r\n",
		"ma num Dx\r\n", "ma num Jx\r\n", "ma num C1 k\r\n", "ma m v\r\n", "set m 0 0 2\r\nxx\r\n", "ma m\r\n", "ma\r\n", "ma num T0 t v\r\n", "ma num N0 v\r\n", "ma gone4 q\r\n", "ma gone4 N0 J5 q\r\n", "get num gone4\r\n",
		"ms YmluYXJ5IQ== 2 b k\r\nhi\r\n", "mg YmluYXJ5IQ== b v k\r\n", "get binary!\r\n", "mg notbase64! b v\r\n", "md YmluYXJ5IQ== b k\r\n", "me gone\r\n", "me\r\n", "me " + long + "k\r\n",
		"mg m P1 L2 v\r\n", "mg m" + strings.Repeat(" v", 20) + "\r\n", "ms m 2" + strings.Repeat(" v", 20) + "\r\n", "ms big2 2000000\r\n" + strings.Repeat("b", 2000000) + "\r\n", "mn\r\n", "mn x\r\n",
	}
}

// TestReferenceRandom compares replies to seeded random commands on few keys.
func TestReferenceRandom(t *testing.T) {
	commands := 12000 // in each of five ways
	if testing.Short() {
		commands = 2000
	}
	eachPair(t, func(p *pair) {
		for seed := range uint64(3) {
			g := &generator{rand.New(rand.NewPCG(seed, 1))}
			for i := range commands / 3 {
				if request := g.request(); !p.compare(request) {
					p.t.Fatalf("seed %d, command %d", seed, i)
				}
			}
		}
	})
}

// generator makes requests that mostly make sense.
type generator struct{ *rand.Rand }

func (g *generator) pick(s ...string) string { return s[g.IntN(len(s))] }

func (g *generator) key() string {
	switch g.IntN(100) {
	case 0:
		return strings.Repeat("l", 250)
	}
	return "key" + strconv.Itoa(g.IntN(12))
}

func (g *generator) keys() string {
	s := g.key()
	for g.IntN(3) > 0 {
		s += strings.Repeat(" ", 1+g.IntN(2)) + g.key()
	}
	return s
}

func (g *generator) noreply() string { return g.pick("", "", "", "", " noreply", " ", " nope") }

func (g *generator) number() string {
	return g.pick("0", "1", "1", "7", "99", "1000000", "18446744073709551615", "18446744073709551616", "-1", "+3", "", "x", "1x", "00012")
}

func (g *generator) exptime() string {
	return g.pick("0", "0", "0", "1000", "2592000", "2592001", "-1", "-100", "x", "4000000000", strconv.FormatInt(time.Now().Unix()+5000, 10))
}

func (g *generator) value() string {
	switch g.IntN(6) {
	case 0:
		return strconv.FormatUint(g.Uint64()>>g.IntN(64), 10)
	case 1:
		return strconv.Itoa(g.IntN(200)) + g.pick("", " ", " x", "\t\t")
	case 2:
		// Not white space alone: memcached looks for a number behind it, beyond
		// the end of the value.
		return "." + strings.Repeat("\r\n", g.IntN(5))
	case 3:
		return strings.Repeat("large", g.IntN(20000))
	}
	return strings.Repeat("v", g.IntN(100))
}

func (g *generator) block() (length, block string) {
	v := g.value()
	switch g.IntN(30) {
	case 0:
		return strconv.Itoa(len(v)), v + "excess\r\n"
	}
	return strconv.Itoa(len(v)), v + "\r\n"
}

func (g *generator) metaFlags(from string) string {
	s := ""
	for len(s) < 24 && g.IntN(3) > 0 {
		flag := from[g.IntN(len(from))]
		s += " " + string(flag)
		switch flag {
		case 'O':
			s += strconv.Itoa(g.IntN(1000))
		case 'C':
			s += strconv.Itoa(g.IntN(5))
		case 'M':
			s += g.pick("I", "D", "+", "-", "E", "A", "P", "R", "S", "")
		case 'F', 'J', 'D':
			s += g.number()
		case 'N', 'T':
			// No TTL that may pass between two replies (nor flag t, which would
			// show the seconds).
			s += g.pick("0", "0", "x")
		}
	}
	return s
}

func (g *generator) request() string {
	switch n := g.IntN(40); {
	case n < 10:
		length, block := g.block()
		return g.pick("set", "set", "set", "add", "replace", "append", "prepend") + " " + g.key() + " " +
			g.pick("0", "1", "4294967295") + " " + g.exptime0() + " " + length + g.noreplyOrNone() + "\r\n" + block
	case n < 11:
		length, block := g.block()
		return "cas " + g.key() + " 3 0 " + length + " " + strconv.Itoa(g.IntN(5000)) + g.noreplyOrNone() + "\r\n" + block
	case n < 18:
		return g.pick("get ", "gets ") + g.keys() + "\r\n"
	case n < 20:
		return g.pick("gat ", "gats ") + g.exptime() + " " + g.keys() + "\r\n"
	case n < 25:
		return g.pick("incr ", "incr ", "decr ") + g.key() + " " + g.number() + g.noreply() + "\r\n"
	case n < 27:
		return "delete " + g.key() + g.pick("", "", " 0", " 1", " noreply", " 0 noreply") + "\r\n"
	case n < 29:
		return "touch " + g.key() + " " + g.exptime() + g.noreply() + "\r\n"
	case n < 30:
		return g.pick("flush_all", "version", "verbosity 1", "nonsense", "flush_all 0 noreply", "cache_memlimit 80", "stats nonsense") + "\r\n"
	case n < 33:
		return "mg " + g.key() + g.metaFlags("vvkOsfcqhuTN") + "\r\n"
	case n < 36:
		length, block := g.block()
		return "ms " + g.key() + " " + length + g.metaFlags("kOcCFIMqT") + "\r\n" + block
	case n < 38:
		return "ma " + g.key() + g.metaFlags("NJDTMqcvOkC") + "\r\n"
	default:
		return "md " + g.key() + g.metaFlags("qkOCIT") + "\r\n"
	}
}

// exptime0 and noreplyOrNone keep the line of a storage command valid, lest its
// data block be taken for commands: that is compared by the script.
func (g *generator) exptime0() string {
	for {
		if s := g.exptime(); s != "x" {
			return s
		}
	}
}

func (g *generator) noreplyOrNone() string { return g.pick("", "", "", " noreply") }
