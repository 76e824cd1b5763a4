// Command listener answers lines of text in capitals, on port 7 of a stack of its own.
// Each shard has a listener and an accept loop, so the work for a connection stays on
// the connection's core.
//
//	go run ./test/examples/listener -i eth1 -a 198.18.0.2/24
package main

import (
	"bufio"
	"bytes"
	"flag"
	"log"
	"net"

	"shardnet/socketapi"
	"shardnet/test/examples/internal/setup"
)

func main() {
	iface := flag.String("i", "eth1", "network interface")
	address := flag.String("a", "198.18.0.2/24", "address of the stack")
	flag.Parse()
	st, err := setup.NIC(*iface, *address)
	if err != nil {
		log.Fatal(err)
	}
	defer st.Close()
	g, err := socketapi.Listen(st, "tcp", ":7")
	if err != nil {
		log.Fatal(err)
	}
	log.Print(serve(g))
}

// serve runs an accept loop on each shard, and returns the error of the first to end.
func serve(g *socketapi.Group) error {
	ended := make(chan error, g.Len())
	for i := range g.Len() {
		go func() { ended <- acceptLoop(g.Listener(i)) }()
	}
	return <-ended
}

func acceptLoop(l net.Listener) error {
	for {
		c, err := l.Accept()
		if err != nil {
			return err
		}
		go answer(c)
	}
}

func answer(c net.Conn) {
	defer c.Close()
	for lines := bufio.NewScanner(c); lines.Scan(); {
		if _, err := c.Write(append(bytes.ToUpper(lines.Bytes()), '\n')); err != nil {
			return
		}
	}
}
