// Package cli is the command line of shardnet: its commands and flags, and how
// they become the configurations of packages runner, demo and doctor.
//
// Whatever goes wrong is one line on standard error, "shardnet: ..." with what to
// do about it, and exit code 1.
package cli
