package load

import (
	"bytes"
	"context"
	"io"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

func dial(ctx context.Context, network, address string) (net.Conn, error) {
	var d net.Dialer
	return d.DialContext(ctx, network, address)
}

// serveTCP answers each read with what answer makes of it.
func serveTCP(t *testing.T, answer func([]byte) []byte) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				buf := make([]byte, 4096)
				for {
					n, err := c.Read(buf)
					if err != nil {
						return
					}
					if _, err := c.Write(answer(buf[:n])); err != nil {
						return
					}
				}
			}()
		}
	}()
	return l.Addr().String()
}

// serveUDP sends answer's datagrams back for each that comes.
func serveUDP(t *testing.T, answer func([]byte) [][]byte) string {
	t.Helper()
	pc, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { pc.Close() })
	go func() {
		buf := make([]byte, 4096)
		for {
			n, from, err := pc.ReadFrom(buf)
			if err != nil {
				return
			}
			for _, b := range answer(buf[:n]) {
				_, _ = pc.WriteTo(b, from)
			}
		}
	}()
	return pc.LocalAddr().String()
}

func TestRunCountsWhatTheServerSaw(t *testing.T) {
	var served atomic.Uint64
	addr := serveUDP(t, func(b []byte) [][]byte { served.Add(1); return [][]byte{bytes.Clone(b)} })
	res := Run(t.Context(), Config{Workload: EchoUDP, Dial: dial, Addresses: []string{addr}, Conns: 3, Duration: 50 * time.Millisecond})
	if err := res.Err(); err != nil {
		t.Fatal(err)
	}
	if res.Conns != 3 || res.Requests == 0 || res.Lost != 0 {
		t.Errorf("%d sessions, %d requests, %d lost", res.Conns, res.Requests, res.Lost)
	}
	// All answers are in, and so the server is still. Each session's first request is not measured.
	if got, want := served.Load(), res.Requests+3; got != want {
		t.Errorf("server saw %d requests, want %d", got, want)
	}
	if p50, p99 := res.Quantile(50), res.Quantile(99); p50 <= 0 || p99 < p50 {
		t.Errorf("p50 %v, p99 %v", p50, p99)
	}
}

// TestWrongAnswers has servers that are almost right.
func TestWrongAnswers(t *testing.T) {
	n := 0
	flipAfter := func(k int) func([]byte) []byte {
		n = 0
		return func(b []byte) []byte {
			if n++; n > k {
				b[len(b)-1] ^= 1
			}
			return b
		}
	}
	one := func(f func([]byte) []byte) func([]byte) [][]byte {
		return func(b []byte) [][]byte { return [][]byte{f(bytes.Clone(b))} }
	}
	for _, tc := range []struct {
		name string
		w    Workload
		addr string
		want string
	}{
		{"echo tcp, first answer", EchoTCP, serveTCP(t, func(b []byte) []byte { b[20]++; return b }), "wrong echo"},
		{"echo tcp, cut short", EchoTCP, serveTCP(t, func(b []byte) []byte { return b[:10] }), "i/o timeout"},
		{"echo udp, first answer", EchoUDP, serveUDP(t, one(func(b []byte) []byte { b[20]++; return b })), "wrong echo"},
		{"echo udp, shorter", EchoUDP, serveUDP(t, one(func(b []byte) []byte { return b[:63] })), "wrong echo"},
		{"echo udp, another session's", EchoUDP, serveUDP(t, one(func(b []byte) []byte { b[3]++; return b })), "wrong echo"},
		{"echo udp, later", EchoUDP, serveUDP(t, one(flipAfter(5))), "wrong echo"},
		{"memcached tcp, error", MemcachedTCP, serveTCP(t, func([]byte) []byte { return []byte("ERROR\r\n") }), `got "ERROR\r\n"`},
		{"memcached tcp, miss", MemcachedTCP, serveTCP(t, func(b []byte) []byte {
			if bytes.HasPrefix(b, []byte("set")) {
				return []byte("STORED\r\n")
			}
			return []byte("END\r\n")
		}), `got "END\r\n"`},
		{"memcached udp, no header", MemcachedUDP, serveUDP(t, one(func([]byte) []byte { return []byte("STORED") })), "wrong answer"},
		{"memcached udp, too much", MemcachedUDP, serveUDP(t, one(func(b []byte) []byte {
			return append(b[:8:8], "STORED\r\nSTORED\r\n"...)
		})), "wrong answer"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if tc.name == "echo tcp, cut short" {
				// A short answer leaves the client waiting for the rest.
				c, err := net.Dial("tcp", tc.addr)
				if err != nil {
					t.Fatal(err)
				}
				defer c.Close()
				_ = c.SetDeadline(time.Now().Add(50 * time.Millisecond))
				if _, err := EchoTCP.open(c, 0).do(); err == nil || !strings.Contains(err.Error(), tc.want) {
					t.Errorf("%v, want %q", err, tc.want)
				}
				return
			}
			res := Run(t.Context(), Config{Workload: tc.w, Dial: dial, Addresses: []string{tc.addr}, Conns: 1, Duration: time.Second})
			if err := res.Err(); err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("%v, want %q", err, tc.want)
			}
		})
	}
}

// TestLateAnswers has a server that repeats itself: old answers are put aside.
func TestLateAnswers(t *testing.T) {
	for _, w := range []Workload{EchoUDP, MemcachedUDP} {
		t.Run(w.Name, func(t *testing.T) {
			var last []byte
			var value []byte
			addr := serveUDP(t, func(b []byte) [][]byte {
				answer := bytes.Clone(b)
				if w.Name == MemcachedUDP.Name {
					fields := strings.Fields(string(b[8:]))
					if fields[0] == "set" {
						value = bytes.Clone(b[len(b)-valueSize-2:])
						answer = append(bytes.Clone(b[:8]), "STORED\r\n"...)
					} else {
						answer = append(bytes.Clone(b[:8]), "VALUE "+fields[1]+" 0 64\r\n"...)
						answer = append(append(answer, value...), "END\r\n"...)
					}
				}
				answers := [][]byte{answer}
				if last != nil {
					answers = [][]byte{last, answer}
				}
				last = answer
				return answers
			})
			res := Run(t.Context(), Config{Workload: w, Dial: dial, Addresses: []string{addr}, Conns: 1, Duration: 50 * time.Millisecond})
			if err := res.Err(); err != nil {
				t.Error(err)
			}
			if res.Requests < 25 {
				t.Errorf("only %d requests", res.Requests)
			}
		})
	}
}

// TestLostDatagrams has a server that overhears every tenth request.
func TestLostDatagrams(t *testing.T) {
	n := 0
	addr := serveUDP(t, func(b []byte) [][]byte {
		if n++; n%10 == 0 {
			return nil
		}
		return [][]byte{bytes.Clone(b)}
	})
	c, err := net.Dial("udp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	s := EchoUDP.open(c, 1)
	lost := 0
	for range 12 {
		l, err := s.do()
		if err != nil {
			t.Fatal(err)
		}
		lost += l
	}
	if lost != 1 {
		t.Errorf("%d lost, want 1", lost)
	}
}

// A datagram that is lost soon after the first answer is asked for again as soon as
// any other.
func TestLostAtOnce(t *testing.T) {
	n := 0
	addr := serveUDP(t, func(b []byte) [][]byte {
		if n++; n == 2 {
			return nil
		}
		return [][]byte{bytes.Clone(b)}
	})
	start := time.Now()
	res := Run(t.Context(), Config{Workload: EchoUDP, Dial: dial, Addresses: []string{addr}, Conns: 1, Duration: 10 * time.Millisecond})
	if err := res.Err(); err != nil || res.Lost != 1 || res.Requests == 0 {
		t.Errorf("%d requests, %d lost, %v", res.Requests, res.Lost, err)
	}
	if d := time.Since(start); d > 2*datagramTimeout+time.Second {
		t.Errorf("took %v", d)
	}
}

func TestNobodyAnswers(t *testing.T) {
	res := Run(t.Context(), Config{Workload: EchoTCP, Dial: func(context.Context, string, string) (net.Conn, error) {
		return nil, io.ErrClosedPipe
	}, Addresses: []string{"198.18.0.1:7"}, Conns: 7, Duration: time.Minute})
	if res.Errors != 7 || res.Err() == nil || res.Requests != 0 {
		t.Errorf("%d errors, %d requests: %v", res.Errors, res.Requests, res.Err())
	}
}

// TestInterrupt: a run that is interrupted ends at once, without calling it the
// server's fault.
func TestInterrupt(t *testing.T) {
	stop := make(chan struct{})
	t.Cleanup(func() { close(stop) })
	n := 0
	addr := serveTCP(t, func(b []byte) []byte {
		if n++; n > 1 {
			<-stop
		}
		return b
	})
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	start := time.Now()
	res := Run(ctx, Config{Workload: EchoTCP, Dial: dial, Addresses: []string{addr}, Conns: 1, Duration: time.Minute})
	if err := res.Err(); err != nil {
		t.Error(err)
	}
	if d := time.Since(start); d > 2*time.Second {
		t.Errorf("took %v", d)
	}
}
