// Package xskwait puts the owner of an AF_XDP socket to sleep until the socket has
// received something, and wakes it from other goroutines. Package xskqueue uses it for
// both AF_XDP drivers.
//
//	w, err := xskwait.New(file, received) // received looks at the RX ring
//	...
//	woken, err := w.Wait(d) // the owner
//	w.Wake()                // anybody
//
// It knows of the socket only that it can be polled, and of time only what the
// caller says: how long to sleep, when to look whether the interface is still
// there, is the driver's to decide.
package xskwait
