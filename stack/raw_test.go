package stack_test

import (
	"cmp"
	"net"
	"runtime"
	"testing"
	"time"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"

	"shardnet/driver"
	"shardnet/stack"
	"shardnet/stack/drop"
	"shardnet/stack/flow"
	"shardnet/stack/internal/frametest"
)

// rawPeer sits on the other end of the cable with no stack: it sends frames as
// they are given, answers ARP for every address that is asked for, and keeps what
// else arrives. It is used from one goroutine.
type rawPeer struct {
	t    testing.TB
	dev  driver.Device
	to   net.HardwareAddr
	mac  net.HardwareAddr // that it answers ARP with: the device's, unless changed
	rx   []driver.Frame
	got  [][]byte // frames received, ARP aside; the last few
	keep int      // how many those are at most; 0 is 256
	seen int      // how many those were in all
}

func newRawPeer(t testing.TB, dev driver.Device, to net.HardwareAddr) *rawPeer {
	p := &rawPeer{t: t, dev: dev, to: to, mac: dev.Info().MAC, rx: make([]driver.Frame, 64)}
	t.Cleanup(func() { dev.Close() })
	return p
}

// send transmits frame, making room by poll when the ring is full.
func (p *rawPeer) send(frame []byte) {
	q := p.dev.Queue(0)
	var fs [1]driver.Frame
	for try := 0; ; try++ {
		if q.Alloc(fs[:]) == 1 {
			fs[0].Data = append(fs[0].Data[:0], frame...)
			n, err := q.Transmit(fs[:])
			if err != nil {
				p.t.Fatal(err)
			}
			if n == 1 {
				break
			}
			q.Release(fs[:])
		}
		if try > 1000 {
			p.t.Fatal("raw peer can't send")
		}
		p.poll()
	}
	if err := q.Flush(); err != nil {
		p.t.Fatal(err)
	}
}

// poll takes in what has arrived, on every queue.
func (p *rawPeer) poll() {
	for i := range p.dev.Info().Queues {
		q := p.dev.Queue(i)
		for {
			n, err := q.Receive(p.rx)
			if err != nil {
				p.t.Fatal(err)
			}
			if n == 0 {
				break
			}
			var arps [][]byte
			for _, f := range p.rx[:n] {
				b := append([]byte(nil), f.Data...)
				if len(b) >= 42 && b[12] == 8 && b[13] == 6 && b[21] == layers.ARPRequest {
					arps = append(arps, p.arpReply(b))
				} else {
					p.seen++
					p.got = append(p.got, b)
					if keep := cmp.Or(p.keep, 256); len(p.got) > keep {
						p.got = p.got[keep/2:]
					}
				}
			}
			q.Release(p.rx[:n])
			for _, b := range arps {
				p.send(b)
			}
		}
	}
}

// pace lets st take in what was sent, every so often, so that a flood is not lost
// in its RX rings.
func (p *rawPeer) pace(st *stack.Stack, i int) {
	if i%128 != 0 {
		return
	}
	deadline := time.Now().Add(testTimeout)
	for {
		p.poll()
		s := st.Stats()
		if sent := p.dev.Queue(0).Stats().TxPackets; s.RxPackets+s.Queue.RxDropped >= sent && s.HandedIn+s.Drops[drop.HandoverFull] >= s.HandedOut {
			return
		}
		if time.Now().After(deadline) {
			p.t.Fatalf("the stack stands still: %+v", s)
		}
		runtime.Gosched()
	}
}

func (p *rawPeer) arpReply(request []byte) []byte {
	return frameOf(p.t, &layers.Ethernet{SrcMAC: p.dev.Info().MAC, DstMAC: net.HardwareAddr(request[6:12]), EthernetType: layers.EthernetTypeARP},
		&layers.ARP{
			AddrType: layers.LinkTypeEthernet, Protocol: layers.EthernetTypeIPv4, HwAddressSize: 6, ProtAddressSize: 4, Operation: layers.ARPReply,
			SourceHwAddress: p.mac, SourceProtAddress: request[38:42],
			DstHwAddress: request[22:28], DstProtAddress: request[28:32],
		})
}

// await polls until a received frame satisfies ok.
func (p *rawPeer) await(what string, ok func(pkt gopacket.Packet) bool) gopacket.Packet {
	p.t.Helper()
	deadline := time.Now().Add(testTimeout)
	for {
		p.poll()
		for _, b := range p.got {
			pkt := gopacket.NewPacket(b, layers.LayerTypeEthernet, gopacket.Default)
			if ok(pkt) {
				return pkt
			}
		}
		p.got = p.got[:0]
		if time.Now().After(deadline) {
			p.t.Fatalf("%s never came", what)
		}
		runtime.Gosched()
	}
}

func (p *rawPeer) eth(typ layers.EthernetType) *layers.Ethernet {
	return &layers.Ethernet{SrcMAC: p.dev.Info().MAC, DstMAC: p.to, EthernetType: typ}
}

// ping asks for an echo with sequence number seq and waits for the answer: the
// stack lives.
func (p *rawPeer) ping(seq uint16) {
	p.t.Helper()
	ip := &layers.IPv4{Version: 4, TTL: 64, Protocol: layers.IPProtocolICMPv4, SrcIP: clientAddr4.AsSlice(), DstIP: serverAddr4.AsSlice()}
	p.send(frameOf(p.t, p.eth(layers.EthernetTypeIPv4), ip,
		&layers.ICMPv4{TypeCode: layers.CreateICMPv4TypeCode(layers.ICMPv4TypeEchoRequest, 0), Id: 4711, Seq: seq}, gopacket.Payload("are you there?")))
	p.await("echo reply", func(pkt gopacket.Packet) bool {
		r, ok := pkt.Layer(layers.LayerTypeICMPv4).(*layers.ICMPv4)
		return ok && r.TypeCode.Type() == layers.ICMPv4TypeEchoReply && r.Seq == seq && string(r.Payload) == "are you there?"
	})
}

// frameOf builds a frame, lengths and checksums filled in.
func frameOf(t testing.TB, ls ...gopacket.SerializableLayer) []byte {
	t.Helper()
	return frametest.Serialize(t, ls...)
}

// rawServer starts a stack of shards shards with an echo service, and a raw peer
// on its cable.
func rawServer(t testing.TB, shards int) (*stack.Stack, *rawPeer) {
	t.Helper()
	return rawServerOn(t, flow.TransportDefault, shards)
}

func rawServerOn(t testing.TB, tr flow.Transport, shards int) (*stack.Stack, *rawPeer) {
	t.Helper()
	a, b := newBareCable(t, shards, 1) // the guard would slow the floods down tenfold
	cfg := serverConfigOn(tr)
	cfg.Routes = []stack.Route{stack.DefaultRoute(clientAddr4)}
	st := startStack(t, a, cfg)
	return st, newRawPeer(t, b, a.Info().MAC)
}
