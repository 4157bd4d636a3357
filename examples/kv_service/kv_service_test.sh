#!/usr/bin/env bash
# Runs the store and its commands as a user does, over kernel sockets and shared memory, in plain text
# and with certificates, and looks at it from outside.
set -uo pipefail

here=$TEST_SRCDIR/$TEST_WORKSPACE/examples
kv=$here/kv_service/kv_service
weft=$TEST_SRCDIR/$TEST_WORKSPACE/cli/weft
# A path short enough for a Unix socket.
run=$(mktemp -d /tmp/kv_test.XXXXXX) && cd "$run" || exit 1
export XDG_RUNTIME_DIR=$run
unset WEFT_CONFIG
failures=0
server=
# shellcheck disable=SC2317 # The trap calls it.
clean_up() {
  [[ -z $server ]] || kill -9 "$server" 2>/dev/null
  rm -rf "$run"
}
trap clean_up EXIT

fail() {
  echo "FAILED: $over: $*" >&2
  failures=$((failures + 1))
}

# On a busy machine, a server may take a while to answer, and is not to be taken for another one.
patient='wire: EXTENDED timeout_us: 30000000'
# config NAME SED_SCRIPT...: the example's file, with files, ports and address of this test.
config() {
  local name=$1
  shift
  sed -e "s|/tmp/kv-keys|$run/keys|; s|/tmp/kv-traces|$run/traces|; s|\"9100\"|\"0\"|" \
    -e "s|^rpc {|rpc { $patient|" "$@" "$here/configs/$name.textproto"
}
# serve: with server.cfg; $address and $http are where.
serve() {
  : >server.out
  "$kv" --config server.cfg >server.out 2>server.err &
  server=$!
  until grep -q '^listening on' server.out; do
    kill -0 "$server" 2>/dev/null || { fail "the server ended: $(cat server.err)"; return 1; }
    read -rt 0.02 <> <(:) || :
  done
  address=$(sed -n 's/^listening on \([^ ]*\) .*/\1/p' server.out)
  http=$(sed -n 's|^status at http://\(.*\)/status$|\1|p' server.out)
}
# says EXPECTED COMMAND...: on standard output.
says() {
  local expected=$1 out status=0
  shift
  out=$(timeout 100 "$kv" --config client.cfg "$@" 2>err) || status=$?
  ((status == 0)) || fail "$*: status $status: $(cat err)"
  [[ $out == "$expected" ]] || fail "$*: '$out', not '$expected'"
}
# refused PATTERN COMMAND...: on standard error.
refused() {
  local pattern=$1
  shift
  timeout 100 "$kv" --config client.cfg "$@" >out 2>err && fail "$*: nobody refused it"
  grep -Eq "^kv_service: $pattern" err || fail "$*: no '$pattern': $(cat err)"
}

# What every store does, whatever is beneath.
use() {
  says new put colour blue
  says replaced put colour green
  says green get colour
  says new put shape round
  says 'colour=green
shape=round' scan
  says shape=round scan sh
  says '' scan nothing
  says round read shape
  says deleted delete shape
  says 'was not there' delete shape
  refused "NOT_FOUND: there is no key 'shape'" get shape
  refused "NOT_FOUND: there is no key 'shape'" read shape
  refused 'INVALID_ARGUMENT: a key of 0 bytes' put '' nothing
  says '500 rows' load 500
  rows=$(timeout 100 "$kv" --config client.cfg scan row/ | wc -l)
  ((rows == 500)) || fail "$rows rows, not 500"
}

# What can be seen of it.
look() {
  "$weft" rpc top "$http" --once --interval 100ms >seen 2>&1 || fail "weft rpc top: $(cat seen)"
  grep -Eq '^kv.KeyValue/Get +server +0 +0 +0 .* +50[2-9] +1$' seen || fail "methods: $(cat seen)"
  grep -Eq '^kv.KeyValue/Scan +server ' seen || fail "methods: $(cat seen)"
  python3 - "$http" <<'PYTHON' || fail 'metrics'
import sys, urllib.request
open_url = urllib.request.build_opener(urllib.request.ProxyHandler({})).open
text = open_url(f"http://{sys.argv[1]}/metrics").read().decode()
wanted = 'code="NOT_FOUND",method="kv.KeyValue/Get",side="server"'
assert any(wanted in line and line.startswith("weft_rpc_method_calls_total{")
           for line in text.splitlines()), text
assert "<title>weft</title>" in open_url(f"http://{sys.argv[1]}/").read().decode()
PYTHON
}

# Who is connected.
identity() {
  "$kv" --config client.cfg load 1000000 >/dev/null 2>&1 &
  local load=$!
  for ((i = 0; i < 100; ++i)); do
    "$weft" rpc top "$http" --once --interval 100ms >seen 2>&1
    grep -Eq '^writer \((127|shm).* server +open' seen && break
  done
  ((i < 100)) || fail "no session of the writer: $(cat seen)"
  kill "$load"
  wait "$load" 2>/dev/null
}

# The spans of both sides belong to one trace.
traces() {
  python3 - traces.jsonl <<'PYTHON' || fail "traces: $(head -c 2000 traces.jsonl)"
import json, sys
spans = [span for line in open(sys.argv[1]) for resource in json.loads(line)["resourceSpans"]
         for scope in resource["scopeSpans"] for span in scope["spans"]]
client = {s["spanId"]: s for s in spans if s["name"] == "kv.KeyValue/Put" and s["kind"] == 3}
server = [s for s in spans if s["name"] == "kv.KeyValue/Put" and s["kind"] == 2]
assert client and server
assert all(s["traceId"] == client[s["parentSpanId"]]["traceId"] for s in server)
PYTHON
}

stop() {
  kill -TERM "$server"
  wait "$server" || fail "the server did not end well: $? $(cat server.err)"
  server=
}

over=linux
config kv-linux -e 's|listen: "127.0.0.1:7100"|listen: "127.0.0.1:0"|' >server.cfg
if serve; then
  config kv-linux -e "s|127.0.0.1:7100|$address|" >client.cfg
  use
  look
  echo "rpc { $patient }" >patient.cfg
  "$weft" rpc list "$address" --config patient.cfg >seen 2>&1
  grep -q 'kv.KeyValue' seen || fail "weft rpc list: $(cat seen)"
  "$weft" rpc call "$address" kv.KeyValue/Get '{"key": "colour"}' --config patient.cfg >seen 2>&1
  grep -q 'Z3JlZW4=' seen || fail "weft rpc call: $(cat seen)"
  stop
  traces
  patient='' config kv-linux -e "s|127.0.0.1:7100|$address|" >client.cfg
  refused '(UNAVAILABLE|DEADLINE_EXCEEDED)' get colour
fi

over=shm
rm -f traces.jsonl
config kv-shm >server.cfg
cp server.cfg client.cfg
if serve; then
  use
  look
  stop
  traces
fi

# With certificates: everybody proves who they are, and may do what the rules say. `as NAME` is how a
# client's configuration says whose keys it has.
"$here/kv_service/make_certificates.sh" keys || fail 'no certificates'
"$here/kv_service/make_certificates.sh" foreign || fail 'no certificates'
as() { config kv-tls-client -e "s|127.0.0.1:7100|$address|; s|writer|$1|" "${@:2}" "${shm[@]}"; }
for over in 'linux with TLS' 'shm with TLS'; do
  rm -f traces.jsonl
  shm=()
  [[ $over != shm* ]] || shm=(-e 's|name: "linux"|name: "shm"|; s|127.0.0.1:7100|shm:kv|')
  config kv-tls-server "${shm[@]}" -e 's|listen: "127.0.0.1:7100"|listen: "127.0.0.1:0"|' >server.cfg
  if serve; then
    as writer >client.cfg
    use
    look
    identity
    as reader >client.cfg
    says green get colour
    says colour=green scan colour
    refused PERMISSION_DENIED put colour red
    refused PERMISSION_DENIED read colour
    says green get colour
    # Of another authority, for another server, in plain text.
    patient='' as writer -e "s|$run/keys/writer|$run/foreign/writer|" >client.cfg
    refused '(UNAUTHENTICATED|UNAVAILABLE)' get colour
    patient='' as writer -e 's|"kv.example"|"other.example"|' >client.cfg
    refused '(UNAUTHENTICATED|UNAVAILABLE)' get colour
    patient='' as writer -e '/^security/,$d' >client.cfg
    refused '(DEADLINE_EXCEEDED|UNAVAILABLE)' get colour
    as writer >client.cfg
    says green get colour
    # Through a balancer, which has nothing to choose here.
    as writer -e 's|^rpc {|rpc { balancer { policy: "jbsq" } |' >client.cfg
    grep -q balancer client.cfg || fail 'no balancer'
    says green get colour
    says colour=green scan colour
    stop
  fi
done

over='nothing at all'
refused 'INVALID_ARGUMENT: there is no command .paint' paint
refused 'INVALID_ARGUMENT: .get. has other arguments' get
echo >client.cfg
refused 'INVALID_ARGUMENT: the configuration has no rpc.servers' get colour

((failures == 0)) && echo 'all as expected'
exit "$((failures > 0))"
