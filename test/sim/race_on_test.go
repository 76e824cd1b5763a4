//go:build race

package sim

// raceEnabled makes the tests that move much move less, and those that judge by
// time not judge.
const raceEnabled = true
