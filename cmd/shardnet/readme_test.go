package main

import (
	"bytes"
	"net/http"
	"net/netip"
	"os"
	"strings"
	"testing"

	"shardnet/driver/afxdp"
	"shardnet/socketapi"
	"shardnet/stack"
)

// serveHTTP is the README's example, between the two marks.
func serveHTTP(handler http.Handler) error {
	// README begins
	dev, err := afxdp.Open(&afxdp.Config{
		Interface: "eth1",
		Addresses: []netip.Prefix{netip.MustParsePrefix("198.18.0.2/24")},
	})
	if err != nil {
		return err
	}
	st, err := stack.New(dev, nil) // on the addresses that the device redirects
	if err != nil {
		return err
	}
	defer st.Close()

	g, err := socketapi.Listen(st, "tcp", ":80")
	if err != nil {
		return err
	}
	return http.Serve(g, handler) // or one http.Serve(g.Listener(i), handler) for each of g.Len() shards
	// README ends
}

// The README's second example, between the two marks.

// README events begins

type shout struct{ socketapi.NopHandler }

func (shout) OnData(c *socketapi.EventConn, data []byte) (consumed int) {
	lines := bytes.LastIndexByte(data, '\n') + 1 // whole ones; the rest comes again, with more
	n, _ := c.Write(bytes.ToUpper(data[:lines]))
	return n // fewer if the peer reads too slowly: what is left comes again when it did
}

// README events ends

// TestREADME keeps the README's examples those that compile here.
func TestREADME(t *testing.T) {
	_ = serveHTTP
	_ = shout{}
	src, err := os.ReadFile("readme_test.go")
	if err != nil {
		t.Fatal(err)
	}
	var examples []string
	for _, mark := range []string{"\t// README", "// README events"} {
		_, code, _ := strings.Cut(string(src), "\n"+mark+" begins\n")
		code, _, _ = strings.Cut(code, mark+" ends\n")
		var example strings.Builder
		indent := mark[:strings.Index(mark, "/")]
		for line := range strings.Lines(strings.Trim(code, "\n")) {
			example.WriteString(strings.TrimPrefix(line, indent))
		}
		examples = append(examples, example.String())
	}
	readme, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, example := range examples {
		if len(example) < 100 || !strings.Contains(string(readme), "```go\n"+example+"\n```\n") {
			t.Errorf("the README's example is not:\n%s", example)
		}
	}
}
