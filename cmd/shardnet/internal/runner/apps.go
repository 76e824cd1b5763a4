package runner

import (
	"shardnet/apps/echo"
	"shardnet/apps/memcached"
	"shardnet/cmd/shardnet/internal/load"
)

// Echo returns the echo app, which serves TCP and UDP.
func Echo() *App {
	srv := echo.NewServer()
	return &App{
		Name:      "echo",
		Server:    srv,
		UDP:       true,
		Closed:    echo.ErrServerClosed,
		Workloads: []load.Workload{load.EchoTCP, load.EchoUDP},
		Counters: func() []Counter {
			s := srv.Stats()
			return []Counter{
				{"connections", s.Connections}, {"requests", s.Requests},
				{"bytes in", s.BytesIn}, {"bytes out", s.BytesOut}, {"unsent datagrams", s.Dropped},
			}
		},
	}
}

// Memcached returns the memcached app. The caller closes the store after Run.
func Memcached(store *memcached.Store, udp bool) *App {
	return &App{
		Name:      "memcached",
		Server:    memcached.NewServer(store, nil),
		UDP:       udp,
		Closed:    memcached.ErrServerClosed,
		Workloads: []load.Workload{load.MemcachedTCP, load.MemcachedUDP},
		Counters: func() []Counter {
			s := store.Stats()
			return []Counter{
				{"sets", s.CmdSet}, {"hits", s.GetHits}, {"misses", s.GetMisses},
				{"items", uint64(s.Items)}, {"bytes", uint64(s.Bytes)}, {"evictions", s.Evictions},
			}
		},
	}
}
