#!/usr/bin/env bash
# The store over RDMA devices: gets are one-sided reads, while the table grows and is shown anew.
set -euo pipefail
fail() { echo "FAIL: $*" >&2; exit 1; }

read -ra addresses <<<"$WEFT_RDMA_ADDRESSES"
run=$(mktemp -d)
server=
trap '[[ -z $server ]] || kill -9 "$server"; rm -rf "$run"' EXIT
cat >"$run/config" <<CONFIG
transport { name: "rdma" }
rpc {
  listen: "${addresses[0]}:7300"
  servers: "${addresses[0]}:7300"
  wire: EXTENDED
}
security { plaintext { } }
CONFIG
kv=("$(dirname "$0")/rdma_kv" --config "$run/config")
"${kv[@]}" --buckets 2 serve >"$run/server" 2>&1 &
server=$!
until grep -q '^listening on' "$run/server"; do
  kill -0 "$server" 2>/dev/null || fail "server: $(cat "$run/server")"
  sleep 0.05
done
# Puts and gets that it checks, in one program, as each takes an emulated machine seconds to start.
"${kv[@]}" --local "${addresses[-1]}" load 30 | tee "$run/load" || fail load
grep -q '^gets, one-sided  *[1-9][0-9][0-9]' "$run/load" || fail "few gets were reads"
kill -TERM "$server"
wait "$server" || fail "server: $(cat "$run/server")"
server=
cat "$run/server"
