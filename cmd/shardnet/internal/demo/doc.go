// Package demo shows shardnet at work: echo and memcached, served by stacks of
// our own over AF_XDP and by the kernel's sockets, asked by hundreds of ordinary
// kernel sockets in another network namespace, every answer verified.
//
// As root it makes the namespaces and the veth pair between them (package
// driver/netlab), runs each server as a process of its own, this same program, and
// removes everything again, however it ends. Without root it serves on a cable in
// memory and asks from its other end, and the kernel's sockets are asked over
// loopback: it says so on its first line.
//
// What it prints is what it measured, in this run on this machine: servers and
// clients share the machine's cores, so the figures compare with each other and
// with nothing else.
package demo
