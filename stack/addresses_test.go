package stack_test

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"shardnet/driver"
	"shardnet/stack"
)

// redirecting is a device that redirects some addresses only, as an XDP program does.
type redirecting struct {
	driver.Device
	addresses []netip.Prefix
}

func (d redirecting) Info() driver.Info {
	info := d.Device.Info()
	info.Addresses = d.addresses
	return info
}

// Addresses are given once: a stack takes the device's, or some of them, and no other, which
// it would wait on in vain.
func TestAddressesOfTheDevice(t *testing.T) {
	of := []netip.Prefix{netip.PrefixFrom(serverAddr4, 24), netip.PrefixFrom(serverAddr6, 64)}
	for _, c := range []struct {
		name string
		cfg  *stack.Config
		want []netip.Prefix
		err  string
	}{
		{"none given", nil, of, ""},
		{"one of them", &stack.Config{Addresses: of[1:]}, of[1:], ""},
		{"another", &stack.Config{Addresses: []netip.Prefix{of[0], netip.MustParsePrefix("198.18.0.77/24")}}, nil, "does not redirect address 198.18.0.77"},
	} {
		t.Run(c.name, func(t *testing.T) {
			a, b := newCable(t, 1, 1)
			defer b.Close()
			st, err := stack.New(redirecting{a, of}, c.cfg)
			if err != nil {
				if c.err == "" || !strings.Contains(err.Error(), c.err) {
					t.Errorf("error %q, want %q", err, c.err)
				}
				return
			}
			defer st.Close()
			if c.err != "" || !slices.Equal(st.Addresses(), c.want) {
				t.Errorf("stack on %v, want %v, error %q", st.Addresses(), c.want, c.err)
			}
		})
	}
}
