/* SPDX-License-Identifier: Apache-2.0
 *
 * Decides for each frame that an interface receives whether it is for the AF_XDP sockets or for the
 * kernel. What is not understood goes to the kernel, and so does everything on a queue that has no
 * socket. README.md says what is taken.
 *
 * The program is loaded with BPF_F_XDP_HAS_FRAGS where the MTU needs it; the headers that are looked
 * at here lie in a frame's first piece.
 */
#include <linux/bpf.h>
/* clang-format off: the others need <linux/bpf.h>. */
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>
/* clang-format on */

#include "afxdp_program.h"

#define ETHERTYPE_IPV4 0x0800
#define ETHERTYPE_ARP 0x0806
#define ETHERTYPE_VLAN 0x8100
#define ETHERTYPE_IPV6 0x86dd
#define ETHERTYPE_QINQ 0x88a8

#define PROTO_HOP_BY_HOP 0
#define PROTO_ICMP 1
#define PROTO_TCP 6
#define PROTO_UDP 17
#define PROTO_ROUTING 43
#define PROTO_FRAGMENT 44
#define PROTO_AUTHENTICATION 51
#define PROTO_ICMPV6 58
#define PROTO_DESTINATION_OPTIONS 60

#define ICMPV6_NEIGHBOR_SOLICITATION 135

#define VLAN_TAGS_MAX 2
#define IPV6_EXTENSIONS_MAX 6

struct {
  __uint(type, BPF_MAP_TYPE_XSKMAP);
  __uint(max_entries, 64); /* the loader sets what the interface has */
  __type(key, __u32);
  __type(value, __u32);
} sockets SEC(".maps");

struct {
  __uint(type, BPF_MAP_TYPE_ARRAY);
  __uint(max_entries, 1);
  __type(key, __u32);
  __type(value, struct AfxdpSettings);
} settings SEC(".maps");

struct {
  __uint(type, BPF_MAP_TYPE_HASH);
  __uint(max_entries, AFXDP_ADDRESSES_MAX);
  __type(key, struct AfxdpAddress);
  __type(value, __u32);
} addresses SEC(".maps");

struct {
  __uint(type, BPF_MAP_TYPE_HASH);
  __uint(max_entries, AFXDP_GROUPS_MAX);
  __type(key, __u64);
  __type(value, __u32);
} groups SEC(".maps");

/* The `n` bytes at `offset`, or null when the frame has not so many. */
static __always_inline const __u8* Bytes(const struct xdp_md* frame, __u32 offset, __u32 n) {
  const __u8* data = (const __u8*)(long)frame->data;
  const __u8* end = (const __u8*)(long)frame->data_end;
  /* An upper bound that the verifier can see. */
  if (offset > 0x3fff) return 0;
  const __u8* at = data + offset;
  return at + n > end ? 0 : at;
}

static __always_inline __u16 Big16(const __u8* p) { return (__u16)(p[0] << 8 | p[1]); }

/* Wherever it lies. */
static __always_inline __u32 Word(const __u8* p) {
  __u32 word;
  __builtin_memcpy(&word, p, sizeof(word));
  return word;
}

/* Whose an address is: AfxdpOwner, or 0 for the kernel's alone. */
static __always_inline __u32 Owner(const struct AfxdpSettings* s, const struct AfxdpAddress* key) {
  const __u32* first = s->first_address.words;
  if (key->words[3] == first[3] && key->words[2] == first[2] && key->words[1] == first[1] &&
      key->words[0] == first[0]) {
    return s->first_owner;
  }
  const __u32* owner = bpf_map_lookup_elem(&addresses, key);
  return owner ? *owner : 0;
}

static __always_inline __u32 Ipv4Owner(const struct AfxdpSettings* s, const __u8* p) {
  const struct AfxdpAddress key = {{0, 0, bpf_htonl(0xffff), Word(p)}};
  return Owner(s, &key);
}

static __always_inline __u32 Ipv6Owner(const struct AfxdpSettings* s, const __u8* p) {
  const struct AfxdpAddress key = {{Word(p), Word(p + 4), Word(p + 8), Word(p + 12)}};
  return Owner(s, &key);
}

/* A MAC address as a number. */
static __always_inline __u64 MacKey(const __u8* mac) {
  __u64 key = 0;
  __builtin_memcpy(&key, mac, 6);
  return key;
}

/* Whether frames to `mac` go to a group that was asked for. The groups of all hosts stay with the
 * kernel even then: without its router advertisements and membership queries it would lose its
 * connections.
 */
static __always_inline int IsOurGroup(const __u8* mac) {
  static const __u8 all_ipv4[6] = {0x01, 0x00, 0x5e, 0x00, 0x00, 0x01};
  static const __u8 all_ipv6[6] = {0x33, 0x33, 0x00, 0x00, 0x00, 0x01};
  if ((mac[0] & 1) == 0) return 0;
  const __u64 key = MacKey(mac);
  return key != MacKey(all_ipv4) && key != MacKey(all_ipv6) &&
         bpf_map_lookup_elem(&groups, &key) != 0;
}

static __always_inline int IsOurPort(const struct AfxdpSettings* s, __u16 port) {
  return s->ports[port >> 3] >> (port & 7) & 1;
}

/* Whether what lies behind the IP headers, of protocol `proto` at `offset`, is ours if only some
 * ports are.
 */
static __always_inline int IsOurPayload(const struct xdp_md* frame, const struct AfxdpSettings* s,
                                        __u8 proto, __u32 offset, __u32 owner) {
  if (proto == PROTO_UDP || proto == PROTO_TCP) {
    const __u8* l4 = Bytes(frame, offset, 4);
    return l4 && IsOurPort(s, Big16(l4 + 2));
  }
  return owner == AFXDP_OURS && (proto == PROTO_ICMP || proto == PROTO_ICMPV6);
}

static __always_inline int IsOurArp(const struct xdp_md* frame, const struct AfxdpSettings* s,
                                    __u32 offset) {
  const __u8* arp = Bytes(frame, offset, 28);
  if (!arp) return 0;
  /* Ethernet and IPv4. */
  if (Big16(arp) != 1 || Big16(arp + 2) != ETHERTYPE_IPV4 || arp[4] != 6 || arp[5] != 4) return 0;
  return Ipv4Owner(s, arp + 24) == AFXDP_OURS;
}

static __always_inline int IsOurIpv4(const struct xdp_md* frame, const struct AfxdpSettings* s,
                                     __u32 offset, int to_our_group) {
  const __u8* ip = Bytes(frame, offset, 20);
  if (!ip || ip[0] >> 4 != 4) return to_our_group;
  const __u32 owner = Ipv4Owner(s, ip + 16);
  if (!owner) return to_our_group;
  if (!s->restrict_ports) return 1;
  const __u16 fragment = Big16(ip + 6);
  /* Later fragments have no ports. All of a packet goes one way: of an address that is shared, to
   * the kernel, of which nobody could tell whether it waits for them.
   */
  if (owner == AFXDP_SHARED && (fragment & 0x3fff)) return 0;
  if (fragment & 0x1fff) return 1;
  const __u32 header_bytes = (ip[0] & 15) * 4;
  if (header_bytes < 20) return 0;
  return IsOurPayload(frame, s, ip[9], offset + header_bytes, owner);
}

/* Solicited for an address of ours; such frames go to a group (RFC 4291, 2.7.1) that other addresses
 * may belong to.
 */
static __always_inline int IsOurSolicitation(const struct xdp_md* frame,
                                             const struct AfxdpSettings* s, __u32 offset) {
  const __u8* target = Bytes(frame, offset + 40 + 8, 16);
  return target && Ipv6Owner(s, target) == AFXDP_OURS;
}

static __always_inline int IsOurIpv6(const struct xdp_md* frame, const struct AfxdpSettings* s,
                                     __u32 offset, int to_our_group) {
  const __u8* ip = Bytes(frame, offset, 40);
  if (!ip || ip[0] >> 4 != 6) return to_our_group;
  __u8 next = ip[6];
  if (ip[24] == 0xff) {
    const __u8* icmp = Bytes(frame, offset + 40, 1);
    if (next == PROTO_ICMPV6 && icmp && icmp[0] == ICMPV6_NEIGHBOR_SOLICITATION) {
      return IsOurSolicitation(frame, s, offset);
    }
    return to_our_group;
  }
  const __u32 owner = Ipv6Owner(s, ip + 24);
  if (!owner) return to_our_group;
  if (!s->restrict_ports) return 1;

  __u32 at = offset + 40;
#pragma unroll
  for (int i = 0; i < IPV6_EXTENSIONS_MAX; ++i) {
    const __u8* header;
    switch (next) {
      case PROTO_HOP_BY_HOP:
      case PROTO_ROUTING:
      case PROTO_DESTINATION_OPTIONS:
      case PROTO_AUTHENTICATION:
        header = Bytes(frame, at, 8);
        if (!header) return 0;
        at += next == PROTO_AUTHENTICATION ? (header[1] + 2) * 4 : (header[1] + 1) * 8;
        next = header[0];
        break;
      case PROTO_FRAGMENT:
        header = Bytes(frame, at, 8);
        if (!header) return 0;
        /* As for IPv4. */
        if (owner == AFXDP_SHARED) return 0;
        if (Big16(header + 2) & 0xfff8) return 1;
        at += 8;
        next = header[0];
        break;
      default:
        return IsOurPayload(frame, s, next, at, owner);
    }
  }
  return 0;
}

static __always_inline int IsOurs(const struct xdp_md* frame, const struct AfxdpSettings* s) {
  const __u8* mac = Bytes(frame, 0, 14);
  if (!mac) return 0;
  /* Other stations' frames come along where a switch does not know them, or if the kernel asks. */
  if ((mac[0] & 1) == 0 && MacKey(mac) != s->mac) return 0;
  if (s->take_all) return 1;
  __u16 type = Big16(mac + 12);
  __u32 offset = 14;
#pragma unroll
  for (int i = 0; i < VLAN_TAGS_MAX; ++i) {
    if (type != ETHERTYPE_VLAN && type != ETHERTYPE_QINQ) break;
    const __u8* tag = Bytes(frame, offset, 4);
    if (!tag) return 0;
    type = Big16(tag + 2);
    offset += 4;
  }
  switch (type) {
    case ETHERTYPE_ARP:
      return IsOurArp(frame, s, offset);
    case ETHERTYPE_IPV4:
      return IsOurIpv4(frame, s, offset, IsOurGroup(mac));
    case ETHERTYPE_IPV6:
      return IsOurIpv6(frame, s, offset, IsOurGroup(mac));
    default:
      return IsOurGroup(mac);
  }
}

SEC("xdp")
int weft_afxdp(struct xdp_md* frame) {
  const __u32 zero = 0;
  const struct AfxdpSettings* s = bpf_map_lookup_elem(&settings, &zero);
  if (!s) return XDP_PASS;
  if (!IsOurs(frame, s)) return XDP_PASS;
  return (int)bpf_redirect_map(&sockets, frame->rx_queue_index, XDP_PASS);
}

char program_license[] SEC("license") = "Apache-2.0";
