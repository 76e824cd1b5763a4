package main

import (
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
		Addresses: []netip.Addr{netip.MustParseAddr("198.18.0.2")},
	})
	if err != nil {
		return err
	}
	st, err := stack.New(dev, &stack.Config{
		Addresses: []netip.Prefix{netip.MustParsePrefix("198.18.0.2/24")},
	})
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

// TestREADME keeps the README's example the one that compiles here.
func TestREADME(t *testing.T) {
	_ = serveHTTP
	src, err := os.ReadFile("readme_test.go")
	if err != nil {
		t.Fatal(err)
	}
	_, code, _ := strings.Cut(string(src), "\t// README begins\n")
	code, _, _ = strings.Cut(code, "\t// README ends\n")
	var want strings.Builder
	for line := range strings.Lines(code) {
		want.WriteString(strings.TrimPrefix(line, "\t"))
	}
	readme, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(readme), "```go\n"+want.String()+"```\n") {
		t.Errorf("the README's example is not:\n%s", want.String())
	}
}
