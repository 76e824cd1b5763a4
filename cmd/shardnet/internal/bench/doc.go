// Package bench measures shardnet beside the kernel's sockets, netstack as it
// comes, and other servers, in one run: "shardnet bench".
//
// As root it makes two network namespaces with a veth pair of one queue between
// them (package driver/netlab). On one end is the load generator (package rawload)
// on an AF_XDP socket, with a CPU of its own; on the other, one after the other,
// every kind of server, each a process of its own pinned to another CPU: this
// same program as "shardnet bench-server", told what to do over its standard
// input, so that it ends with the process that started it. For the servers on the
// kernel's sockets the kernel's receive work is steered to the server's CPU (RPS), as
// a NIC's interrupt affinity would do. On veth the sender would do it, which gives
// those servers a second core. The row kernel-norps shows that. The kernel's
// segmentation offloads are off, except in the row kernel-offload, which has kernel
// sockets in place of the generator: see stream_linux.go.
//
// Servers take turns within each repetition, so that what else happens on the
// machine meets all of them. What a server's CPU, heap and memory were used for is
// read at the beginning and the end of the measured time. Any wrong answer fails
// the run.
//
// Without privilege, our own servers are measured on a cable in memory, in one
// process with the generator; the rows about several shards always are, with a
// generator for each shard.
//
//	cfg := &bench.Config{Run: []string{"udp-echo"}, Repeat: 5, Duration: 2 * time.Second, ...}
//	r, err := bench.Run(ctx, cfg)
//	if r != nil {
//		err = errors.Join(err, report.WriteText(os.Stdout, r))
//	}
//
// The workloads are in workload.go, the kinds of server in serve.go. The package
// prints nothing but progress: reports are package report's to render.
package bench
