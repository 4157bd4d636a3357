/* SPDX-License-Identifier: Apache-2.0
 *
 * What afxdp_program.bpf.c and the program that loads it agree on. C, as both include it.
 *
 * Maps of the program, by name:
 *   sockets      XSKMAP: queue of the interface -> AF_XDP socket
 *   settings     ARRAY of one: AfxdpSettings
 *   addresses    HASH: IP address, IPv4 as ::ffff:a.b.c.d -> AfxdpOwner
 *   groups       HASH: MAC address of a group, then two zero bytes -> 1
 */
#ifndef WEFT_TRANSPORTS_AFXDP_AFXDP_PROGRAM_H_
#define WEFT_TRANSPORTS_AFXDP_AFXDP_PROGRAM_H_

#include <linux/types.h>

/* The kernel keeps 15 characters of a program's name. */
#define AFXDP_PROGRAM_NAME "weft_afxdp"

#define AFXDP_ADDRESSES_MAX 1024
#define AFXDP_GROUPS_MAX 1024

enum AfxdpOwner {
  AFXDP_OURS = 1,
  /* The kernel has the address too: we take what goes to our ports, and nothing else. */
  AFXDP_SHARED = 2,
};

struct AfxdpAddress {
  __u32 words[4]; /* in network order */
};

struct AfxdpSettings {
  __u64 mac;            /* of the interface, as a key of map "groups" */
  __u32 take_all;       /* every frame to it or to a group, whatever the rest says */
  __u32 restrict_ports; /* of IP packets, only those to a port that is set in `ports` */
  /* One of map "addresses", with its owner (0: there is none): most packets are for one address, and
   * are spared the look-up.
   */
  struct AfxdpAddress first_address;
  __u32 first_owner;
  __u32 padding;
  __u8 ports[8192]; /* a bit a port */
};

#endif /* WEFT_TRANSPORTS_AFXDP_AFXDP_PROGRAM_H_ */
