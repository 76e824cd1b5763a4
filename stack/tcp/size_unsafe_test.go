package tcp

import (
	"testing"
	"unsafe"
)

// TestSizes holds what a connection costs. With the flow table at its fullest an idle
// one takes the Conn and 10.7 to 21.3 bytes of table.
func TestSizes(t *testing.T) {
	for _, tc := range []struct {
		name      string
		size, max uintptr
	}{
		{"Conn", unsafe.Sizeof(Conn{}), 512},
		{"sentSegment", unsafe.Sizeof(sentSegment{}), segCost},
		{"timeWait", unsafe.Sizeof(timeWait{}), 80},
		{"oooRange", unsafe.Sizeof(oooRange{}), 40},
		{"slot", unsafe.Sizeof(slot{}), 8},
	} {
		t.Logf("%s: %d bytes", tc.name, tc.size)
		if tc.size > tc.max {
			t.Errorf("%s has %d bytes, want at most %d", tc.name, tc.size, tc.max)
		}
	}
	if unsafe.Sizeof(Conn{}) > connCost {
		t.Errorf("the budget counts %d bytes for a connection of %d", connCost, unsafe.Sizeof(Conn{}))
	}
}
