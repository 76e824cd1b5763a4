//go:build !linux

package stack

import "errors"

func maxCPU() int { return 0 }

func pinThread(int) error { return errors.New("threads can be pinned on Linux only") }

func totalMemory() int64 { return 4 << 30 }
