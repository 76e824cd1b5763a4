// Package echo sends back what it is sent, over TCP (RFC 862) and over UDP.
//
// It takes listeners and packet connections, and asks no more of them than
// package net's interfaces promise, so it runs on the kernel's sockets as well
// as on shardnet's. A connection has a goroutine and a pooled buffer; a request
// allocates nothing.
//
//	srv := echo.NewServer()
//	l, err := net.Listen("tcp", "127.0.0.1:7007")
//	if err != nil {
//		return err
//	}
//	go srv.ServeTCP(l)
//	...
//	err = srv.Shutdown(ctx)
//
// On shardnet's event API the same service needs neither goroutines nor buffers:
//
//	es, err := socketapi.Handle(st, "tcp", ":7", srv.Handler())
//	if err != nil {
//		return err
//	}
//	defer es.Close()
//
// Anybody who can forge a source address can make a UDP echo service send to
// somebody else, another echo service even: on an open network, filter. The
// service never sends more bytes than it got.
package echo
