package socketapi

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"
)

// hash is a handler that answers with the length and hash of what it got.
func hash(rw http.ResponseWriter, r *http.Request) {
	h := sha256.New()
	n, err := io.Copy(h, r.Body)
	if err != nil {
		http.Error(rw, err.Error(), http.StatusInternalServerError)
		return
	}
	fmt.Fprintf(rw, "%d %x", n, h.Sum(nil))
}

// TestHTTP serves with one http.Server on the group, and with one on each member,
// with requests small and large over connections that are kept and that are not.
func TestHTTP(t *testing.T) {
	inWorlds(t, 2, func(t *testing.T, w *world) {
		for _, way := range []string{"group", "members"} {
			t.Run(way, func(t *testing.T) {
				g := w.listen(t, "tcp", ":0")
				srv := &http.Server{Handler: http.HandlerFunc(hash), ReadTimeout: 20 * time.Second, WriteTimeout: 20 * time.Second}
				var serving sync.WaitGroup
				serve := func(l net.Listener) {
					serving.Go(func() {
						if err := srv.Serve(l); err != http.ErrServerClosed {
							t.Errorf("Serve: %v", err)
						}
					})
				}
				if way == "group" {
					serve(g)
				} else {
					for i := range g.Len() {
						serve(g.Listener(i))
					}
				}
				client := w.httpClient(t)
				bodies := [][]byte{nil, []byte("small"), make([]byte, 1<<20)}
				rand.NewChaCha8([32]byte{}).Read(bodies[2])
				var asking sync.WaitGroup
				for i := range 12 {
					asking.Go(func() {
						body := bodies[i%len(bodies)]
						host := []string{"198.18.0.1", "[2001:db8::1]"}[i%2]
						req, err := http.NewRequest("POST", "http://"+host+":"+port(g)+"/", bytes.NewReader(body))
						if err != nil {
							t.Error(err)
							return
						}
						req.Close = i%4 == 0
						resp, err := client.Do(req)
						if err != nil {
							t.Error(err)
							return
						}
						defer resp.Body.Close()
						got, err := io.ReadAll(resp.Body)
						if want := fmt.Sprintf("%d %x", len(body), sha256.Sum256(body)); err != nil || string(got) != want {
							t.Errorf("answer %q and %v, want %q", got, err, want)
						}
					})
				}
				asking.Wait()
				client.CloseIdleConnections()
				ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
				defer cancel()
				if err := srv.Shutdown(ctx); err != nil {
					t.Errorf("Shutdown: %v", err)
				}
				serving.Wait()
			})
		}
	})
}

// TestTLS runs HTTP/2 over TLS: many streams on one connection.
func TestTLS(t *testing.T) {
	inWorlds(t, 2, func(t *testing.T, w *world) {
		g := w.listen(t, "tcp", "198.18.0.1:0")
		srv := httptest.NewUnstartedServer(http.HandlerFunc(hash))
		srv.Listener.Close()
		srv.Listener = g
		srv.EnableHTTP2 = true
		srv.StartTLS()
		defer srv.Close()
		client := srv.Client()
		tr := client.Transport.(*http.Transport)
		tr.DialContext = w.httpClient(t).Transport.(*http.Transport).DialContext
		tr.TLSClientConfig.ServerName = "example.com" // whom httptest's certificate is for
		defer client.CloseIdleConnections()
		var wg sync.WaitGroup
		body := make([]byte, 300_000)
		for range 8 {
			wg.Go(func() {
				resp, err := client.Post(srv.URL, "application/octet-stream", bytes.NewReader(body))
				if err != nil {
					t.Error(err)
					return
				}
				defer resp.Body.Close()
				got, err := io.ReadAll(resp.Body)
				if want := fmt.Sprintf("%d %x", len(body), sha256.Sum256(body)); err != nil || string(got) != want || resp.ProtoMajor != 2 {
					t.Errorf("answer %q over %s and %v, want %q over HTTP/2", got, resp.Proto, err, want)
				}
			})
		}
		wg.Wait()
	})
}
