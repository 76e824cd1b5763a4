// Package memcached is a cache server that speaks memcached's text protocol,
// meta commands included, over TCP and over UDP.
//
// It takes listeners and packet connections, and asks no more of them than
// package net's interfaces promise, so it runs on the kernel's sockets as well
// as on shardnet's:
//
//	store, err := memcached.NewStore(nil)
//	if err != nil {
//		return err
//	}
//	defer store.Close()
//	srv := memcached.NewServer(store, nil)
//	l, err := net.Listen("tcp", "127.0.0.1:11211")
//	if err != nil {
//		return err
//	}
//	go srv.ServeTCP(l)
//	...
//	err = srv.Shutdown(ctx)
//
// On shardnet's event API it needs no goroutine, and neither buffers nor a Session
// for a connection that is idle:
//
//	es, err := socketapi.Handle(st, "tcp", ":11211", srv.Handler())
//	if err != nil {
//		return err
//	}
//	defer es.Close()
//
// # Parts
//
// A [Store] holds the items. It is cut into shards by a hash of the key; a shard
// has a lock, an arena of memory, an index and an LRU list of its own, and
// nothing is locked for all. Items live in the arena, in large pieces without
// pointers, and are named by numbers: the garbage collector has nothing to do
// with them however many there are, storing one allocates nothing, and what an
// item costs is known to the byte (at the top of arena.go is how). A map of
// pointers to items would make every collection walk the whole cache, and let
// the heap grow to a multiple of what it holds.
//
// A [Session] is one conversation: an incremental parser that runs commands and
// appends replies to a buffer. It does no I/O, so the same code serves a
// goroutine with a blocking connection and an event loop that has bytes for the
// time of a call.
//
// A [Server] is the goroutines, one for each connection, or the callbacks. It reads what there
// is, has the session answer all of it, and sends the replies in one write.
//
// # Compatibility
//
// Replies are, byte for byte, those of memcached 1.6.18, which the tests run side
// by side with this; also where its reading of numbers, or its order of checks,
// is peculiar. As there, a key is any 250 bytes without space, line feed and zero.
// Known differences:
//
//   - A line that is no get and longer than 2048 bytes is answered with an error
//     before the connection is closed. memcached closes it without, or accepts it,
//     depending on how it arrives. gat may be as long as get.
//   - In a get longer than that, the keys before one that is too long are answered.
//   - TTLs that have passed already are shown as 0 by mg; memcached shows them as
//     4294967295 or so. A delayed flush_all leaves items alone until it is due.
//   - A UDP request in several datagrams is told so (as by memcached up to 1.6.7);
//     the replies to one request make one message, however many commands it has.
//   - Not there: the binary protocol, SASL, slab and LRU tuning, lru_crawler,
//     watch, stats detail, cachedump and conns, extstore, the proxy.
//
// While a value arrives its memory is reserved within the limit, as in
// memcached; so connections that begin many large values and do not finish them
// can fill the cache. UDP lets anybody who forges a source address have long
// replies sent to somebody else: serve it to known clients only.
package memcached
