package socketapi_test

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"log"
	"strings"
	"time"

	"shardnet/socketapi"
)

// echo sends back what it gets. It has no state at all.
type echo struct{ socketapi.NopHandler }

// OnData takes what there is room for; the rest comes again when there is more.
func (echo) OnData(c *socketapi.EventConn, data []byte) int {
	n, _ := c.Write(data)
	return n
}

// OnPacket answers in the frame that the datagram came in.
func (echo) OnPacket(p *socketapi.Packet) { p.Reply(p.Data) }

// An echo server without a goroutine for a connection or a socket: TCP and UDP.
func ExampleHandle() {
	server, client := twoStacks()
	defer server.Close()
	defer client.Close()

	if _, err := socketapi.Handle(server, "tcp", ":7", echo{}); err != nil {
		log.Fatal(err)
	}
	if _, err := socketapi.HandlePacket(server, "udp", ":7", echo{}); err != nil {
		log.Fatal(err)
	}

	for _, network := range []string{"tcp", "udp"} {
		c, err := socketapi.Dial(client, network, "198.18.0.1:7")
		if err != nil {
			log.Fatal(err)
		}
		defer c.Close()
		c.Write([]byte("hello"))
		got := make([]byte, 5)
		_, err = io.ReadFull(c, got)
		fmt.Printf("%s: %q %v\n", network, got, err)
	}
	// Output:
	// tcp: "hello" <nil>
	// udp: "hello" <nil>
}

// greeter speaks a protocol of lines. What takes long runs off the shard, and a
// peer that says nothing for a minute is closed.
type greeter struct{ socketapi.NopHandler }

// visit is what the greeter keeps of a connection.
type visit struct {
	idle   *socketapi.EventTimer
	asking bool // an answer is being looked for
}

const patience = time.Minute

func (greeter) OnOpen(c *socketapi.EventConn) {
	c.SetValue(&visit{idle: c.AfterFunc(patience, (*socketapi.EventConn).Close)})
	c.Write([]byte("who are you?\n"))
}

func (greeter) OnData(c *socketapi.EventConn, data []byte) (consumed int) {
	v := c.Value().(*visit)
	v.idle.Reset(patience)
	for !v.asking { // one at a time, so that answers keep the order of the questions
		line, _, whole := bytes.Cut(data[consumed:], []byte("\n"))
		if !whole {
			break // the rest of the line comes later, and this part with it
		}
		consumed += len(line) + 1
		if string(line) == "quit" {
			c.Close()
			break
		}
		name := string(line) // data is not valid off the shard
		v.asking = true
		c.Go(func() func(*socketapi.EventConn) {
			greeting := lookUp(name)
			return func(c *socketapi.EventConn) {
				v.asking = false
				c.Write(greeting)
			}
		})
	}
	return consumed
}

// lookUp stands for a database.
func lookUp(name string) []byte { return []byte("hello, " + name + "\n") }

// A protocol of lines: partial requests, work that blocks, and a timeout.
func ExampleHandler() {
	server, client := twoStacks()
	defer server.Close()
	defer client.Close()

	s, err := socketapi.Handle(server, "tcp", ":7", greeter{})
	if err != nil {
		log.Fatal(err)
	}
	defer s.Close()

	c, err := socketapi.Dial(client, "tcp", "198.18.0.1:7")
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	for _, part := range []string{"Ad", "a\nGra", "ce\n", "quit\n"} {
		io.Copy(c, strings.NewReader(part))
	}
	for lines := bufio.NewScanner(c); lines.Scan(); {
		fmt.Println(lines.Text())
	}
	// Output:
	// who are you?
	// hello, Ada
	// hello, Grace
}
