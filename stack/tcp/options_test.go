package tcp

import (
	"net/netip"
	"testing"
)

func testPorts(a netip.Addr) netip.AddrPort { return netip.AddrPortFrom(a, 7) }

func TestParseOptions(t *testing.T) {
	for _, tc := range []struct {
		name string
		b    []byte
		want Options
	}{
		{"none", nil, Options{}},
		{"MSS", []byte{2, 4, 5, 0xb4}, Options{HasMSS: true, MSS: 1460}},
		{"MSS of a wrong length", []byte{2, 3, 5, 1}, Options{}},
		{"odd padding", []byte{1, 1, 1, 2, 4, 5, 0xb4, 1, 0}, Options{HasMSS: true, MSS: 1460}},
		{"scale", []byte{3, 3, 7, 0}, Options{HasScale: true, Scale: 7}},
		{"scale too large", []byte{3, 3, 20, 0}, Options{HasScale: true, Scale: 14}},
		{"timestamps as recommended", []byte{1, 1, 8, 10, 0, 0, 0, 5, 0, 0, 0, 6}, Options{HasTS: true, TSVal: 5, TSEcr: 6}},
		{"timestamps elsewhere", []byte{8, 10, 0, 0, 0, 5, 0, 0, 0, 6, 0, 0}, Options{HasTS: true, TSVal: 5, TSEcr: 6}},
		{"SACK permitted", []byte{4, 2}, Options{SackOK: true}},
		{"SACK", []byte{1, 1, 5, 10, 0, 0, 0, 1, 0, 0, 0, 2}, Options{Blocks: 1, Sack: [4]SackBlock{{1, 2}}}},
		{"SACK of a wrong length", []byte{5, 9, 0, 0, 0, 1, 0, 0, 0}, Options{}},
		{"unknown", []byte{254, 6, 1, 2, 3, 4, 4, 2}, Options{SackOK: true}},
		{"length of zero", []byte{254, 0, 4, 2}, Options{}},
		{"length of one", []byte{254, 1, 4, 2}, Options{}},
		{"length beyond the end", []byte{4, 2, 2, 40}, Options{SackOK: true}},
		{"cut off after the kind", []byte{4, 2, 3}, Options{SackOK: true}},
		{"after the end", []byte{0, 2, 4, 5, 0xb4}, Options{}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got := Options{Blocks: 3, HasTS: true, SackOK: true} // left from another segment
			got.parse(tc.b)
			got.Sack = [4]SackBlock{got.Sack[0]}
			if !got.HasTS {
				got.TSVal, got.TSEcr = 0, 0
			}
			if got != tc.want {
				t.Errorf("parsed %+v, want %+v", got, tc.want)
			}
		})
	}
}

func TestSynOptionsReadBack(t *testing.T) {
	for _, o := range []synOptions{
		{mss: 1460, scale: -1}, {mss: 1460, scale: 7}, {mss: 9000, scale: -1, sackOK: true}, {mss: 1460, scale: 0, sackOK: true},
		{mss: 1460, scale: 14, sackOK: true, ts: true, val: 5, ecr: 6}, {mss: 1460, scale: -1, ts: true, val: 5},
	} {
		b := make([]byte, o.len())
		o.put(b)
		var got Options
		got.parse(b)
		if len(b)%4 != 0 || !got.HasMSS || got.MSS != o.mss || got.HasScale != (o.scale >= 0) || got.HasScale && got.Scale != uint8(o.scale) ||
			got.SackOK != o.sackOK || got.HasTS != o.ts || got.TSVal != o.val || got.TSEcr != o.ecr {
			t.Errorf("%+v reads back as %+v", o, got)
		}
	}
}
