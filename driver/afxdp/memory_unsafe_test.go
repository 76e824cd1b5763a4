package afxdp

import (
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"shardnet/driver/internal/xskqueue"
)

func TestAlignedMemory(t *testing.T) {
	page := uintptr(unix.Getpagesize())
	for range 20 {
		b := alignedMemory(3 * 2048)
		if uintptr(unsafe.Pointer(&b[0]))%page != 0 || len(b) != 3*2048 || cap(b) != len(b) {
			t.Fatalf("memory at %p, %d bytes", &b[0], len(b))
		}
		if xskqueue.OffsetIn(b, b[2048:4096]) != 2048 || xskqueue.OffsetIn(b, make([]byte, 10)) != -1 || xskqueue.OffsetIn(b, nil) != -1 {
			t.Fatal("offsets in memory are wrong")
		}
	}
}
