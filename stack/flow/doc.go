// Package flow is the contract between the stack and package socketapi: sockets that
// never block, and the tasks and handlers that a shard's loop runs for them. It holds no
// code of the stack; a fake of it needs no network.
//
// Each socket belongs to one shard. Whoever may call its methods, and with which locks
// held its functions are called, is said at each.
package flow
