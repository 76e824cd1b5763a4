package socketapi_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/netip"

	"shardnet/driver"
	"shardnet/driver/memnic"
	"shardnet/socketapi"
	"shardnet/stack"
)

// A server with one goroutine for each shard, which accepts what its shard owns.
func ExampleListen() {
	server, client := twoStacks()
	defer server.Close()
	defer client.Close()

	g, err := socketapi.Listen(server, "tcp", ":7")
	if err != nil {
		log.Fatal(err)
	}
	defer g.Close()
	for i := range g.Len() {
		go func() {
			for {
				c, err := g.Listener(i).Accept()
				if err != nil {
					return
				}
				go func() {
					defer c.Close()
					io.Copy(c, c)
				}()
			}
		}()
	}

	c, err := socketapi.Dial(client, "tcp", "198.18.0.1:7")
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	fmt.Fprintln(c, "hello")
	line, err := bufio.NewReader(c).ReadString('\n')
	fmt.Printf("%q %v\n", line, err)
	// Output: "hello\n" <nil>
}

// A web server that knows nothing of shards, and a client on another stack.
func ExampleGroup() {
	server, client := twoStacks()
	defer server.Close()
	defer client.Close()

	g, err := socketapi.Listen(server, "tcp", ":80")
	if err != nil {
		log.Fatal(err)
	}
	srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "you asked %v", r.Context().Value(http.LocalAddrContextKey))
	})}
	go srv.Serve(g)
	defer srv.Close()

	dialer := &socketapi.Dialer{Stack: client}
	transport := &http.Transport{DialContext: dialer.DialContext}
	defer transport.CloseIdleConnections()
	resp, err := (&http.Client{Transport: transport}).Get("http://[2001:db8::1]/")
	if err != nil {
		log.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	fmt.Printf("%s %v\n", body, err)
	// Output: you asked [2001:db8::1]:80 <nil>
}

// A UDP service with one socket on each shard, without an allocation a datagram.
func ExampleListenPacket() {
	server, client := twoStacks()
	defer server.Close()
	defer client.Close()

	g, err := socketapi.ListenPacket(server, "udp", "198.18.0.1:7")
	if err != nil {
		log.Fatal(err)
	}
	defer g.Close()
	for i := range g.Len() {
		go func() {
			c, buf := g.PacketConn(i), make([]byte, 2048)
			for {
				n, from, err := c.ReadFromUDPAddrPort(buf)
				if err != nil {
					return
				}
				c.WriteToUDPAddrPort(buf[:n], from)
			}
		}()
	}

	c, err := socketapi.DialContext(context.Background(), client, "udp", "198.18.0.1:7")
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	c.Write([]byte("ping"))
	buf := make([]byte, 16)
	n, err := c.Read(buf)
	fmt.Printf("%s %v\n", buf[:n], err)
	// Output: ping <nil>
}

// twoStacks returns stacks at the two ends of a cable in memory: one of two shards
// at 198.18.0.1 and 2001:db8::1, one of a single shard at .2 and ::2. On a NIC,
// the device would come from package afxdp.
func twoStacks() (server, client *stack.Stack) {
	a, b, err := memnic.NewPair(&memnic.Config{A: memnic.End{Queues: 2}})
	if err != nil {
		log.Fatal(err)
	}
	start := func(dev driver.Device, addresses ...string) *stack.Stack {
		var cfg stack.Config
		for _, a := range addresses {
			cfg.Addresses = append(cfg.Addresses, netip.MustParsePrefix(a))
		}
		st, err := stack.New(dev, &cfg)
		if err != nil {
			log.Fatal(err)
		}
		return st
	}
	return start(a, "198.18.0.1/24", "2001:db8::1/64"), start(b, "198.18.0.2/24", "2001:db8::2/64")
}
