// Package runner runs one app on a network until it is told to stop: it opens the
// device, starts the stack, listens on every shard, says on one line what is in
// force, and in the end closes everything in order and says what was served.
//
// The network is a NIC (drivers afxdp and asavie), an in-memory cable (mem), or
// the kernel's own sockets (kernel), to compare with. An [App] is the same on all
// of them. Only this process can reach the app on a cable, so there the runner
// asks it itself, from the cable's other end, and ends.
//
// What a person gets wrong is found before anything is opened, if it can be, and
// named in one line: see [Config.Validate].
package runner
