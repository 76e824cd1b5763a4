package socketapi

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"testing"
)

func addrPortOf(ip string, port uint16) netip.AddrPort {
	return netip.AddrPortFrom(netip.MustParseAddr(ip), port)
}

// FuzzParseAddress compares with package net, for all it would not look up.
func FuzzParseAddress(f *testing.F) {
	for _, a := range []string{"", ":", ":80", "198.18.0.1:80", "[2001:db8::1]:80", "[::ffff:198.18.0.1]:80", "[fe80::1%eth0]:80",
		"[::]:0", "0.0.0.0:65535", ":65536", ":-1", ":http", "198.18.0.1", "[::1", "::1:80", "[::1]80", "]:80", "1.2.3:4", ":+80", ":0080", "[0::%0]:0"} {
		for _, n := range []string{"tcp", "tcp4", "udp6"} {
			f.Add(n, a)
		}
	}
	f.Fuzz(func(t *testing.T, network, address string) {
		proto, got, err := parseAddress(network, address)
		var de *net.DNSError
		if errors.As(err, &de) {
			return // a name: package net would ask
		}
		var want netip.AddrPort
		var wantErr error
		switch {
		case proto == "tcp":
			var a *net.TCPAddr
			if a, wantErr = net.ResolveTCPAddr(network, address); wantErr == nil {
				want = a.AddrPort()
			}
		case proto == "udp":
			var a *net.UDPAddr
			if a, wantErr = net.ResolveUDPAddr(network, address); wantErr == nil {
				want = a.AddrPort()
			}
		default:
			if !errors.As(err, new(net.UnknownNetworkError)) {
				t.Errorf("%q: %v, want net.UnknownNetworkError", network, err)
			}
			return
		}
		if fmt.Sprint(err) != fmt.Sprint(wantErr) || err == nil && got != unmap(want) {
			t.Errorf("%q %q: %v, %v, want %v, %v", network, address, got, err, unmap(want), wantErr)
		}
	})
}
