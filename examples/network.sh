#!/usr/bin/env bash
# A network for the configurations beside it: the namespace weft-peer, joined to this machine by a
# veth pair. The kernel's end, in weft-peer, is weft1 with 10.0.0.1 and fd00::1; ours is weft0, without
# an address, because weft's own stack has it: 10.0.0.2 and fd00::2.
#
#   sudo examples/network.sh up         make it
#   sudo examples/network.sh peer CMD   run a command as the peer: ping 10.0.0.2
#   sudo examples/network.sh down       remove it
#   examples/network.sh shell [CMD]     a shell, or a command, in which it is there; all is gone at
#                                       its end. Without root too: packet sockets and TAP only
set -euo pipefail

self=$(realpath "$0")
# In a user namespace nothing can be written below /run; there the peer is a process.
peer_pid_file=${WEFT_PEER_PID_FILE:-}

peer() {
  if [[ -n $peer_pid_file ]]; then
    nsenter -t "$(cat "$peer_pid_file")" -n "$@"
  else
    ip netns exec weft-peer "$@"
  fi
}

# await_link COMMAND...: until the kernel has noticed that both ends are up: what is sent before may
# be lost.
await_link() {
  for _ in {1..1000}; do
    if "$@" | grep -q 'state UP'; then return; fi
    sleep 0.01
  done
  echo "network.sh: the link is not up: $*" >&2
  return 1
}

up() {
  ip link add weft0 type veth peer name weft1
  if [[ -n $peer_pid_file ]]; then
    ip link set weft1 netns "$(cat "$peer_pid_file")"
  else
    ip netns add weft-peer
    ip link set weft1 netns weft-peer
  fi
  # The kernel on weft0 keeps quiet, but for what weft hands to it.
  echo 1 >/proc/sys/net/ipv6/conf/weft0/disable_ipv6
  ip link set weft0 up
  peer ip link set lo up
  peer ip addr add 10.0.0.1/24 dev weft1
  peer ip addr add fd00::1/64 dev weft1 nodad
  peer ip link set weft1 up
  await_link ip -o link show weft0
  await_link peer ip -o link show weft1
  # AF_XDP and DPDK's af_packet are not told that a checksum was left to a device.
  peer ethtool -K weft1 tx off >/dev/null 2>&1 ||
    echo 'network.sh: without ethtool, afxdp and dpdk lose what the peer sends' >&2
}

case ${1:-} in
up) up ;;
peer) peer "${@:2}" ;;
down)
  ip link del weft0 2>/dev/null || :
  ip netns del weft-peer
  ;;
shell)
  shift
  (($#)) || set -- "${SHELL:-/bin/bash}"
  own_users=()
  ((EUID == 0)) || own_users=(-r)
  exec unshare "${own_users[@]}" -nm "$self" inside "$@"
  ;;
inside) # of `shell`
  shift
  WEFT_PEER_PID_FILE=$(mktemp)
  export WEFT_PEER_PID_FILE
  peer_pid_file=$WEFT_PEER_PID_FILE
  unshare -n sleep infinity &
  sleeper=$!
  trap 'kill $sleeper; rm -f "$WEFT_PEER_PID_FILE"' EXIT
  echo $sleeper >"$WEFT_PEER_PID_FILE"
  # The namespace is there when it is not ours any more.
  while [[ $(readlink /proc/$sleeper/ns/net) == "$(readlink /proc/self/ns/net)" ]]; do sleep 0.01; done
  ip link set lo up
  up
  "$@"
  ;;
*)
  sed -n '2,/^set/s/^# \{0,1\}//p' "$self" >&2
  exit 2
  ;;
esac
