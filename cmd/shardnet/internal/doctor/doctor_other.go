//go:build !linux

package doctor

import "runtime"

// Host says that AF_XDP is Linux's.
func Host() []Finding {
	return []Finding{{Fail, "system", runtime.GOOS + " has no AF_XDP", "run on Linux, or with --driver mem"}}
}

// Interface finds nothing.
func Interface(string) []Finding { return nil }
