package arch

import (
	"path"
	"strings"
)

// module is the path all of the project's packages begin with.
const module = "shardnet"

// gvisor is the path of netstack's module.
const gvisor = "gvisor.dev/gvisor"

// importRule says what the packages of a folder may import beyond the standard
// library. The first rule whose folder matches a package is the one that holds.
type importRule struct {
	// folder is a path inside the module; with "/..." everything below it too.
	folder string
	// allow lists import paths, "/..." as above. nil allows nothing, a single
	// "..." everything that deny does not list.
	allow []string
	deny  []string
	// tests is whether the rule holds for _test.go files too. Elsewhere tests may
	// import what they like.
	tests bool
	why   string
}

// shardParts are the packages that the parts of a shard share.
var shardParts = []string{
	module + "/driver/wire", module + "/stack/flow", module + "/stack/drop", module + "/stack/tcp",
	module + "/stack/internal/clock", module + "/stack/internal/counter", module + "/stack/internal/loop",
	module + "/stack/internal/steer", module + "/stack/internal/txq",
}

var importRules = []importRule{
	{
		folder: "driver",
		why:    "the driver contract is for anybody's NIC: it depends on the standard library only",
	},
	{
		folder: "driver/wire/...",
		why:    "headers are read and written by pure functions, for every package",
	},
	{
		folder: "driver/rss/...",
		allow:  []string{module + "/driver/wire"},
		why:    "RSS is pure functions, for drivers and the stack",
	},
	{
		folder: "driver/memnic/...",
		allow:  []string{module + "/driver", module + "/driver/rss", module + "/driver/wire"},
		why:    "the in-memory NIC computes RSS as a NIC does, and knows nothing of the stack above it",
	},
	{
		folder: "driver/netlab/...",
		allow:  []string{"github.com/vishvananda/...", "golang.org/x/sys/..."},
		why:    "a lab is a network of the kernel's, for tests and the command: it knows nothing of the stack",
	},
	{
		folder: "driver/...",
		allow:  []string{"..."},
		deny: []string{gvisor + "/...", module + "/stack/...",
			module + "/socketapi/...", module + "/apps/...", module + "/cmd/...", module + "/driver/netlab", module + "/test/..."},
		why: "a driver moves frames, under any stack",
	},
	{
		folder: "stack/internal/frametest",
		allow:  []string{module + "/driver/wire", "github.com/google/gopacket/..."},
		why:    "frames for tests are made by gopacket, which the stack itself must not use",
	},
	{
		folder: "stack/flow/...",
		why:    "the contract holds no code of the stack, so that a fake of it needs none",
	},
	{
		folder: "stack/drop/...",
		why:    "the reasons are names, for every package",
	},
	{
		folder: "stack/tcp/...",
		allow:  []string{module + "/driver/wire", module + "/stack/flow"},
		why:    "the TCP engine is a pure state machine",
	},
	{
		folder: "stack/internal/clock/...",
		why:    "time depends on nothing",
	},
	{
		folder: "stack/internal/ring/...",
		why:    "the ring depends on nothing",
	},
	{
		folder: "stack/internal/counter/...",
		allow:  []string{module + "/stack/drop"},
		why:    "counters are counted by all parts of a shard",
	},
	{
		folder: "stack/internal/loop/...",
		allow:  []string{module + "/stack/flow"},
		why:    "the parts of a shard see its loop by this alone",
	},
	{
		folder: "stack/internal/steer/...",
		allow:  []string{module + "/driver/wire"},
		why:    "whose a packet is depends on its headers",
	},
	{
		folder: "stack/internal/txq/...",
		allow:  []string{module + "/driver", module + "/driver/wire", module + "/stack/drop"},
		why:    "the transmit queue is below netstack, UDP and the TCP engine",
	},
	{
		folder: "stack/internal/netstack/...",
		// x/time/rate is in the signature of netstack's SetICMPLimit.
		allow: append([]string{gvisor + "/...", "golang.org/x/time/rate", module + "/stack/internal/netstack/tcpinline"}, shardParts...),
		why:   "gVisor is below this package and nowhere else; UDP and the TCP engine's adapter stand on it",
	},
	{
		folder: "stack/internal/udp/...",
		allow:  append([]string{module + "/driver", module + "/stack/internal/netstack"}, shardParts...),
		why:    "UDP stands on netstack's ports and its slow path",
	},
	{
		folder: "stack/internal/enginetcp/...",
		allow:  append([]string{module + "/driver", module + "/stack/internal/netstack"}, shardParts...),
		why:    "the TCP engine's adapter stands on netstack's ports and its slow path",
	},
	{
		folder: "stack/...",
		allow:  []string{module + "/driver", module + "/driver/rss", module + "/driver/wire", module + "/stack/...", "golang.org/x/sys/..."},
		deny:   []string{module + "/stack/internal/netstack/tcpinline"},
		why:    "the stack runs on any driver, and under any application",
	},
	{
		folder: "socketapi/...",
		allow:  []string{module + "/stack", module + "/stack/flow", module + "/socketapi/..."},
		why:    "socketapi stands on the contract, so that another TCP fits below it; gVisor's types and errors end in stack",
	},
	{
		folder: "apps/...",
		allow:  []string{module + "/apps/...", module + "/socketapi"},
		why:    "an app takes net.Listener and net.PacketConn, so that it also runs on kernel sockets",
	},
	{
		folder: "cmd/shardnet/internal/bench/netstack/...",
		allow:  []string{module + "/driver", gvisor + "/..."},
		why:    "the baseline of the benchmark is gVisor's netstack as it comes: on the same driver, without anything of our stack",
	},
	{
		folder: "cmd/...",
		allow:  []string{"..."},
		deny:   []string{gvisor + "/...", module + "/test/..."},
		why:    "the command wires packages together; gVisor's types and errors end in stack, and what is under test/ is for tests",
	},
	{
		folder: "test/testutil/...",
		why:    "what the tests of every package import must import none of them",
	},
	{
		folder: "test/...",
		allow:  []string{"..."},
		deny:   []string{module + "/cmd/..."},
		why:    "tests drive the command as a user does, by running it",
	},
}

// ruleFor returns the rule that holds for a folder of the module, or nil.
func ruleFor(folder string) *importRule {
	for i := range importRules {
		if matches(importRules[i].folder, folder) {
			return &importRules[i]
		}
	}
	return nil
}

// allows reports whether the rule lets a package of its folder import imp.
func (r *importRule) allows(imp string) bool {
	if matchesAny(r.deny, imp) {
		return false
	}
	return isStandard(imp) || matchesAny(r.allow, imp)
}

func matchesAny(patterns []string, p string) bool {
	for _, pattern := range patterns {
		if matches(pattern, p) {
			return true
		}
	}
	return false
}

func matches(pattern, p string) bool {
	if pattern == "..." {
		return true
	}
	root, below := strings.CutSuffix(pattern, "/...")
	return p == root || below && strings.HasPrefix(p, root+"/")
}

// isStandard reports whether imp is in the standard library: the first element
// of any other import path has a dot, or is this module's name.
func isStandard(imp string) bool {
	first, _, _ := strings.Cut(imp, "/")
	return !strings.Contains(first, ".") && first != module
}

// isTestFile reports whether file is compiled into tests only.
func isTestFile(file string) bool { return strings.HasSuffix(file, "_test.go") }

// isUnsafeFile reports whether a file's name announces unsafe code:
// x_unsafe.go, or x_unsafe_linux.go where the system matters too.
func isUnsafeFile(file string) bool {
	name := strings.TrimSuffix(strings.TrimSuffix(path.Base(file), ".go"), "_test")
	return strings.HasSuffix(name, "_unsafe") || strings.Contains(name, "_unsafe_")
}

// isLibrary reports whether a folder's packages are linked into other people's
// programs. The command and what is under test/ are not.
func isLibrary(folder string) bool {
	return !matches("cmd/...", folder) && !matches("test/...", folder)
}
