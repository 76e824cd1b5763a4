// Package wiretest sends and receives single frames, for the drivers' own tests.
// It is linked into tests alone.
package wiretest
