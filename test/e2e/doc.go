// Package e2e holds the tests that cross packages: the whole stack over AF_XDP on
// a veth pair, with the kernel on the other end, in network namespaces of their
// own. They need root and skip, by name, without it.
package e2e
