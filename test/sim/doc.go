// Package sim holds the simulations of TCP: hosts in memory, joined by package
// memnic through package fault, under a clock that is moved to whatever comes next.
// A host is an engine of stack/tcp, or gVisor's netstack; hours pass in
// milliseconds, and equal seeds give equal runs, netstack's included.
//
//	go test ./test/sim                            the golden table, and a few dozen seeds
//	go test ./test/sim -run TestMatrix -update    writes the table anew
//	SHARDNET_SEEDS=10000 go test ./test/sim -run TestSeeds -timeout 1h
//
// testdata/matrix.md is the table: what a transfer takes over paths of several round
// trips, losses and bottlenecks, between any two of the TCPs. A change to the engine
// that changes it is to be looked at, and committed with it.
package sim
