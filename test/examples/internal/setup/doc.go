// Package setup starts the stacks of the examples: on a NIC for the programs, and on a
// cable in memory for their tests.
//
// An example's test takes two stacks from [Pair], serves on one and asks from the
// other. It needs no privilege and no interface. Tests of your own servers can do the
// same.
package setup
