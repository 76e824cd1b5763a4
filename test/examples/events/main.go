// Command events answers lines of text in capitals, on port 7 of a stack of its own,
// without a goroutine per connection. Its handler runs on the shards' loops.
//
//	go run ./test/examples/events -i eth1 -a 198.18.0.2/24
package main

import (
	"bytes"
	"flag"
	"log"
	"time"

	"shardnet/socketapi"
	"shardnet/test/examples/internal/setup"
)

// idleTime is how long a peer may say nothing.
const idleTime = time.Minute

func main() {
	iface := flag.String("i", "eth1", "network interface")
	address := flag.String("a", "198.18.0.2/24", "address of the stack")
	flag.Parse()
	st, err := setup.NIC(*iface, *address)
	if err != nil {
		log.Fatal(err)
	}
	defer st.Close()
	srv, err := socketapi.Handle(st, "tcp", ":7", capitals{})
	if err != nil {
		log.Fatal(err)
	}
	<-srv.Done()
	log.Print(st.Err())
}

// capitals is the handler. All shards call it in parallel, so it has no fields: the
// state of a connection is in its Value.
type capitals struct{ socketapi.NopHandler }

// OnOpen starts the timer that closes a connection without requests.
func (capitals) OnOpen(c *socketapi.EventConn) {
	c.SetValue(c.AfterFunc(idleTime, (*socketapi.EventConn).Close))
}

// OnData answers the whole lines in data. The rest of data is offered again when more
// has arrived.
func (capitals) OnData(c *socketapi.EventConn, data []byte) (consumed int) {
	c.Value().(*socketapi.EventTimer).Reset(idleTime)
	whole := data[:bytes.LastIndexByte(data, '\n')+1]
	// If the peer reads too slowly, n is less than len(whole). The rest is offered
	// again when there is room.
	n, _ := c.Write(bytes.ToUpper(whole))
	return n
}
