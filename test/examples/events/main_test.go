package main

import (
	"io"
	"testing"

	"shardnet/socketapi"
	"shardnet/test/examples/internal/setup"
)

func TestCapitals(t *testing.T) {
	server, client := setup.Pair(t)
	if _, err := socketapi.Handle(server, "tcp", ":7", capitals{}); err != nil {
		t.Fatal(err)
	}
	c, err := socketapi.Dial(client, "tcp", setup.ServerIP+":7")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for _, part := range []string{"hel", "lo\nwor", "ld\n"} {
		if _, err := io.WriteString(c, part); err != nil {
			t.Fatal(err)
		}
	}
	answer := make([]byte, len("HELLO\nWORLD\n"))
	if _, err := io.ReadFull(c, answer); string(answer) != "HELLO\nWORLD\n" || err != nil {
		t.Errorf("answer is %q, %v", answer, err)
	}
}
