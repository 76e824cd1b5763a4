//go:build ignore

// SPDX-License-Identifier: Apache-2.0
//
// Redirects to AF_XDP sockets what a stack owns, and passes all else to the
// kernel, so that a host keeps its SSH:
//
//   frame                                                      to
//   IPv4 whose destination is owned, fragments too             the stack
//   ARP, request or reply, whose target address is owned       the stack
//   IPv6 whose destination is owned (neighbour advertisements  the stack
//     for the stack among them)
//   neighbour solicitation to the solicited-node group of an   the stack
//     owned target
//   anything else: other addresses, multicast, VLAN tags,      the kernel
//     IEEE 802.3 lengths, frames cut short
//
// A frame for the stack goes to the socket of the queue it came in on. Without
// a socket there it goes to the kernel.
//
// Nothing beyond the addresses is validated: that is the stack's business.
// Everything used of the kernel's interface is declared here, so that any clang
// with a BPF target builds this, without headers.

typedef unsigned char __u8;
typedef unsigned short __u16;
typedef unsigned int __u32;
typedef unsigned long long __u64;

// include/uapi/linux/bpf.h
#define BPF_MAP_TYPE_HASH 1
#define BPF_MAP_TYPE_PERCPU_ARRAY 6
#define BPF_MAP_TYPE_XSKMAP 17

enum xdp_action {
	XDP_PASS = 2,
	XDP_REDIRECT = 4,
};

struct xdp_md {
	__u32 data;
	__u32 data_end;
	__u32 data_meta;
	__u32 ingress_ifindex;
	__u32 rx_queue_index;
	__u32 egress_ifindex;
};

static void *(*bpf_map_lookup_elem)(void *map, const void *key) = (void *)1;
static long (*bpf_redirect_map)(void *map, __u64 key, __u64 flags) = (void *)51;

// Map definitions are read from BTF: libbpf's bpf_helpers.h.
#define SEC(name) __attribute__((section(name), used))
#define __uint(name, val) int(*name)[val]
#define __type(name, val) typeof(val) *name

#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
#define htons(x) __builtin_bswap16(x)
#define htonl(x) __builtin_bswap32(x)
#else
#define htons(x) (x)
#define htonl(x) (x)
#endif

#define ETH_P_IP 0x0800
#define ETH_P_ARP 0x0806
#define ETH_P_IPV6 0x86dd
#define ARPHRD_ETHER 1
#define IPPROTO_ICMPV6 58
#define ND_NEIGHBOR_SOLICIT 135

struct eth {
	__u8 dst[6], src[6];
	__u16 type;
};

struct arp {
	__u16 htype, ptype;
	__u8 hlen, plen;
	__u16 op;
	__u8 sha[6], spa[4];
	__u8 tha[6], tpa[4];
};

struct ip4 {
	__u8 vihl, tos;
	__u16 len, id, frag;
	__u8 ttl, proto;
	__u16 sum;
	__u32 src, dst;
};

struct addr6 {
	__u32 w[4];
};

struct ip6 {
	__u32 vtf;
	__u16 len;
	__u8 next, hops;
	struct addr6 src, dst;
};

struct ns {
	__u8 type, code;
	__u16 sum;
	__u32 reserved;
	struct addr6 target;
};

// The socket of each RX queue.
struct {
	__uint(type, BPF_MAP_TYPE_XSKMAP);
	__uint(max_entries, 128);
	__type(key, __u32);
	__type(value, __u32);
} xsks SEC(".maps");

// The addresses that the stack owns, in network order. The values mean nothing.
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1024);
	__type(key, __u32);
	__type(value, __u8);
} owned4 SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1024);
	__type(key, struct addr6);
	__type(value, __u8);
} owned6 SEC(".maps");

enum counter {
	PASSED,	  // not the stack's
	REDIRECTED,
	UNBOUND,  // the stack's, but its queue has no socket
	COUNTERS,
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, COUNTERS);
	__type(key, __u32);
	__type(value, __u64);
} counters SEC(".maps");

static __attribute__((always_inline)) int owns4(__u32 addr)
{
	return bpf_map_lookup_elem(&owned4, &addr) != 0;
}

static __attribute__((always_inline)) int owns6(const struct addr6 *addr)
{
	struct addr6 key = *addr;

	return bpf_map_lookup_elem(&owned6, &key) != 0;
}

// Whether group is the solicited-node multicast address of target (RFC 4291,
// section 2.7.1).
static __attribute__((always_inline)) int solicits(const struct addr6 *group, const struct addr6 *target)
{
	return group->w[0] == htonl(0xff020000) && group->w[1] == 0 && group->w[2] == htonl(1) &&
	       group->w[3] == (htonl(0xff000000) | (target->w[3] & htonl(0x00ffffff)));
}

static __attribute__((always_inline)) int owned(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data;
	void *end = (void *)(long)ctx->data_end;
	struct eth *eth = data;
	void *l3 = eth + 1;

	if (l3 > end)
		return 0;
	if (eth->type == htons(ETH_P_IP)) {
		struct ip4 *ip = l3;

		return (void *)(ip + 1) <= end && owns4(ip->dst);
	}
	if (eth->type == htons(ETH_P_IPV6)) {
		struct ip6 *ip = l3;
		struct ns *ns = (void *)(ip + 1);

		if ((void *)ns > end)
			return 0;
		if ((ip->dst.w[0] & htonl(0xff000000)) != htonl(0xff000000))
			return owns6(&ip->dst);
		// Solicitations carry no extension headers in front of them worth the
		// search: the one that could matter, a fragment header, makes them
		// void (RFC 6980).
		return ip->next == IPPROTO_ICMPV6 && (void *)(ns + 1) <= end &&
		       ns->type == ND_NEIGHBOR_SOLICIT && solicits(&ip->dst, &ns->target) &&
		       owns6(&ns->target);
	}
	if (eth->type == htons(ETH_P_ARP)) {
		struct arp *arp = l3;
		__u32 target;

		if ((void *)(arp + 1) > end || arp->htype != htons(ARPHRD_ETHER) ||
		    arp->ptype != htons(ETH_P_IP) || arp->hlen != 6 || arp->plen != 4)
			return 0;
		__builtin_memcpy(&target, arp->tpa, sizeof(target));
		return owns4(target);
	}
	return 0;
}

SEC("xdp")
int shardnet_xdp(struct xdp_md *ctx)
{
	int action = XDP_PASS;
	__u32 which = PASSED;

	if (owned(ctx)) {
		action = bpf_redirect_map(&xsks, ctx->rx_queue_index, XDP_PASS);
		which = action == XDP_REDIRECT ? REDIRECTED : UNBOUND;
	}

	__u64 *n = bpf_map_lookup_elem(&counters, &which);

	if (n)
		*n += 1; // this CPU's own
	return action;
}

char xdp_license[] SEC("license") = "Apache-2.0";
