package bench

import (
	"net"
	"strings"
	"testing"
	"time"
)

// connectBulk has a client transfer with serve, over loopback.
func connectBulk(t *testing.T, send bool, serve func(net.Conn)) *bulkClient {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan struct{})
	go func() {
		defer close(served)
		c, err := l.Accept()
		if err != nil {
			return
		}
		serve(c)
		_ = c.Close()
	}()
	conn, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	c := &bulkClient{send: send, failed: make(chan error, 1)}
	c.add(conn.(*net.TCPConn))
	t.Cleanup(func() {
		c.close()
		l.Close()
		<-served
	})
	return c
}

// TestBulkClient counts what moves, either way, and nothing that does not.
func TestBulkClient(t *testing.T) {
	for name, tc := range map[string]struct {
		send  bool
		serve func(net.Conn)
	}{"receive": {false, source}, "send": {true, sink}} {
		t.Run(name, func(t *testing.T) {
			c := connectBulk(t, tc.send, tc.serve)
			var first, last progress
			var err error
			for deadline := time.Now().Add(10 * time.Second); last.bytes <= first.bytes+chunk; time.Sleep(time.Millisecond) {
				if last, err = c.progressAt(t.Context(), time.Now()); err != nil {
					t.Fatal(err)
				}
				if first.bytes == 0 {
					first = last
				}
				if time.Now().After(deadline) {
					t.Fatalf("%d bytes, and 10 s before there were %d", last.bytes, first.bytes)
				}
			}
			if what := c.wrong.Load(); what != nil {
				t.Error(*what)
			}
		})
	}
}

// TestBulkClientFails: neither a connection that ends nor a wrong byte goes unseen.
func TestBulkClientFails(t *testing.T) {
	c := connectBulk(t, false, func(c net.Conn) { _, _ = c.Write([]byte(" !\"#$%&'()x")) })
	if _, err := c.progressAt(t.Context(), time.Now().Add(10*time.Second)); err == nil || !strings.Contains(err.Error(), "EOF") {
		t.Errorf("error %v", err)
	}
	if what := c.wrong.Load(); what == nil || !strings.Contains(*what, "between bytes 0 and 11") {
		t.Errorf("a wrong byte is not seen: %v", what)
	}
}
