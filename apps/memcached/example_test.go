package memcached_test

import (
	"context"
	"fmt"
	"net"
	"time"

	"shardnet/apps/memcached"
)

// A server on a kernel socket; a group of shardnet's listeners is served alike.
func Example() {
	store, err := memcached.NewStore(&memcached.StoreConfig{MemoryLimit: 16 << 20})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer store.Close()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		fmt.Println(err)
		return
	}
	srv := memcached.NewServer(store, nil)
	ended := make(chan error, 1)
	go func() { ended <- srv.ServeTCP(l) }()

	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Fprint(c, "set greeting 0 0 5\r\nhello\r\n")
	reply := make([]byte, 100)
	n, err := c.Read(reply)
	fmt.Printf("%q %v\n", reply[:n], err)
	c.Close()

	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	fmt.Println(srv.Shutdown(ctx))
	fmt.Println(<-ended)
	// Output:
	// "STORED\r\n" <nil>
	// <nil>
	// server closed
}

// A session needs no connection: it is given what has arrived, in pieces as they
// come, and is given again what it could not use yet.
func ExampleSession() {
	store, err := memcached.NewStore(nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer store.Close()
	s := memcached.NewServer(store, nil).NewSession()
	defer s.Close()

	var waiting, out []byte
	for _, piece := range []string{"set k 0 0 ", "11\r\nhello", " world\r\nge", "t k\r\nquit\r\n"} {
		waiting = append(waiting, piece...)
		n, more, done := s.Process(waiting, out[:0])
		waiting, out = waiting[n:], more
		fmt.Printf("%d bytes used, reply %q, done %v\n", n, out, done)
	}
	// Output:
	// 0 bytes used, reply "", done false
	// 19 bytes used, reply "", done false
	// 8 bytes used, reply "STORED\r\n", done false
	// 13 bytes used, reply "VALUE k 0 11\r\nhello world\r\nEND\r\n", done true
}
