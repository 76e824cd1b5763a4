// Package xdpprog holds the XDP program that the AF_XDP drivers share: it
// redirects to AF_XDP sockets what a stack owns (its IP addresses, and ARP and
// NDP for them) and passes everything else to the kernel. The rules are a table
// at the top of xdp.c.
//
//	p, err := xdpprog.Attach(ifindex, xdpprog.Native, false, addrs)
//	if err != nil {
//		return err // errors.Is: ErrBusy, ErrPrivilege, ErrUnsupported
//	}
//	defer p.Close()
//	err = p.SetSocket(queue, fd) // once a queue, with an AF_XDP socket
//
// The program hangs on a bpf_link: it goes when the Program is closed or the
// process dies, however it dies, and it never takes the place of another's.
//
// The package knows nothing of rings and frames. The object files are committed;
// "go generate" rebuilds them and needs clang and llvm-strip, with a BPF target.
package xdpprog

//go:generate go tool bpf2go -go-package xdpprog -no-global-types -target bpfel,bpfeb -cflags "-O2 -g -Wall -Wextra -Werror" bpf xdp.c
