package rss

// KeySize is the length of a key in bytes: enough for IPv6 addresses and ports
// (36 bytes) and the 32 bits of the hash.
const KeySize = 40

// MicrosoftKey returns the key of Microsoft's verification suite, which many
// NICs have as their default. It is public: whoever may choose the addresses
// and ports of packets can aim them at a queue.
func MicrosoftKey() []byte {
	return []byte{
		0x6d, 0x5a, 0x56, 0xda, 0x25, 0x5b, 0x0e, 0xc2,
		0x41, 0x67, 0x25, 0x3d, 0x43, 0xa3, 0x8f, 0xb0,
		0xd0, 0xca, 0x2b, 0xcb, 0xae, 0x7b, 0x30, 0xb4,
		0x77, 0xcb, 0x2d, 0xa3, 0x80, 0x30, 0xf2, 0x0c,
		0x6a, 0x42, 0xb7, 0x3b, 0xbe, 0xac, 0x01, 0xfa,
	}
}

// SymmetricKey returns a key under which both directions of a flow hash alike
// (Woo and Park, 2012): its 16-bit pattern repeats, so that swapping source and
// destination, whose fields lie multiples of 16 bits apart, changes nothing. It
// leaves 16 bits of entropy in a hash.
func SymmetricKey() []byte {
	key := make([]byte, KeySize)
	for i := 0; i < KeySize; i += 2 {
		key[i], key[i+1] = 0x6d, 0x5a
	}
	return key
}
