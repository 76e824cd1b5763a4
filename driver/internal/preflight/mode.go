package preflight

import "fmt"

// Mode is how frames pass between NIC and process. Whatever is asked for, what is in force
// is Info().Mode.
type Mode uint8

// The modes. All but Auto are got exactly, or opening fails.
const (
	Auto     Mode = iota // the best there is
	ZeroCopy             // native XDP, the NIC reads and writes the frames
	Copy                 // native XDP, the kernel copies
	Generic              // XDP after the kernel has made its packet; any NIC
)

// String returns the mode's name.
func (m Mode) String() string {
	switch m {
	case Auto:
		return "auto"
	case ZeroCopy:
		return "native zero-copy"
	case Copy:
		return "native copy"
	case Generic:
		return "generic copy"
	}
	return fmt.Sprintf("Mode(%d)", uint8(m))
}
