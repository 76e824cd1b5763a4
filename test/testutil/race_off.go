//go:build !race

package testutil

// RaceEnabled is whether the race detector is at work: see race_on.go.
const RaceEnabled = false
