//go:build race

package soak

// raceEnabled says that the race detector keeps books, whose memory says nothing of ours.
const raceEnabled = true
