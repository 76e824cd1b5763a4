//go:build race

package testutil

// RaceEnabled is whether the race detector is at work. It slows the data path by an
// order of magnitude and allocates, so tests then move less, and do not judge by time
// or allocations.
const RaceEnabled = true
