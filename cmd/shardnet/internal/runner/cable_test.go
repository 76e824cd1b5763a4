package runner

import (
	"net/netip"
	"testing"
)

func TestNeighbour(t *testing.T) {
	for _, tc := range []struct {
		addr  string
		taken []string
		want  string // "" is none
	}{
		{"198.18.0.2/24", nil, "198.18.0.1/24"},
		{"198.18.0.1/24", nil, "198.18.0.2/24"},
		{"198.18.0.1/24", []string{"198.18.0.2/24"}, "198.18.0.3/24"},
		{"198.18.0.5/30", nil, "198.18.0.6/30"},
		{"198.18.0.5/30", []string{"198.18.0.6/30"}, ""}, // .4 is the network's, .7 the broadcast
		{"198.18.0.4/31", nil, "198.18.0.5/31"},
		{"198.18.0.2/32", nil, ""},
		{"2001:db8::2/64", nil, "2001:db8::1/64"},
		{"2001:db8::2/127", nil, "2001:db8::3/127"},
		{"2001:db8::2/128", nil, ""},
	} {
		taken := []netip.Prefix{netip.MustParsePrefix(tc.addr)}
		for _, p := range tc.taken {
			taken = append(taken, netip.MustParsePrefix(p))
		}
		got, err := neighbour(taken[0], taken)
		switch {
		case tc.want == "" && err == nil:
			t.Errorf("neighbour of %s beside %v is %v, want none", tc.addr, tc.taken, got)
		case tc.want != "" && (err != nil || got.String() != tc.want):
			t.Errorf("neighbour of %s beside %v is %v, %v, want %s", tc.addr, tc.taken, got, err, tc.want)
		}
	}
}

func TestBroadcast(t *testing.T) {
	for in, want := range map[string]string{
		"198.18.0.2/24": "198.18.0.255", "198.18.5.1/15": "198.19.255.255", "198.18.0.9/29": "198.18.0.15", "198.18.0.1/32": "198.18.0.1",
	} {
		if got := broadcast(netip.MustParsePrefix(in)); got.String() != want {
			t.Errorf("%s: %v, want %s", in, got, want)
		}
	}
}
