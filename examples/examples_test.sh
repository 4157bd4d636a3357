#!/usr/bin/env bash
# Runs the examples as their comments and the README say.
set -euo pipefail

# shellcheck source=examples/testing.sh
. "$TEST_SRCDIR/$TEST_WORKSPACE/examples/testing.sh"
weft=$TEST_SRCDIR/$TEST_WORKSPACE/cli/weft

"$examples/quickstart" >"$run/out"
cat "$run/out"
for transport in linux shm sim dpdk; do
  grep -Eq "^$transport +[0-9.]+ us +[0-9.]+ us +[0-9]+ " "$run/out" ||
    fail "quickstart: no figures over $transport"
done

# The others need rights that not every machine gives.
for network in afxdp packet tap; do
  grep -Eq "^$network +([0-9.]+ us +[0-9.]+ us +[0-9]+|not here: ..*$)" "$run/out" ||
    fail "quickstart: neither figures over $network nor why not"
done
for config in "$examples"/configs/*.textproto; do
  "$weft" config check "$config" >/dev/null || fail "$config is wrong"
done

for transport in linux shm sim; do
  "$examples/routed_echo" --transport "$transport" --requests 400 >"$run/out" 2>"$run/err" ||
    fail "routed_echo over $transport: $(cat "$run/err")"
  cat "$run/out"
  # The faster server has more to do, and each answers the client itself.
  awk '$1 == "fast" { fast = $4; ok = $6 >= $4 } $1 == "slow" { ok = ok && fast > $4 && $6 >= $4 }
       END { exit !ok }' "$run/out" || fail "routed_echo over $transport: the distribution"
done

# echo TRANSPORT LISTEN: a server and its client, with the configuration that belongs to it.
echo_over() {
  local config=$examples/configs/$1.textproto
  # On a busy machine, a server may take a while to answer, and is not to be taken for dead.
  sed 's/^rpc {/rpc { timeout_us: 30000000/; s/wire: AUTO/wire: EXTENDED/; s/timeout_us: 500000/timeout_us: 30000000/' \
    "$config" >"$run/patient"
  start "$examples/echo_server" --config "$run/patient" --listen "$2"
  reply=$("$examples/echo_client" --config "$run/patient" --server "$address" hello "over $1")
  [[ $reply == "hello over $1" ]] || fail "echo_client over $1: '$reply'"
  stop
  if "$examples/echo_client" --config "$config" --server "$address" 2>"$run/err"; then
    fail "echo_client over $1: an answer without a server"
  fi
  grep -q '^echo_client: ' "$run/err" || fail "echo_client over $1: $(cat "$run/err")"
}
echo_over linux 127.0.0.1:0
echo_over shm shm:examples-test

# kv_over TRANSPORT LISTEN: the store whose clients read its table by themselves.
kv_over() {
  echo "transport { name: '$1' } rpc { wire: EXTENDED timeout_us: 30000000 }" >"$run/kv"
  local kv=("$examples/rdma_kv/rdma_kv" --config "$run/kv")
  start "${kv[@]}" --listen "$2" --buckets 2 serve
  kv+=(--server "$address")
  [[ $("${kv[@]}" put colour blue) == new ]] || fail "rdma_kv put over $1"
  for gets in read rpc; do
    reply=$("${kv[@]}" --gets "$gets" get colour 2>"$run/err")
    [[ $reply == blue ]] || fail "rdma_kv get over $1: '$reply' $(cat "$run/err")"
  done
  "${kv[@]}" load 50 >"$run/out" 2>"$run/err" || fail "rdma_kv load over $1: $(cat "$run/err")"
  cat "$run/out"
  grep -q '^gets: one-sided reads of ' "$run/err" || fail "rdma_kv over $1: $(cat "$run/err")"
  grep -q '^gets, one-sided  *[1-9]' "$run/out" || fail "rdma_kv over $1: nothing was read"
  [[ $("${kv[@]}" delete colour) == deleted ]] || fail "rdma_kv delete over $1"
  if "${kv[@]}" get colour 2>"$run/err"; then fail "rdma_kv over $1: what was deleted"; fi
  grep -q "there is no key 'colour'" "$run/err" || fail "rdma_kv over $1: $(cat "$run/err")"
  stop
}
kv_over linux 127.0.0.1:0
kv_over shm shm:kv-test

# A socket of the kernel's is the client of udp_echo.
start "$examples/udp_echo" --listen 127.0.0.1:0
python3 - "${address##*:}" <<'EOF' || fail "udp_echo"
import socket, sys
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.settimeout(10)
s.connect(("127.0.0.1", int(sys.argv[1])))
for size in (0, 1, 1000, 1900):
    data = bytes(i % 251 for i in range(size))
    s.send(data)
    assert s.recv(65536) == data, size
EOF
stop

for program in echo_server echo_client udp_echo rdma_kv/rdma_kv; do
  if "$examples/$program" --transport sim 2>"$run/err"; then fail "$program over sim"; fi
  grep -q 'lives within one process' "$run/err" || fail "$program over sim: $(cat "$run/err")"
done
