// Command client fetches a page by HTTP over a stack of its own.
//
//	go run ./test/examples/client -i eth1 -a 198.18.0.2/24 http://198.18.0.1/
//
// Host names are not resolved: the URL has a literal address.
package main

import (
	"flag"
	"io"
	"log"
	"net/http"
	"os"
	"time"

	"shardnet/socketapi"
	"shardnet/stack"
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
	if err := fetch(os.Stdout, st, flag.Arg(0)); err != nil {
		log.Print(err)
	}
}

// fetch copies what is at url to w. Connections go out from the stack's shards in
// turn.
func fetch(w io.Writer, st *stack.Stack, url string) error {
	dialer := &socketapi.Dialer{Stack: st, Timeout: 5 * time.Second}
	transport := &http.Transport{DialContext: dialer.DialContext}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport, Timeout: 30 * time.Second}
	resp, err := client.Get(url)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	_, err = io.Copy(w, resp.Body)
	return err
}
