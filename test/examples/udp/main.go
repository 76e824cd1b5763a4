// Command udp answers datagrams in capitals, on port 7 of a stack of its own. A
// datagram is answered in the frame that it came in, without a copy and without a
// goroutine.
//
//	go run ./test/examples/udp -i eth1 -a 198.18.0.2/24
//
// Anybody who forges a source address can make a UDP server send to somebody else.
// This one never sends more bytes than it got. On an open network, filter.
package main

import (
	"flag"
	"log"

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
	srv, err := socketapi.HandlePacket(st, "udp", ":7", capitals{})
	if err != nil {
		log.Fatal(err)
	}
	<-srv.Done()
	log.Print(st.Err())
}

// capitals is the handler. All shards call it in parallel, so it has no fields.
type capitals struct{}

// OnPacket answers in place: p.Data is the received frame.
func (capitals) OnPacket(p *socketapi.Packet) {
	for i, b := range p.Data {
		if 'a' <= b && b <= 'z' {
			p.Data[i] = b - 'a' + 'A'
		}
	}
	p.Reply(p.Data)
}
