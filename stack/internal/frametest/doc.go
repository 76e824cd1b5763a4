// Package frametest builds the frames that tests of the stack feed it. gopacket makes them, so
// that what reads and writes headers here is checked by another's idea of them.
//
// The frames go from 198.18.0.1 to 198.18.0.2, or from 2001:db8::1 to 2001:db8::2, and from
// SrcMAC to DstMAC; TCP and UDP come from port 1234.
package frametest
