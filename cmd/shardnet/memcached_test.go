//go:build linux

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/bradfitz/gomemcache/memcache"
)

// TestMemccapable runs libmemcached's test of servers, the ascii part, from the
// other namespace.
func TestMemccapable(t *testing.T) { onTCPs(t, testMemccapable) }

func testMemccapable(t *testing.T, tcp string) {
	client, vs := pair(t)
	b := serve(t, vs.Host, append([]string{"memcached", "-i", "vs", "--tcp", tcp}, onStack...)...)
	out := hostRun(t, client.Host, "", "memccapable", "-a", "-v", "-t", "5", "-h", "198.18.0.2", "-p", "11211")
	if !strings.Contains(out, "All tests passed") || strings.Count(out, "[pass]") < 20 || strings.Contains(out, "[FAIL]") {
		t.Errorf("memccapable: %s", out)
	}
	b.stop(t, syscall.SIGTERM)
}

// TestManyKeys has a stock client library set 100 000 keys, over many connections
// and so over both shards, and read all of them back.
func TestManyKeys(t *testing.T) { onTCPs(t, testManyKeys) }

func testManyKeys(t *testing.T, tcp string) {
	const keys, workers = 100_000, 32
	client, vs := pair(t)
	b := serve(t, vs.Host, append([]string{"memcached", "-i", "vs", "--json", "--tcp", tcp}, onStack...)...)
	mc := memcache.New("198.18.0.2:11211", "[2001:db8::2]:11211")
	mc.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
		return client.Host.Dial(ctx, network, address)
	}
	mc.Timeout = 10 * time.Second
	mc.MaxIdleConns = workers
	defer mc.Close()
	value := func(k int) []byte {
		return fmt.Appendf(nil, "value of key %d, as long as %s", k, strings.Repeat("x", k%100))
	}
	each := func(what string, do func(k int) error) {
		t.Helper()
		var wg sync.WaitGroup
		errs := make(chan error, workers)
		for w := range workers {
			wg.Go(func() {
				for k := w; k < keys; k += workers {
					if err := do(k); err != nil {
						errs <- fmt.Errorf("%s key %d: %w", what, k, err)
						return
					}
				}
			})
		}
		wg.Wait()
		close(errs)
		for err := range errs {
			t.Error(err)
		}
	}
	each("set", func(k int) error {
		return mc.Set(&memcache.Item{Key: fmt.Sprint("key", k), Value: value(k), Flags: uint32(k)})
	})
	each("get", func(k int) error {
		it, err := mc.Get(fmt.Sprint("key", k))
		if err == nil && (string(it.Value) != string(value(k)) || it.Flags != uint32(k)) {
			err = errors.New("not what was set: " + string(it.Value))
		}
		return err
	})
	var sum struct {
		Counters map[string]uint64
		Shards   []struct {
			Connections uint64
			WrongShard  uint64 `json:"wrong_shard"`
		}
	}
	if err := json.Unmarshal([]byte(b.stop(t, syscall.SIGTERM)), &sum); err != nil {
		t.Fatal(err)
	}
	if c := sum.Counters; c["sets"] != keys || c["hits"] != keys || c["misses"] != 0 || c["items"] != keys {
		t.Errorf("server counts %v", c)
	}
	if len(sum.Shards) != 2 || sum.Shards[0].Connections == 0 || sum.Shards[1].Connections == 0 {
		t.Errorf("shards count %+v", sum.Shards)
	}
}
