package wiretest

import (
	"bytes"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"

	"shardnet/driver"
)

// UDPFrame is a UDP datagram over IPv4 with a payload of size bytes.
func UDPFrame(t testing.TB, src, dst net.HardwareAddr, from, to string, size int) []byte {
	t.Helper()
	ip := &layers.IPv4{
		Version: 4, TTL: 64, Protocol: layers.IPProtocolUDP,
		SrcIP: netip.MustParseAddr(from).AsSlice(), DstIP: netip.MustParseAddr(to).AsSlice(),
	}
	udp := &layers.UDP{SrcPort: 40000, DstPort: 7}
	if err := udp.SetNetworkLayerForChecksum(ip); err != nil {
		t.Fatal(err)
	}
	payload := make([]byte, size)
	for i := range payload {
		payload[i] = byte(i)
	}
	buf := gopacket.NewSerializeBuffer()
	err := gopacket.SerializeLayers(buf, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true},
		&layers.Ethernet{SrcMAC: src, DstMAC: dst, EthernetType: layers.EthernetTypeIPv4}, ip, udp, gopacket.Payload(payload))
	if err != nil {
		t.Fatal(err)
	}
	return bytes.Clone(buf.Bytes())
}

// Transmit sends one frame and flushes.
func Transmit(t testing.TB, q driver.Queue, frame []byte) {
	t.Helper()
	fs := make([]driver.Frame, 1)
	if q.Alloc(fs) != 1 {
		t.Fatal("no frame to send in")
	}
	fs[0].Data = append(fs[0].Data, frame...)
	if n, err := q.Transmit(fs); n != 1 || err != nil {
		t.Fatalf("Transmit takes %d: %v", n, err)
	}
	if err := q.Flush(); err != nil {
		t.Fatal(err)
	}
}

// ReceiveOne waits for a frame and returns a copy.
func ReceiveOne(t testing.TB, q driver.Queue) []byte {
	t.Helper()
	fs := make([]driver.Frame, 1)
	for end := time.Now().Add(5 * time.Second); time.Now().Before(end); {
		n, err := q.Receive(fs)
		if err != nil {
			t.Fatal(err)
		}
		if n == 1 {
			data := bytes.Clone(fs[0].Data)
			q.Release(fs)
			return data
		}
		if err := q.Wait(100 * time.Millisecond); err != nil {
			t.Fatal(err)
		}
	}
	t.Fatal("nothing received within 5 s")
	return nil
}
