// Package soak holds the tests that go on for as long as they are given: two stacks
// on a cable, connections of all kinds opened and closed from both sides at once,
// over and over, and stacks closed in the midst of it. What they look for comes with
// time: memory, frames and goroutines that are not given back, and conversations that
// hang.
//
// In an ordinary run they take a few seconds. With SHARDNET_SOAK set, as "make soak"
// has it, they take SHARDNET_SOAK_TIME, 10m if that is not set.
package soak
