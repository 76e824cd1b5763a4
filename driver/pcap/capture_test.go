package pcap

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
	"github.com/google/gopacket/pcapgo"

	"shardnet/driver"
	"shardnet/driver/memnic"
)

// packet builds a UDP packet with valid checksums. n tells packets apart, and
// makes them of different lengths.
func packet(t testing.TB, n int) []byte {
	t.Helper()
	addr := func(s string) net.IP { return netip.MustParseAddr(s).AsSlice() }
	ip := &layers.IPv4{
		Version: 4, TTL: 64, Protocol: layers.IPProtocolUDP,
		SrcIP: addr("198.18.0.1"), DstIP: addr("198.18.0.2"),
	}
	udp := &layers.UDP{SrcPort: layers.UDPPort(40000 + n%20000), DstPort: 7}
	if err := udp.SetNetworkLayerForChecksum(ip); err != nil {
		t.Fatal(err)
	}
	payload := strings.Repeat(strconv.Itoa(n)+" ", 8+n%50)
	buf := gopacket.NewSerializeBuffer()
	err := gopacket.SerializeLayers(buf, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true},
		&layers.Ethernet{
			SrcMAC: net.HardwareAddr{2, 0, 0, 0, 0, 1}, DstMAC: net.HardwareAddr{2, 0, 0, 0, 0, 2},
			EthernetType: layers.EthernetTypeIPv4,
		}, ip, udp, gopacket.Payload(payload))
	if err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

// pair returns a captured device and the other end of its cable. The capture is
// the caller's to close.
func pair(t testing.TB, cfg *memnic.Config, w io.Writer, opts *Options) (*Device, driver.Device) {
	t.Helper()
	a, b, err := memnic.NewPair(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.Close() })
	d, err := Wrap(a, w, opts)
	if err != nil {
		a.Close()
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	return d, b
}

// send transmits frames on q, all of which must be taken.
func send(t testing.TB, q driver.Queue, frames ...[]byte) {
	t.Helper()
	fs := make([]driver.Frame, len(frames))
	if n := q.Alloc(fs); n != len(fs) {
		t.Fatalf("Alloc gives %d of %d frames", n, len(fs))
	}
	for i, f := range frames {
		fs[i].Data = append(fs[i].Data, f...)
	}
	if n, err := q.Transmit(fs); n != len(fs) || err != nil {
		t.Fatalf("Transmit takes %d of %d frames: %v", n, len(fs), err)
	}
	if err := q.Flush(); err != nil {
		t.Fatal(err)
	}
}

// receive returns copies of what is in q.
func receive(t testing.TB, q driver.Queue) (frames [][]byte) {
	t.Helper()
	fs := make([]driver.Frame, 16)
	for {
		n, err := q.Receive(fs)
		if err != nil {
			t.Fatal(err)
		}
		if n == 0 {
			return frames
		}
		for _, f := range fs[:n] {
			frames = append(frames, bytes.Clone(f.Data))
		}
		q.Release(fs[:n])
	}
}

// readBack returns the packets of each interface.
func readBack(t testing.TB, r io.Reader) (*pcapgo.NgReader, map[int][][]byte, []gopacket.CaptureInfo) {
	t.Helper()
	ng, err := pcapgo.NewNgReader(r, pcapgo.DefaultNgReaderOptions)
	if err != nil {
		t.Fatal(err)
	}
	packets := make(map[int][][]byte)
	var infos []gopacket.CaptureInfo
	for {
		data, ci, err := ng.ReadPacketData()
		if err == io.EOF {
			return ng, packets, infos
		}
		if err != nil {
			t.Fatalf("read packet %d back: %v", len(infos), err)
		}
		packets[ci.InterfaceIndex] = append(packets[ci.InterfaceIndex], data)
		infos = append(infos, ci)
	}
}

func equalFrames(t testing.TB, what string, got, want [][]byte) {
	t.Helper()
	if len(got) != len(want) {
		t.Errorf("%s: %d frames in the capture, want %d", what, len(got), len(want))
		return
	}
	for i := range got {
		if !bytes.Equal(got[i], want[i]) {
			t.Errorf("%s: frame %d is\n%x, want\n%x", what, i, got[i], want[i])
			return
		}
	}
}

func TestCaptureBothDirections(t *testing.T) {
	const queues = 3
	path := filepath.Join(t.TempDir(), "traffic.pcapng")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	d, peer := pair(t, &memnic.Config{
		A: memnic.End{Queues: queues}, B: memnic.End{Queues: queues},
	}, f, &Options{CloseWriter: true})

	var want [queues][][]byte
	var wantDir [queues][]string
	var received int
	for i := range 300 {
		q := d.Queue(i % queues)
		p := packet(t, i)
		send(t, q, p)
		want[i%queues], wantDir[i%queues] = append(want[i%queues], p), append(wantDir[i%queues], "2")
		send(t, peer.Queue(i%queues), packet(t, 1000+2*i), packet(t, 1001+2*i))
		for k := range queues {
			for _, got := range receive(t, d.Queue(k)) {
				want[k], wantDir[k] = append(want[k], got), append(wantDir[k], "1")
				received++
			}
		}
	}
	if received != 600 {
		t.Fatalf("received %d frames, want 600", received)
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	for i := range queues {
		if got, want := d.Counts(i), (Counts{Written: uint64(len(want[i]))}); got != want {
			t.Errorf("queue %d: counts %+v, want %+v", i, got, want)
		}
	}
	if err := f.Close(); !errors.Is(err, os.ErrClosed) {
		t.Errorf("file is still open after Close")
	}

	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	ng, got, infos := readBack(t, bytes.NewReader(raw))
	if ng.NInterfaces() != queues {
		t.Fatalf("%d interfaces in the capture, want %d", ng.NInterfaces(), queues)
	}
	for i := range queues {
		intf, err := ng.Interface(i)
		if err != nil {
			t.Fatal(err)
		}
		if want := "shard " + strconv.Itoa(i); intf.Name != want || intf.LinkType != layers.LinkTypeEthernet {
			t.Errorf("interface %d is %q of type %v, want %q, Ethernet", i, intf.Name, intf.LinkType, want)
		}
		if s := intf.Statistics; s.PacketsReceived != uint64(len(want[i])) || s.PacketsDropped != 0 {
			t.Errorf("interface %d: statistics %d received, %d dropped, want %d and 0",
				i, s.PacketsReceived, s.PacketsDropped, len(want[i]))
		}
		equalFrames(t, intf.Name, got[i], want[i])
	}
	last := start.Round(0) // without the monotonic reading, as in the file
	for i, ci := range infos {
		if ci.Timestamp.Before(last) {
			t.Errorf("packet %d has time %v, before %v", i, ci.Timestamp, last)
			break
		}
		last = ci.Timestamp
	}
	if end := time.Now().Round(0); last.After(end) {
		t.Errorf("last packet has time %v, the test ends at %v", last, end)
	}
	checkTshark(t, path, got, wantDir[:])
}

// checkTshark holds that Wireshark reads the file without complaint, and sees the
// same packets, in the same order, with their directions.
func checkTshark(t *testing.T, path string, want map[int][][]byte, dirs [][]string) {
	t.Helper()
	if _, err := exec.LookPath("tshark"); err != nil {
		t.Skip("tshark is not installed")
	}
	cmd := exec.Command("tshark", "-r", path, "-T", "fields",
		"-o", "ip.check_checksum:TRUE", "-o", "udp.check_checksum:TRUE",
		"-e", "frame.interface_name", "-e", "frame.packet_flags_direction", "-e", "frame.len",
		"-e", "ip.checksum.status", "-e", "udp.checksum.status", "-e", "udp.payload")
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		t.Fatalf("tshark: %v\n%s", err, &stderr)
	}
	for line := range strings.Lines(stderr.String()) {
		if !strings.HasPrefix(line, "Running as user") {
			t.Errorf("tshark complains: %s", line)
		}
	}
	seen := make([]int, len(want))
	for line := range strings.Lines(stdout.String()) {
		f := strings.Split(strings.TrimSuffix(line, "\n"), "\t")
		if len(f) != 6 {
			t.Fatalf("tshark prints %q, want 6 fields", line)
		}
		i, err := strconv.Atoi(strings.TrimPrefix(f[0], "shard "))
		if err != nil || i >= len(want) || seen[i] >= len(want[i]) {
			t.Fatalf("tshark prints %q: no such packet", line)
		}
		p := want[i][seen[i]]
		dir, err := strconv.ParseInt(strings.TrimPrefix(f[1], "0x"), 16, 32)
		if err != nil || strconv.FormatInt(dir, 10) != dirs[i][seen[i]] {
			t.Fatalf("%s, packet %d: direction %s, want %s", f[0], seen[i], f[1], dirs[i][seen[i]])
		}
		seen[i]++
		payload := fmt.Sprintf("%x", p[42:34+binary.BigEndian.Uint16(p[38:])]) // without Ethernet padding
		if f[2] != strconv.Itoa(len(p)) || f[3] != "1" || f[4] != "1" || f[5] != payload {
			t.Fatalf("%s: tshark sees %v, want length %d, good checksums, payload %s", f[0], f[2:], len(p), payload)
		}
	}
	for i := range seen {
		if seen[i] != len(want[i]) {
			t.Errorf("tshark shows %d packets of shard %d, want %d", seen[i], i, len(want[i]))
		}
	}
}

func TestTransmitPartial(t *testing.T) {
	var out bytes.Buffer
	d, _ := pair(t, &memnic.Config{A: memnic.End{TxRing: 4}}, &out, nil)
	q := d.Queue(0)
	fs := make([]driver.Frame, 10)
	if n := q.Alloc(fs); n != len(fs) {
		t.Fatalf("Alloc gives %d frames", n)
	}
	var want [][]byte
	for i := range fs {
		if i == 1 {
			continue // an empty frame: taken, not sent, not captured
		}
		p := packet(t, i)
		fs[i].Data = append(fs[i].Data, p...)
		want = append(want, p)
	}
	n, err := q.Transmit(fs)
	if n != 5 || err != nil {
		t.Fatalf("Transmit takes %d: %v, want the 4 the ring holds and the empty one", n, err)
	}
	if err := q.Flush(); err != nil {
		t.Fatal(err)
	}
	// The rest later, in an order of its own, so that what was staged for them
	// before shows if it is still there.
	fs[5], fs[9] = fs[9], fs[5]
	want[4], want[8] = want[8], want[4]
	if n, err := q.Transmit(fs[5:8]); n != 3 || err != nil {
		t.Fatalf("Transmit takes %d: %v, want 3", n, err)
	}
	q.Release(fs[8:])
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	_, got, _ := readBack(t, &out)
	equalFrames(t, "shard 0", got[0], want[:7])
	if c := d.Counts(0); c != (Counts{Written: 7}) {
		t.Errorf("counts are %+v, want 7 written, none lost", c)
	}
}

func TestSnapLen(t *testing.T) {
	var out bytes.Buffer
	d, _ := pair(t, nil, &out, &Options{SnapLen: 42})
	p := packet(t, 1)
	send(t, d.Queue(0), p)
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	ng, got, infos := readBack(t, &out)
	equalFrames(t, "shard 0", got[0], [][]byte{p[:42]})
	if infos[0].Length != len(p) {
		t.Errorf("length on the wire is %d, want %d", infos[0].Length, len(p))
	}
	if intf, _ := ng.Interface(0); intf.SnapLength != 42 {
		t.Errorf("snap length of the interface is %d, want 42", intf.SnapLength)
	}
}
