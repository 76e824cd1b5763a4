package memcached

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os/exec"
	"strings"
	"sync"
	"testing"

	"github.com/bradfitz/gomemcache/memcache"

	"shardnet/test/apptest"
	"shardnet/test/testutil"
)

// TestMemccapable runs libmemcached's test of servers, the ascii part.
func TestMemccapable(t *testing.T) {
	path := needTool(t, "memccapable", "libmemcached-tools")
	_, rig := start(t, newStore(t, nil), nil)
	host, port, err := net.SplitHostPort(rig.Address("tcp"))
	if err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command(path, "-a", "-v", "-t", "5", "-h", host, "-p", port).CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	passed := strings.Count(string(out), "[pass]")
	if !strings.Contains(string(out), "All tests passed") || strings.Contains(string(out), "[FAIL]") || passed < 20 {
		t.Errorf("%d tests passed:\n%s", passed, out)
	}
}

func TestGomemcache(t *testing.T) {
	each(t, nil, testGomemcache)
}

func testGomemcache(t *testing.T, _ *Server, rig *apptest.Rig) {
	client := memcache.New(rig.Address("tcp"))
	client.DialContext = func(context.Context, string, string) (net.Conn, error) { return rig.TryDial("tcp", 0) }
	client.Timeout = testutil.Patience
	client.MaxIdleConns = 20
	defer client.Close()
	check := func(err, want error) {
		t.Helper()
		if !errors.Is(err, want) {
			t.Errorf("got %v, want %v", err, want)
		}
	}
	check(client.Ping(), nil)
	check(client.Set(&memcache.Item{Key: "k", Value: []byte("value"), Flags: 77, Expiration: 1000}), nil)
	it, err := client.Get("k")
	check(err, nil)
	if string(it.Value) != "value" || it.Flags != 77 {
		t.Fatalf("%+v", it)
	}
	check(client.Add(&memcache.Item{Key: "k", Value: []byte("x")}), memcache.ErrNotStored)
	check(client.Replace(&memcache.Item{Key: "none", Value: []byte("x")}), memcache.ErrNotStored)
	check(client.Append(&memcache.Item{Key: "k", Value: []byte(">")}), nil)
	check(client.Prepend(&memcache.Item{Key: "k", Value: []byte("<")}), nil)
	check(client.CompareAndSwap(it), memcache.ErrCASConflict)
	it, err = client.Get("k")
	check(err, nil)
	if string(it.Value) != "<value>" {
		t.Errorf("%q", it.Value)
	}
	it.Value = []byte("10")
	check(client.CompareAndSwap(it), nil)
	n, err := client.Increment("k", 90)
	if check(err, nil); n != 100 {
		t.Errorf("incremented to %d", n)
	}
	n, err = client.Decrement("k", 1000)
	if check(err, nil); n != 0 {
		t.Errorf("decremented to %d", n)
	}
	check(client.Touch("k", 10), nil)
	check(client.Touch("none", 10), memcache.ErrCacheMiss)
	_, err = client.GetAndTouch("k", 10)
	check(err, nil)
	check(client.Delete("k"), nil)
	check(client.Delete("k"), memcache.ErrCacheMiss)
	_, err = client.Get("k")
	check(err, memcache.ErrCacheMiss)
	if err := client.Set(&memcache.Item{Key: "big", Value: make([]byte, 2<<20)}); err == nil {
		t.Error("2 MiB were stored")
	}

	const workers, each = 10, 300
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			var keys []string
			for i := range each {
				key := fmt.Sprintf("key-%d-%d", w, i)
				keys = append(keys, key)
				if err := client.Set(&memcache.Item{Key: key, Value: []byte(strings.Repeat(key, i%50))}); err != nil {
					t.Error(err)
					return
				}
			}
			items, err := client.GetMulti(keys)
			if err != nil || len(items) != each {
				t.Errorf("%d of %d keys: %v", len(items), each, err)
				return
			}
			for i, key := range keys {
				if string(items[key].Value) != strings.Repeat(key, i%50) {
					t.Errorf("%s: %.50q", key, items[key].Value)
				}
			}
		})
	}
	wg.Wait()
	check(client.FlushAll(), nil)
	_, err = client.Get("key-0-0")
	check(err, memcache.ErrCacheMiss)
}
