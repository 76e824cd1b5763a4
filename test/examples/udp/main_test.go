package main

import (
	"testing"
	"time"

	"shardnet/socketapi"
	"shardnet/test/examples/internal/setup"
)

func TestCapitals(t *testing.T) {
	server, client := setup.Pair(t)
	if _, err := socketapi.HandlePacket(server, "udp", ":7", capitals{}); err != nil {
		t.Fatal(err)
	}
	c, err := socketapi.Dial(client, "udp", setup.ServerIP+":7")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(10 * time.Second))
	if _, err := c.Write([]byte("hello")); err != nil {
		t.Fatal(err)
	}
	answer := make([]byte, 100)
	if n, err := c.Read(answer); string(answer[:n]) != "HELLO" || err != nil {
		t.Errorf("answer is %q, %v", answer[:n], err)
	}
}
