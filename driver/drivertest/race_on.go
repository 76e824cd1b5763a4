//go:build race

package drivertest

// underRace says that the race detector is at work, which slows the data path by
// an order of magnitude.
const underRace = true
