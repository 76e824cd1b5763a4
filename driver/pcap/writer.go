package pcap

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"runtime"
	"time"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
	"github.com/google/gopacket/pcapgo"

	"shardnet/driver"
)

// Enhanced packet blocks and their options.
// Source: draft-ietf-opsawg-pcapng, sections 3.5 and 4.3.
const (
	blockTypeEPB = 6
	optEPBFlags  = 2
	// flagsLen is what the flags option adds to a block: code, length and four
	// bytes of value, then the end of options.
	flagsLen = 12
)

// writer writes pcapng blocks. It leaves the format to pcapgo.NgWriter, which
// can't say one thing: the direction of a packet. So NgWriter writes
// each packet block to memory, and the option is put in before the block's
// trailing length on the way out.
type writer struct {
	out   *bufio.Writer
	ng    *pcapgo.NgWriter
	block bytes.Buffer
	tail  [flagsLen + 4]byte
	start time.Time
}

// newWriter writes the section header and one interface a queue, down to w.
func newWriter(w io.Writer, info driver.Info, snapLen int, start time.Time) (*writer, error) {
	pw := &writer{out: bufio.NewWriterSize(w, 64<<10), start: start}
	for i := range info.Queues {
		intf := pcapgo.NgInterface{
			Name:        fmt.Sprintf("shard %d", i),
			Description: fmt.Sprintf("%s %s queue %d (%s)", info.Driver, info.Interface, i, info.Mode),
			OS:          runtime.GOOS,
			LinkType:    layers.LinkTypeEthernet,
			SnapLength:  uint32(snapLen),
		}
		var err error
		if i == 0 {
			pw.ng, err = pcapgo.NewNgWriterInterface(&pw.block, intf, pcapgo.NgWriterOptions{
				SectionInfo: pcapgo.NgSectionInfo{
					Hardware:    runtime.GOARCH,
					OS:          runtime.GOOS,
					Application: "shardnet",
				},
			})
		} else {
			_, err = pw.ng.AddInterface(intf)
		}
		if err != nil {
			return nil, err
		}
	}
	if err := pw.copyBlocks(); err != nil {
		return nil, err
	}
	return pw, pw.out.Flush()
}

// copyBlocks sends on what NgWriter wrote, as it is.
func (pw *writer) copyBlocks() error {
	if err := pw.ng.Flush(); err != nil {
		return err
	}
	_, err := pw.block.WriteTo(pw.out)
	return err
}

// packet writes one enhanced packet block for queue i.
func (pw *writer) packet(i int, rec record) error {
	err := pw.ng.WritePacket(gopacket.CaptureInfo{
		Timestamp:      time.Unix(0, rec.time),
		CaptureLength:  len(rec.data),
		Length:         int(rec.wire),
		InterfaceIndex: i,
	}, rec.data)
	if err != nil {
		return err
	}
	if err := pw.ng.Flush(); err != nil {
		return err
	}
	b := pw.block.Bytes()
	defer pw.block.Reset()
	le := binary.LittleEndian
	if len(b) < 32 || le.Uint32(b) != blockTypeEPB || int(le.Uint32(b[4:])) != len(b) {
		return fmt.Errorf("pcapgo wrote something other than one packet block (%d bytes)", len(b))
	}
	total := uint32(len(b) + flagsLen)
	le.PutUint32(b[4:], total)
	le.PutUint16(pw.tail[0:], optEPBFlags)
	le.PutUint16(pw.tail[2:], 4)
	le.PutUint32(pw.tail[4:], uint32(rec.dir))
	le.PutUint32(pw.tail[8:], 0) // opt_endofopt
	le.PutUint32(pw.tail[12:], total)
	if _, err := pw.out.Write(b[:len(b)-4]); err != nil {
		return err
	}
	_, err = pw.out.Write(pw.tail[:])
	return err
}

// statistics writes the interface statistics block of queue i.
func (pw *writer) statistics(i int, c Counts, now time.Time) error {
	err := pw.ng.WriteInterfaceStats(i, pcapgo.NgInterfaceStatistics{
		LastUpdate:      now,
		StartTime:       pw.start,
		EndTime:         now,
		PacketsReceived: c.Written + c.Lost,
		PacketsDropped:  c.Lost,
	})
	if err != nil {
		return err
	}
	return pw.copyBlocks()
}

func (pw *writer) flush() error { return pw.out.Flush() }
