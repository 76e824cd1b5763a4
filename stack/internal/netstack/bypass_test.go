package netstack

import (
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"runtime"
	"testing"

	"gvisor.dev/gvisor/pkg/tcpip/network/ipv4"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv6"
	nstack "gvisor.dev/gvisor/pkg/tcpip/stack"

	"shardnet/stack/internal/steer"
)

// What stands before netstack's network endpoints must implement every interface
// that netstack asks for by type assertion and that the endpoint behind it
// implements: whatever is hidden is a feature lost in silence.
func TestOutputHidesNothing(t *testing.T) {
	asked := map[string]reflect.Type{
		"AddressableEndpoint":                reflect.TypeFor[nstack.AddressableEndpoint](),
		"GroupAddressableEndpoint":           reflect.TypeFor[nstack.GroupAddressableEndpoint](),
		"ForwardingNetworkEndpoint":          reflect.TypeFor[nstack.ForwardingNetworkEndpoint](),
		"MulticastForwardingNetworkEndpoint": reflect.TypeFor[nstack.MulticastForwardingNetworkEndpoint](),
		"LinkResolvableNetworkEndpoint":      reflect.TypeFor[nstack.LinkResolvableNetworkEndpoint](),
		"NDPEndpoint":                        reflect.TypeFor[nstack.NDPEndpoint](),
		"DuplicateAddressDetector":           reflect.TypeFor[nstack.DuplicateAddressDetector](),
		"LinkAddressResolver":                reflect.TypeFor[nstack.LinkAddressResolver](),
	}
	// The list is netstack's own: every assertion in its package stack to an
	// interface of endpoints.
	pc := reflect.ValueOf(nstack.New).Pointer()
	file, _ := runtime.FuncForPC(pc).FileLine(pc)
	sources, err := filepath.Glob(filepath.Join(filepath.Dir(file), "*.go"))
	if err != nil || len(sources) == 0 {
		t.Fatalf("netstack's source is not at %s: %v", file, err)
	}
	assertion := regexp.MustCompile(`(?i)(?:ep|f\.nic\.getNetworkEndpoint\([^)]*\)|networkEndpoints\[p\])\.\(([A-Z]\w*)\)`)
	for _, name := range sources {
		src, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range assertion.FindAllStringSubmatch(string(src), -1) {
			switch m[1] {
			case "GSOEndpoint", "PacketEndpoint", "RawTransportEndpoint", "TransportEndpoint", "NetworkLinkEndpoint":
				continue // asked of others
			}
			if asked[m[1]] == nil {
				t.Errorf("%s asks an endpoint for %s, which this test does not know", filepath.Base(name), m[1])
			}
		}
	}
	ns := nstack.New(nstack.Options{})
	defer ns.Close()
	steering, err := steer.New(2, 32768, 60999, nil)
	if err != nil {
		t.Fatal(err)
	}
	n := &Netstack{cfg: Config{Steering: steering}, link: &link{mtu: 1500}}
	probe := func(inner, outer nstack.NetworkProtocol) {
		t.Helper()
		s := nstack.New(nstack.Options{NetworkProtocols: []nstack.NetworkProtocolFactory{
			func(*nstack.Stack) nstack.NetworkProtocol { return inner },
		}})
		defer s.Close()
		if err := s.CreateNIC(nicID, n.link); err != nil {
			t.Fatal(err)
		}
		a, terr := s.GetNetworkEndpoint(nicID, inner.Number())
		if terr != nil {
			t.Fatal(terr)
		}
		s2 := nstack.New(nstack.Options{NetworkProtocols: []nstack.NetworkProtocolFactory{
			func(*nstack.Stack) nstack.NetworkProtocol { return outer },
		}})
		defer s2.Close()
		if err := s2.CreateNIC(nicID, n.link); err != nil {
			t.Fatal(err)
		}
		b, terr := s2.GetNetworkEndpoint(nicID, outer.Number())
		if terr != nil {
			t.Fatal(terr)
		}
		if reflect.TypeOf(a) == reflect.TypeOf(b) {
			t.Fatalf("nothing stands before %T", a)
		}
		for name, want := range asked {
			if reflect.TypeOf(a).Implements(want) && !reflect.TypeOf(b).Implements(want) {
				t.Errorf("%T is a %s, and %T before it is not", a, name, b)
			}
		}
	}
	probe(ipv4.NewProtocol(ns), n.newIPv4(ns))
	probe(ipv6.NewProtocol(ns), n.newIPv6(ipv6.Options{})(ns))
}
