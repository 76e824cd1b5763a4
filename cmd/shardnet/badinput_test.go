package main

import (
	"net"
	"os/exec"
	"strconv"
	"testing"
)

// TestBadInput makes mistakes that need no interface to be made.
func TestBadInput(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	taken := strconv.Itoa(l.Addr().(*net.TCPAddr).Port)

	const address = "198.18.0.2/24"
	mem := []string{"--driver", "mem"}
	for _, tc := range []struct {
		name string
		args []string
		want []string
	}{
		{"no such command", []string{"ecco"}, []string{`no command "ecco"`, "--help"}},
		{"a word too many", []string{"echo", "loudly"}, []string{`"loudly"`, "--help"}},
		{"no such flag", []string{"echo", "--loud"}, []string{"--loud"}},
		{"flag without value", []string{"echo", "-i"}, []string{"-i"}},

		{"no interface", []string{"echo", "-a", address}, []string{"--interface", "--driver mem"}},
		{"no address", []string{"echo", "-i", "vs"}, []string{"--address", "198.18.0.2/24"}},
		{"interface of no use", append(mem, "-i", "vs"), []string{"leave out --interface"}},

		{"address without prefix", append(mem, "-a", "198.18.0.2"), []string{"no prefix length", "198.18.0.2/24"}},
		{"IPv6 address without prefix", append(mem, "-a", "2001:db8::2"), []string{"no prefix length", "2001:db8::2/64"}},
		{"no address at all", append(mem, "-a", "here"), []string{`"here"`, "198.18.0.2/24"}},
		{"empty address", append(mem, "-a", ""), []string{"198.18.0.2/24"}},
		{"prefix too long", append(mem, "-a", "198.18.0.2/33"), []string{"198.18.0.2/33"}},
		{"address with zone", append(mem, "-a", "fe80::1%lo"), []string{"zone"}},
		{"network's address", append(mem, "-a", "198.18.0.0/24"), []string{"198.18.0.0/24", "unicast"}},
		{"broadcast address", append(mem, "-a", "198.18.1.255/23"), []string{"198.18.1.255/23", "unicast"}},
		{"multicast address", append(mem, "-a", "ff02::1/64"), []string{"unicast"}},
		{"loopback address", append(mem, "-a", "127.0.0.1/8"), []string{"unicast"}},
		{"link-local address", append(mem, "-a", "fe80::1/64"), []string{"link-local"}},
		{"same address twice", append(mem, "-a", address, "-a", "198.18.0.2/16"), []string{"198.18.0.2", "twice"}},
		{"no room for a client", append(mem, "-a", "198.18.0.2/32"), []string{"198.18.0.2/32", "198.18.0.2/24"}},

		{"gateway is none", append(mem, "--gateway", "up"), []string{`"up"`, "198.18.0.1"}},
		{"gateway elsewhere", append(mem, "-a", address, "--gateway", "198.19.0.1"), []string{"198.19.0.1", "subnet"}},
		{"gateway is the stack", append(mem, "-a", address, "--gateway", "198.18.0.2"), []string{"neighbour"}},
		{"two gateways of a family", append(mem, "-a", address, "--gateway", "198.18.0.1", "--gateway", "198.18.0.3"), []string{"198.18.0.3", "one for IPv4 and one for IPv6"}},

		{"port zero", append(mem, "--port", "0"), []string{"port 0", "1 to 65535"}},
		{"port too high", append(mem, "--port", "65536"), []string{"port 65536", "1 to 65535"}},
		{"port negative", append(mem, "--port", "-7"), []string{"port -7", "1 to 65535"}},
		{"port in words", append(mem, "--port", "seven"), []string{"seven"}},
		{"port taken", []string{"--driver", "kernel", "-a", "127.0.0.1/8", "--port", taken}, []string{"127.0.0.1:" + taken, "address already in use"}},

		{"no such driver", []string{"--driver", "dpdk", "-i", "vs", "-a", address}, []string{`"dpdk"`, "afxdp, asavie, mem"}},
		{"no such mode", []string{"--mode", "fast", "-i", "vs", "-a", address}, []string{`"fast"`, "zero-copy"}},
		{"busy polling without NIC", append(mem, "--busy-poll"), []string{"--busy-poll", "afxdp"}},
		{"mode without NIC", append(mem, "--mode", "copy"), []string{"--mode", "NIC"}},
		{"no such API", append(mem, "--api", "epoll"), []string{`"epoll"`, "handler, conn"}},
		{"handlers on the kernel's sockets", []string{"--driver", "kernel", "-a", "127.0.0.1/8", "--api", "handler"}, []string{"kernel", "--api conn"}},
		{"no such TCP", append(mem, "--tcp", "reno"), []string{`"reno"`, "fast, netstack"}},
		{"memory for netstack's TCP", append(mem, "--tcp", "netstack", "--tcp-memory", "64"), []string{"leave out --tcp-memory", "--tcp fast"}},
		{"negative memory", append(mem, "--tcp-memory", "-1"), []string{"-1 MiB", "--tcp-memory 1"}},
		{"TCP on the kernel's sockets", []string{"--driver", "kernel", "-a", "127.0.0.1/8", "--tcp", "netstack"}, []string{"leave out --tcp"}},

		{"negative shards", append(mem, "--shards", "-1"), []string{"-1 shards", "--shards"}},
		{"CPUs in words", append(mem, "--cpus", "all"), []string{`"all"`, "0,1 or 2-5"}},
		{"CPUs backwards", append(mem, "--cpus", "3-1"), []string{`"3-1"`}},
		{"CPU twice", append(mem, "--cpus", "0,0"), []string{"CPU 0 is listed twice"}},
		{"CPUs without end", append(mem, "--cpus", "0-9999999"), []string{"0-9999999"}},
		{"fewer CPUs than shards", append(mem, "--shards", "2", "--cpus", "0"), []string{"1 CPUs", "2 shards"}},
		{"no such CPU", append(mem, "--shards", "1", "--cpus", "4095"), []string{"4095", "exist"}},

		{"negative spin", append(mem, "--spin", "-1s"), []string{"-1s", "--spin"}},
		{"spin without unit", append(mem, "--spin", "50"), []string{"50"}},
		{"capture in no folder", append(mem, "--pcap", "/nonexistent/x.pcapng"), []string{"capture file", "/nonexistent/x.pcapng"}},

		{"fault without value", append(mem, "--fault", "drop"), []string{`"drop" is not key=value`, "drop=1%,reorder=2%,seed=7"}},
		{"no such fault", append(mem, "--fault", "loss=1%"), []string{`"loss"`, "known: drop, corrupt", "drop=1%"}},
		{"fault beyond certainty", append(mem, "--fault", "drop=101%"), []string{"drop=101%", "probability", "write it as in"}},
		{"fault without unit", append(mem, "--fault", "delay=5"), []string{"delay=5", "5ms"}},
		{"fault twice", append(mem, "--fault", "drop=1%,drop=2%"), []string{"drop is given twice"}},
		{"faults twice", append(mem, "--fault", "drop=1%", "--fault", "seed=7"), []string{"give it once", "commas"}},
		{"no fault", append(mem, "--fault", ""), []string{"names no fault", "drop=1%,reorder=2%,seed=7"}},
		{"fault that holds more than there is", append(mem, "--fault", "delay=1s,limit=1000000"), []string{"limit=1000000", "frames", "change --fault"}},
		{"faults of the kernel's", []string{"--driver", "kernel", "-a", "127.0.0.1/8", "--fault", "drop=1%"}, []string{"leave out --fault"}},
		{"capture of the kernel's", []string{"--driver", "kernel", "-a", address, "--pcap", "x"}, []string{"leave out --pcap"}},
		{"not the kernel's address", []string{"--driver", "kernel", "-a", address, "--port", "7777"}, []string{"198.18.0.2:7777", "host's own"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			args := tc.args
			if len(args) > 0 && args[0][0] == '-' {
				args = append([]string{"echo"}, args...)
			}
			run(t, (*exec.Cmd).Start, args...).checkComplaint(t, tc.want...)
		})
	}
}

func TestBadInputOfOthers(t *testing.T) {
	for _, tc := range []struct {
		name string
		args []string
		want []string
	}{
		{"memory zero", []string{"memcached", "--driver", "mem", "--memory", "0"}, []string{"memory of 0 MiB", "--memory"}},
		{"memory negative", []string{"memcached", "--driver", "mem", "-m", "-1"}, []string{"memory of -1 MiB"}},
		{"memory beyond all bounds", []string{"memcached", "--driver", "mem", "-m", "9223372036854775807"}, []string{"MiB", "--memory"}},
		{"memory in words", []string{"memcached", "--driver", "mem", "-m", "much"}, []string{"much"}},
		{"memory for no item", []string{"memcached", "--driver", "mem", "-m", "1"}, []string{"--memory", "--max-item-size"}},
		{"items of nothing", []string{"memcached", "--driver", "mem", "--max-item-size", "0"}, []string{`"0"`, "1m"}},
		{"items of many", []string{"memcached", "--driver", "mem", "--max-item-size", "9999999999m"}, []string{"9999999999m"}},
		{"items too small", []string{"memcached", "--driver", "mem", "--max-item-size", "10"}, []string{"10", "--max-item-size"}},
		{"demo too short", []string{"demo", "--duration", "1ns"}, []string{"1ns", "--duration"}},
		{"demo without clients", []string{"demo", "--tcp-connections", "0"}, []string{"--tcp-connections"}},
		{"demo on the kernel", []string{"demo", "--driver", "kernel"}, []string{`"kernel"`, "afxdp, asavie, mem"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			run(t, (*exec.Cmd).Start, tc.args...).checkComplaint(t, tc.want...)
		})
	}
}
