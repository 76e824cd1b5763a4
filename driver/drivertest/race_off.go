//go:build !race

package drivertest

// underRace: see race_on.go.
const underRace = false
