package main

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"shardnet/socketapi"
	"shardnet/test/examples/internal/setup"
)

func TestFetch(t *testing.T) {
	server, client := setup.Pair(t)
	g, err := socketapi.Listen(server, "tcp", ":80")
	if err != nil {
		t.Fatal(err)
	}
	srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "%s to %s", r.URL.Path, r.RemoteAddr[:strings.LastIndexByte(r.RemoteAddr, ':')])
	})}
	go srv.Serve(g)
	defer srv.Close()

	var page strings.Builder
	err = fetch(&page, client, "http://"+setup.ServerIP+"/a/page")
	if want := "/a/page to 198.18.0.2"; page.String() != want || err != nil {
		t.Errorf("page is %q, want %q; %v", page.String(), want, err)
	}
}
