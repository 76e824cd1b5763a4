package memcached

import (
	"testing"

	"shardnet/test/apptest"
	"shardnet/test/testutil"
)

// TestMain fails a package that leaves goroutines or descriptors behind.
func TestMain(m *testing.M) { testutil.Main(m) }

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
