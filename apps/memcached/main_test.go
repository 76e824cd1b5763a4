package memcached

import (
	"flag"
	"fmt"
	"net"
	"os"
	"runtime"
	"testing"
	"time"

	"shardnet/test/apptest"
)

const patience = apptest.Patience

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

// each runs f as a subtest for each API an app is served by, with a fresh store.
func each(t *testing.T, cfg *Config, f func(t *testing.T, srv *Server, rig *apptest.Rig)) {
	apptest.Each(t, func(t *testing.T, api apptest.API) {
		srv := NewServer(newStore(t, nil), cfg)
		f(t, srv, api.Serve(t, srv, ErrServerClosed))
	})
}

// start serves store on the kernel's sockets.
func start(t testing.TB, store *Store, cfg *Config) (*Server, *apptest.Rig) {
	t.Helper()
	srv := NewServer(store, cfg)
	return srv, apptest.Kernel.Serve(t, srv, ErrServerClosed)
}
