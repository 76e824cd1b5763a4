package memcached

import (
	"flag"
	"fmt"
	"net"
	"os"
	"runtime"
	"testing"
	"time"
)

const patience = 10 * time.Second

// TestMain fails a package that leaves goroutines or descriptors behind.
func TestMain(m *testing.M) {
	// The runtime's own descriptors come with the first socket.
	if l, err := net.Listen("tcp", "127.0.0.1:0"); err == nil {
		l.Close()
	}
	goroutines, files := runtime.NumGoroutine(), descriptors()
	code := m.Run()
	if f := flag.Lookup("test.fuzz"); f != nil && f.Value.String() != "" {
		os.Exit(code) // package testing leaves goroutines
	}
	if code == 0 && !eventually(func() bool { return runtime.NumGoroutine() <= goroutines && descriptors() <= files }) {
		buf := make([]byte, 1<<20)
		fmt.Fprintf(os.Stderr, "%d descriptors, %d before; goroutines:\n%s", descriptors(), files, buf[:runtime.Stack(buf, true)])
		code = 1
	}
	os.Exit(code)
}

func descriptors() int {
	entries, _ := os.ReadDir("/proc/self/fd")
	return len(entries)
}

func eventually(cond func() bool) bool {
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(time.Millisecond) {
		if cond() {
			return true
		}
	}
	return cond()
}

func newStore(t testing.TB, cfg *StoreConfig) *Store {
	t.Helper()
	st, err := NewStore(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		checkStore(t, st)
		st.Close()
	})
	return st
}

// start serves store on loopback until the test ends, and checks how serving
// ends.
func start(t testing.TB, store *Store, cfg *Config) (srv *Server, tcp, udp string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	pc, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	srv = NewServer(store, cfg)
	ended := make(chan error, 2)
	go func() { ended <- srv.ServeTCP(l) }()
	go func() { ended <- srv.ServeUDP(pc) }()
	t.Cleanup(func() {
		srv.Close()
		for range 2 {
			if err := <-ended; err != ErrServerClosed {
				t.Errorf("serving ended with %v", err)
			}
		}
	})
	return srv, l.Addr().String(), pc.LocalAddr().String()
}

func dial(t testing.TB, network, addr string) net.Conn {
	t.Helper()
	c, err := net.Dial(network, addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	_ = c.SetDeadline(time.Now().Add(patience))
	return c
}
