//go:build linux

package wire

// sackScripts are about what the target acknowledges selectively.
var sackScripts = []script{
	{name: "SACK", rfc: "2018 4", text: acceptedSack + `
		< PA 101(100) ack 1
		> A 1(0) ack 1 sack 101-201
		< PA 1(100) ack 1
		> A 1(0) ack 201 nosack
		read 200`},
	{name: "no SACK where it was not negotiated", rfc: "2018 2", text: accepted + `
		< PA 101(100) ack 1
		> A 1(0) ack 1 nosack`},
	{name: "the most recent block comes first", rfc: "2018 4", text: acceptedSack + `
		< PA 101(100) ack 1
		> A 1(0) ack 1 sack 101-201
		< PA 301(100) ack 1
		> A 1(0) ack 1 sack 301-401,101-201
		< PA 501(100) ack 1
		> A 1(0) ack 1 sack 501-601,301-401,101-201
		< PA 301(150) ack 1
		> A 1(0) ack 1`},
	{name: "blocks merge", rfc: "2018 4", text: acceptedSack + `
		< PA 101(100) ack 1
		> A 1(0) ack 1 sack 101-201
		< PA 301(100) ack 1
		> A 1(0) ack 1 sack 301-401,101-201
		< PA 201(100) ack 1
		> A 1(0) ack 1 sack 101-401
		< PA 1(100) ack 1
		> A 1(0) ack 401 nosack
		read 400`},
	{name: "four blocks", rfc: "2018 3", text: acceptedSack + `
		< PA 101(100) ack 1
		> A 1(0) ack 1 sack 101-201
		< PA 301(100) ack 1
		> A 1(0) ack 1 sack 301-401,101-201
		< PA 501(100) ack 1
		> A 1(0) ack 1 sack 501-601,301-401,101-201
		< PA 701(100) ack 1
		> A 1(0) ack 1 sack 701-801,501-601,301-401,101-201
		< PA 901(100) ack 1
		> A 1(0) ack 1 sack 901-1001,701-801,501-601,301-401`},
	{name: "three blocks beside a timestamp", rfc: "7323 3.2", text: acceptedAll + `
		< PA 101(100) ack 1
		> A 1(0) ack 1 sack 101-201
		< PA 301(100) ack 1
		> A 1(0) ack 1 sack 301-401,101-201
		< PA 501(100) ack 1
		> A 1(0) ack 1 sack 501-601,301-401,101-201
		< PA 701(100) ack 1
		> A 1(0) ack 1 sack 701-801,501-601,301-401`},
	{name: "the first hole is filled", rfc: "2018 4", text: acceptedSack + `
		< PA 101(100) ack 1
		> A 1(0) ack 1 sack 101-201
		< PA 301(100) ack 1
		> A 1(0) ack 1 sack 301-401,101-201
		< PA 1(100) ack 1
		> A 1(0) ack 201 sack 301-401
		< PA 201(100) ack 1
		> A 1(0) ack 401 nosack
		read 400`},
	{name: "SACK rides on data", rfc: "2018 4", text: acceptedSack + `
		< PA 101(100) ack 1
		> A 1(0) ack 1 sack 101-201
		write 100
		> A 1(100) ack 1 sack 101-201`},
	{name: "SACK for a FIN out of order", rfc: "2018 3", text: acceptedSack + `
		< FA 101(100) ack 1
		> A 1(0) ack 1 sack 101-201 or A 1(0) ack 1 sack 101-202
		< PA 1(100) ack 1
		> A 1(0) ack 202 nosack
		read 200
		eof`},
	{name: "D-SACK of a duplicate", rfc: "2883 4", text: acceptedSack + `
		< PA 1(100) ack 1
		> A 1(0) ack 101
		< PA 1(100) ack 1
		netstack: quiet 100ms
		else: > A 1(0) ack 101 sack 1-101
		read 100`,
		differs: []difference{{netstack, "does not report it: no D-SACK", "a receiver of D-SACK reports it; netstack need not be one"}}},
	{name: "D-SACK of an early duplicate", rfc: "2883 4", text: acceptedSack + `
		< PA 101(100) ack 1
		> A 1(0) ack 1 sack 101-201
		< PA 101(100) ack 1
		netstack: > A 1(0) ack 1 sack 101-201
		else: > A 1(0) ack 1 sack 101-201,101-201`,
		differs: []difference{{netstack, "does not report it: no D-SACK", "a receiver of D-SACK reports it; netstack need not be one"}}},
	{name: "D-SACK of a part", rfc: "2883 4", text: acceptedSack + `
		< PA 1(100) ack 1
		> A 1(0) ack 101
		< PA 51(100) ack 1
		netstack: > A 1(0) ack 151 nosack
		else: > A 1(0) ack 151 sack 51-101
		read 150`,
		differs: []difference{{netstack, "does not report it: no D-SACK", "a receiver of D-SACK reports it; netstack need not be one"}}},
	{name: "D-SACK beside a block", rfc: "2883 4", text: acceptedSack + `
		< PA 1(100) ack 1
		> A 1(0) ack 101
		< PA 201(100) ack 1
		> A 1(0) ack 101 sack 201-301
		< PA 1(100) ack 1
		netstack: > A 1(0) ack 101 sack 201-301
		else: > A 1(0) ack 101 sack 1-101,201-301`,
		differs: []difference{{netstack, "does not report it: no D-SACK", "a receiver of D-SACK reports it; netstack need not be one"}}},
	{name: "SACK, IPv6", rfc: "2018 4", v6: true, text: acceptedSack + `
		< PA 101(100) ack 1
		> A 1(0) ack 1 sack 101-201
		< PA 1(100) ack 1
		> A 1(0) ack 201 nosack
		read 200`},
}
