//go:build race

package e2e

// raceEnabled makes the tests that move much data move less.
const raceEnabled = true
