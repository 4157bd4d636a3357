#!/usr/bin/env bash
# weft rdma devices and check where there are devices: in the virtual machine.
set -uo pipefail

weft=$(dirname "$0")/weft
failures=0
fail() {
  echo "FAILED: $*" >&2
  failures=$((failures + 1))
}
# weft_exits STATUS ARGUMENT...: leaves standard output and error in $out.
weft_exits() {
  local expected=$1 status=0
  shift
  command="weft $*"
  out=$(timeout 60 "$weft" "$@" 2>&1) || status=$?
  [[ $status == "$expected" ]] || fail "$command: exit status $status, not $expected: $out"
}
out_has() { grep -Eq -- "$1" <<<"$out" || fail "$command: no '$1' in: $out"; }

weft_exits 0 rdma devices
out_has '^DEVICE +PORT +STATE +LINK +MTU +GID +TYPE +ADDRESS +INTERFACE$'
out_has '^rxe0 +1 +active +Ethernet +4096 +1 +RoCEv2 +10\.77\.0\.1 +rv0$'
out_has '^rxe1 +1 +active +Ethernet +4096 +0 +RoCEv2 +fe80::[0-9a-f:]+ +rv1$'
weft_exits 0 rdma devices --json --device rxe1
python3 - "$out" <<'PYTHON' || fail "$command: $out"
import json, sys
(device,) = json.loads(sys.argv[1])["devices"]
assert device["name"] == "rxe1" and device["usable"] and device["software"], device
(port,) = device["ports"]
assert (port["state"], port["mtu_bytes"], port["link_layer"]) == ("active", 4096, "Ethernet"), port
assert {"index": 1, "type": "RoCEv2", "address": "10.77.0.2", "interface": "rv1"} in port["gids"]
PYTHON
weft_exits 1 rdma devices --device rxe7
out_has "^weft rdma devices: no RDMA device 'rxe7'; did you mean 'rxe[01]'\?$"

weft_exits 0 rdma check
out_has '^ok +devices: rxe0 \(software\), rxe1 \(software\)$'
out_has '^ok +rxe0: opens \(/dev/infiniband/uverbs[0-9]+\)$'
out_has '^ok +locked memory: not limited; with these settings a program locks 258 MiB, and what'
out_has '^ok +rxe1 port 1: active, MTU 4096, GID 1 \(RoCEv2, 10\.77\.0\.2\)$'
out_has '^usable: rxe0 port 1 at 10\.77\.0\.1, rxe1 port 1 at 10\.77\.0\.2$'

# What a configuration needs, and chooses.
settings=$(mktemp)
echo 'transport { name: "rdma" buffers { count: 4096 } rdma { device: "rxe1" bulk_count: 16 } }
      host { workers: 2 }' >"$settings"
weft_exits 0 rdma check --config "$settings"
out_has '^ok +devices: rxe1 \(software\)$'
out_has '^ok +locked memory: not limited; with these settings a program locks 97 MiB, and what'
rm "$settings"

# One device cannot be opened, and the other one is down.
node=/dev/infiniband/$(basename "$(grep -l rxe0 /sys/class/infiniband_verbs/*/ibdev | xargs dirname)")
mv "$node" /run/node
ip link set rv1 down
weft_exits 1 rdma check
out_has "^MEND +rxe0: cannot open $node of rxe0: No such file or directory; udev makes it"
out_has '^MEND +rxe1 port 1: port 1 of rxe1 is down; look at its cable, and run: ip link set rv1 up$'
out_has '^no port is usable$'
weft_exits 0 rdma devices
out_has '^rxe0 +- +unusable '
mv /run/node "$node"
ip link set rv1 up

# Without capabilities, and with little memory to lock.
out=$(ulimit -l 1024; setpriv --inh-caps=-all --bounding-set=-all \
  "$weft" rdma check --device rxe0 2>&1) && fail "weft rdma check is content with 1 MiB: $out"
command='weft rdma check without capabilities'
out_has '^MEND +locked memory: limited to 1 MiB; with these settings a program locks 258 MiB, .*; raise it by'
out_has '^no port is usable$'

((failures == 0)) && echo 'all as expected'
exit "$((failures > 0))"
