package main

import (
	"bufio"
	"fmt"
	"testing"

	"shardnet/socketapi"
	"shardnet/test/examples/internal/setup"
)

func TestServe(t *testing.T) {
	server, client := setup.Pair(t)
	g, err := socketapi.Listen(server, "tcp", ":7")
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- serve(g) }()

	for range 8 { // on both shards, most likely
		c, err := socketapi.Dial(client, "tcp", setup.ServerIP+":7")
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintln(c, "hello")
		if line, err := bufio.NewReader(c).ReadString('\n'); line != "HELLO\n" || err != nil {
			t.Errorf("answer is %q, %v", line, err)
		}
		c.Close()
	}
	g.Close()
	if err := <-ended; err == nil {
		t.Error("serve ends without an error")
	}
}
