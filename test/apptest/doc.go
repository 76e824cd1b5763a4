// Package apptest serves an app in each of the ways it can be served, so that what
// is tested of one is tested of all: on the kernel's sockets, on shardnet's sockets
// behind package net's interfaces, and on shardnet's event API, these two by
// netstack's TCP and by the shard's own. shardnet's are on two shards and a cable in
// memory.
//
// It is for the apps' tests:
//
//	apptest.Each(t, func(t *testing.T, api apptest.API) {
//		rig := api.Serve(t, echo.NewServer())
//		c := rig.Dial(t, "tcp")
//		...
//	})
package apptest
