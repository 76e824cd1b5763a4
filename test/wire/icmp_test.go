//go:build linux

package wire

const ofLeastMTU = "never less than 68 bytes; what is above that is the host's to choose, and RFC 5927 says why one should"

var icmpScripts = []script{
	{name: "fragmentation needed", rfc: "1191 6.4", text: accepted + `
		write 1460
		> A 1(1460) ack 1
		icmp toobig mtu 1000 1
		> A 1(960) ack 1 within 100ms
		> A 961(500) ack 1
		< A 1(0) ack 1461
		write 2000
		> A 1461(960) x2 ack 1
		> A 3381(80) ack 1`},
	{name: "packet too big", rfc: "8201 4", v6: true, text: `
		listen
		< S 0(0) mss 1440
		> SA 0(0) ack 1
		< A 1(0) ack 1
		accept
		write 1440
		> A 1(1440) ack 1
		icmp toobig mtu 1300 1
		> A 1(1240) ack 1 within 100ms
		> A 1241(200) ack 1
		< A 1(0) ack 1441
		write 2000
		> A 1441(1240) ack 1
		> A 2681(760) ack 1`},
	{name: "fragmentation needed, forged", rfc: "5927 4.1", text: accepted + `
		write 1460
		> A 1(1460) ack 1
		icmp toobig mtu 1000 1000001
		netstack: > A 1(960) ack 1
		else: quiet 30ms
		else: < A 1(0) ack 1461
		else: write 1460
		else: > A 1461(1460) ack 1`,
		differs: []difference{{netstack, "believes it", "nothing of that number is in flight: drop it"}}},
	{name: "fragmentation needed, of nobody's connection", rfc: "1191 6.4", text: accepted + `
		write 1460
		> A 1(1460) ack 1
		icmp toobig mtu 1000 1 stranger
		+20ms
		< A 1(0) ack 1461
		write 1460
		> A 1461(1460) ack 1`},
	{name: "fragmentation needed, of what was acknowledged", rfc: "5927 7.2", text: accepted + `
		write 1460
		> A 1(1460) ack 1
		< A 1(0) ack 1461
		+20ms
		icmp toobig mtu 1000 1
		+20ms
		write 1460
		netstack: > A 1461(960) ack 1
		else: > A 1461(1460) ack 1`,
		differs: []difference{{netstack, "believes it", "nothing of that number is in flight: drop it"}}},
	{name: "fragmentation needed, a very small MTU", rfc: "1191 3", text: accepted + `
		write 1460
		> A 1(1460) ack 1
		icmp toobig mtu 68 1
		kernel: > A 1(512) x2 ack 1
		kernel: > A 1025(436) ack 1
		netstack: > A 1(28) ack 1
		else: > A 1(536) x2 ack 1
		else: > A 1073(388) ack 1`,
		differs: []difference{
			{kernel, "no smaller than 552 bytes (net.ipv4.route.min_pmtu)", ofLeastMTU},
			{netstack, "believes it", ofLeastMTU}}},
	{name: "fragmentation needed, of an old router", rfc: "1191 7.1", text: accepted + `
		write 1460
		> A 1(1460) ack 1
		icmp toobig mtu 0 1
		kernel: > A 1(512) x2 ack 1
		kernel: > A 1025(436) ack 1
		netstack: > A 1(1) ack 1
		else: > A 1(1452) ack 1
		else: > A 1453(8) ack 1`,
		differs: []difference{
			{kernel, "takes 552 bytes", "the next lower plateau; anything down to 576 is safe (section 5)"},
			{netstack, "sends one byte in each segment", "the next lower plateau, and never less than 68 bytes"}}},
	{name: "port unreachable to SYN-SENT", rfc: "9293 3.9.2.2", text: `
		dial
		> S 0(0)
		icmp port 0
		dialerror ECONNREFUSED`},
	{name: "port unreachable to SYN-SENT, IPv6", rfc: "9293 3.9.2.2", v6: true, text: `
		dial
		> S 0(0)
		icmp port 0
		dialerror ECONNREFUSED`},
	{name: "port unreachable to SYN-SENT, forged", rfc: "5927 4.1", text: `
		dial
		> S 0(0)
		icmp port 1000001
		netstack: dialerror ECONNREFUSED
		else: < SA 0(0) ack 1
		else: > A 1(0) ack 1
		else: connected`,
		differs: []difference{{netstack, "gives up", "nothing of that number is in flight: drop it"}}},
	{name: "host unreachable to SYN-SENT", rfc: "9293 3.9.2.2", text: `
		dial
		> S 0(0)
		icmp host 0
		kernel,netstack: dialerror EHOSTUNREACH
		else: < SA 0(0) ack 1
		else: > A 1(0) ack 1
		else: connected`,
		differs: []difference{
			{kernel, "gives up", "MUST NOT (MUST-56); RFC 5461 section 4.1 knows of those who do"},
			{netstack, "gives up", "MUST NOT (MUST-56); RFC 5461 section 4.1 knows of those who do"}}},
	{name: "protocol unreachable to SYN-SENT", rfc: "9293 3.9.2.2", text: `
		dial
		> S 0(0)
		icmp proto 0
		dialerror ENOPROTOOPT|ECONNREFUSED|EOPNOTSUPP`},
	{name: "port unreachable to SYN-RECEIVED", rfc: "5927 5.2", text: `
		listen
		< S 0(0) mss 1460
		> SA 0(0) ack 1
		icmp port 0
		< A 1(0) ack 1
		netstack: > R 1(0)
		else: accept`,
		differs: []difference{{netstack, "gives up", "a hard error may abort what is not established; a forged one should not"}}},
	{name: "port unreachable to ESTABLISHED", rfc: "5927 5.2", text: accepted + `
		write 100
		> A 1(100) ack 1
		icmp port 1
		+20ms
		< A 1(0) ack 101
		write 100
		> A 101(100) ack 1`},
	{name: "host unreachable to ESTABLISHED", rfc: "9293 3.9.2.2", text: accepted + `
		write 100
		> A 1(100) ack 1
		icmp host 1
		+20ms
		< A 1(0) ack 101
		write 100
		> A 101(100) ack 1`},
}
