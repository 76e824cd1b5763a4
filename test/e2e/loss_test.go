package e2e

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"strconv"
	"sync"
	"testing"
	"time"

	"shardnet/driver/fault"
	"shardnet/socketapi"
	"shardnet/stack"
	"shardnet/stack/flow"
	"shardnet/test/testutil"
)

// transports are the TCPs that are put to the test.
var transports = []flow.Transport{flow.TransportNetstack, flow.TransportFast}

// loss is the network that peers meet over in these tests, in both directions.
var loss = fault.Config{Drop: 0.01, Reorder: 0.02, Seed: 7}

// soaking says that tests are to take their time: SHARDNET_SOAK=1, as make soak has
// it.
var soaking = os.Getenv("SHARDNET_SOAK") != ""

// lossTransfer is how much is moved over a bad network, and for how long at most.
// Netstack gets a few megabytes a second through one, so in an ordinary run it is
// given less.
func lossTransfer(transport flow.Transport) (size int64, limit time.Duration) {
	size, limit = 32<<20, time.Minute
	switch {
	case soaking:
		return 1 << 30, 30 * time.Minute
	case testutil.RaceEnabled || testing.Short():
		size /= 4
	}
	if transport == flow.TransportNetstack {
		size /= 16
	}
	return size, limit
}

// startLossy is start on a network that loses and reorders.
func (l *lan) startLossy(t *testing.T, transport flow.Transport) *stack.Stack {
	t.Helper()
	dev, err := l.openDevice("afxdp")
	if err != nil {
		t.Fatal(err)
	}
	bad, err := fault.Wrap(dev, loss)
	if err != nil {
		dev.Close()
		t.Fatal(err)
	}
	cfg := stackConfig()
	cfg.Transport = transport
	st, err := stack.New(bad, cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		closeStack(t, st)
		checkLossy(t, bad)
	})
	return st
}

// checkLossy wants frames to have been lost and overtaken, both ways.
func checkLossy(t *testing.T, bad *fault.Device) {
	t.Helper()
	rx, tx := bad.Counts(0)
	for _, c := range []fault.Counts{rx, tx} {
		if c.Dropped == 0 || c.Reordered == 0 || c.Overflowed != 0 {
			t.Errorf("the network was not as bad as it should be, or worse: %+v", c)
		}
	}
	t.Logf("%d of %d frames lost in, %d of %d out", rx.Dropped, rx.Frames, tx.Dropped, tx.Frames)
}

// streamSum is the hash of stream(size).
func streamSum(size int64) []byte {
	h := sha256.New()
	io.Copy(h, stream(size))
	return h.Sum(nil)
}

// send moves stream(size) from one end of a connection to the other within limit,
// compares hashes, and closes both ends.
func send(t *testing.T, what string, from, to net.Conn, size int64, limit time.Duration) {
	t.Helper()
	defer from.Close()
	defer to.Close()
	deadline := time.Now().Add(limit)
	from.SetDeadline(deadline)
	to.SetDeadline(deadline)
	start := time.Now()
	var wg sync.WaitGroup
	wg.Go(func() {
		_, err := io.Copy(struct{ io.Writer }{from}, stream(size))
		if err == nil {
			err = from.(interface{ CloseWrite() error }).CloseWrite()
		}
		if err != nil {
			t.Errorf("%s: write: %v", what, err)
		}
	})
	h := sha256.New()
	n, err := io.Copy(h, to)
	took := time.Since(start)
	wg.Wait()
	if equal := bytes.Equal(h.Sum(nil), streamSum(size)); err != nil || n != size || !equal {
		t.Errorf("%s: %d of %d bytes arrived, %v, hash equal: %v", what, n, size, err, equal)
	}
	goodput(t, what, n, took)
}

func goodput(t *testing.T, what string, n int64, took time.Duration) {
	t.Helper()
	t.Logf("%s: %.1f MB/s, %d bytes in %v", what, float64(n)/took.Seconds()/1e6, n, took.Round(time.Millisecond))
}

// eachLossy runs f on each TCP, on a network that loses and reorders.
func eachLossy(t *testing.T, f func(t *testing.T, l *lan, st *stack.Stack, size int64, limit time.Duration)) {
	for _, transport := range transports {
		t.Run("tcp="+transport.String(), func(t *testing.T) {
			l := newLAN(t, 1)
			st := l.startLossy(t, transport)
			size, limit := lossTransfer(transport)
			f(t, l, st, size, limit)
			s := st.Stats()
			if ours := s.ToEngine > 0; ours != (transport == flow.TransportFast) {
				t.Errorf("%d segments went to the shards' own TCP", s.ToEngine)
			}
			t.Logf("%d segments sent again of %d packets", s.Retransmits, s.Queue.TxPackets)
		})
	}
}

// accepted is the next connection of a listener.
func accepted(t *testing.T, ln net.Listener) net.Conn {
	t.Helper()
	type result struct {
		c   net.Conn
		err error
	}
	got := make(chan result, 1)
	go func() {
		c, err := ln.Accept()
		got <- result{c, err}
	}()
	select {
	case r := <-got:
		if r.err != nil {
			t.Fatal(r.err)
		}
		return r.c
	case <-time.After(30 * time.Second):
		t.Fatal("no connection came")
		return nil
	}
}

// A kernel's client and our server, our client and a kernel's server, each way,
// through a network that loses and reorders.
func TestKernelUnderLoss(t *testing.T) {
	eachLossy(t, func(t *testing.T, l *lan, st *stack.Stack, size int64, limit time.Duration) {
		g, err := socketapi.Listen(st, "tcp", ":5001")
		if err != nil {
			t.Fatal(err)
		}
		defer g.Close()
		for _, addr := range []netip.Addr{ours4, ours6} {
			c := dialKernel(t, l, "tcp", netip.AddrPortFrom(addr, 5001))
			if ours := accepted(t, g); addr.Is4() {
				send(t, "kernel's client to our server", c, ours, size, limit)
			} else {
				send(t, "our server to kernel's client", ours, c, size, limit)
			}
		}
		for _, addr := range []netip.Addr{kernel4, kernel6} {
			ln, err := l.kernel.Listen("tcp", netip.AddrPortFrom(addr, 5001).String())
			if err != nil {
				t.Fatal(err)
			}
			defer ln.Close()
			d := &socketapi.Dialer{Stack: st, Timeout: 30 * time.Second}
			c, err := d.Dial("tcp", netip.AddrPortFrom(addr, 5001).String())
			if err != nil {
				t.Fatal(err)
			}
			if theirs := accepted(t, ln); addr.Is4() {
				send(t, "our client to kernel's server", c, theirs, size, limit)
			} else {
				send(t, "kernel's server to our client", theirs, c, size, limit)
			}
		}
	})
}

// curl gets a file from net/http on our listener, and puts one there, through a
// network that loses and reorders.
func TestCurlUnderLoss(t *testing.T) {
	curl, err := exec.LookPath("curl")
	eachLossy(t, func(t *testing.T, l *lan, st *stack.Stack, size int64, limit time.Duration) {
		if err != nil {
			t.Fatal("curl is not installed: run test/setup.sh")
		}
		g, err := socketapi.Listen(st, "tcp", ":80")
		if err != nil {
			t.Fatal(err)
		}
		mux := http.NewServeMux()
		mux.HandleFunc("GET /file", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", strconv.FormatInt(size, 10))
			io.Copy(w, stream(size))
		})
		mux.HandleFunc("PUT /file", func(w http.ResponseWriter, r *http.Request) {
			h := sha256.New()
			n, err := io.Copy(h, r.Body)
			fmt.Fprintf(w, "%d %x %v", n, h.Sum(nil), err)
		})
		srv := &http.Server{Handler: mux}
		go srv.Serve(g)
		defer srv.Close()
		for _, tc := range []struct {
			what string
			args []string
			url  string
		}{
			{"curl gets", nil, "http://" + ours4.String() + "/file"},
			{"curl puts", []string{"-T", "-"}, "http://[" + ours6.String() + "]/file"},
		} {
			cmd := l.kernel.Command(curl, append(tc.args, "-sS", "-m", strconv.Itoa(int(limit.Seconds())), tc.url)...)
			h, said := sha256.New(), new(bytes.Buffer)
			var out bytes.Buffer
			cmd.Stdout, cmd.Stderr = h, said
			if tc.args != nil {
				cmd.Stdin, cmd.Stdout = stream(size), &out
			}
			start := time.Now()
			if err := l.kernel.Run(cmd); err != nil {
				t.Errorf("%s: %v: %s", tc.what, err, said)
			}
			took := time.Since(start)
			want := streamSum(size)
			if tc.args == nil && !bytes.Equal(h.Sum(nil), want) {
				t.Errorf("%s something else than there is", tc.what)
			}
			if answer := fmt.Sprintf("%d %s <nil>", size, hex.EncodeToString(want)); tc.args != nil && out.String() != answer {
				t.Errorf("%s: answer %q, want %q", tc.what, out.String(), answer)
			}
			goodput(t, tc.what, size, took)
		}
	})
}
