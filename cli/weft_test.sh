#!/usr/bin/env bash
# Runs weft as a user types it: good and bad input, exact messages, exit statuses.
set -uo pipefail

weft=$TEST_SRCDIR/$TEST_WORKSPACE/cli/weft
# A path short enough for a Unix socket.
run=$(mktemp -d /tmp/weft_test.XXXXXX) && cd "$run" || exit 1
export XDG_RUNTIME_DIR=$run
# On a busy machine, a server may take a while to answer, and is not to be taken for another one.
patient='rpc { timeout_us: 30000000 session { negotiation_timeout_us: 30000000 } }'
echo "$patient" >patient.cfg
export WEFT_CONFIG=$run/patient.cfg
failures=0
servers=()
# shellcheck disable=SC2317 # The trap calls it.
clean_up() {
  ((${#servers[@]} == 0)) || kill -9 "${servers[@]}" 2>/dev/null
  rm -rf "$run"
}
trap clean_up EXIT

fail() {
  echo "FAILED: $*" >&2
  failures=$((failures + 1))
}

# weft_exits STATUS ARGUMENT...: leaves standard output and error in files `out` and `err`.
weft_exits() {
  local expected=$1 status=0
  shift
  command="weft $*"
  timeout 100 "$weft" "$@" >out 2>err || status=$?
  [[ $status == "$expected" ]] || fail "$command: exit status $status, not $expected: $(cat out err)"
}
err_is() { [[ $(cat err) == "$1" ]] || fail "$command: standard error is: $(cat err)"; }
out_has() { grep -Eq -- "$1" out || fail "$command: no '$1' in: $(cat out)"; }
err_has() { grep -Fq -- "$1" err || fail "$command: no '$1' in: $(cat err)"; }
out_is_json() { python3 -m json.tool out >/dev/null || fail "$command: no JSON: $(cat out)"; }
# json EXPRESSION: of the output, as Python's `j`.
json() { python3 -c "import json; j = json.load(open('out')); print($1)"; }
json_is() { [[ $(json "$1") == "$2" ]] || fail "$command: $1 is $(json "$1"), not $2"; }

# serve NAME ARGUMENT...: starts a server; its address is in $address, its output in NAME.out.
serve() {
  local name=$1 busy=0
  : >"$name.out"  # what an earlier server of that name has said is not this one's
  "$weft" rpc serve "${@:2}" >"$name.out" 2>"$name.err" &
  servers+=($!)
  server=$!
  until grep -q '^listening on' "$name.out"; do
    if ! kill -0 "$server" 2>/dev/null; then
      # Another program may have got the port of a server that is started again; not for long.
      if grep -q 'in use' "$name.err" && ((++busy < 100)); then
        read -rt 0.1 <> <(:) || :
        "$weft" rpc serve "${@:2}" >"$name.out" 2>"$name.err" &
        servers+=($!)
        server=$!
        continue
      fi
      shift
      fail "weft rpc serve $* ended: $(cat "$name.out" "$name.err")"
      return 1
    fi
    read -rt 0.02 <> <(:) || :
  done
  address=$(sed -n 's/^listening on \([^ ]*\) .*/\1/p' "$name.out")
}
# requests NAME: how many the last server has had, which was started under that name with shown.cfg.
requests() {
  local http
  http=$(sed -n 's|^metrics at http://\(.*\)/metrics$|\1|p' "$1.out")
  "$weft" rpc stats "$http" --json | sed -n 's/^ *"requests": \([0-9]*\),$/\1/p' | tail -1
}
# await NAME REQUESTS: waits until it has had so many.
await() {
  local had
  for ((tries = 0; tries < 1000; ++tries)); do
    had=$(requests "$1")
    ((${had:-0} >= $2)) && return
    read -rt 0.05 <> <(:) || :
  done
  fail "$1 had ${had:-no} requests, not $2"
}
echo 'metrics { listen: "0" }' >shown.cfg

# stop NAME SIGNAL: ends the last server and expects a clean end.
stop() {
  kill "-$2" "$server"
  wait "$server" || fail "weft rpc serve did not end well on SIG$2: $?"
  grep -Eq '^served [0-9]+ requests in' "$1.out" || fail "no statistics: $(cat "$1.out")"
}

# --- the command line ---

weft_exits 0 --help
out_has '^Usage: weft COMMAND'
out_has '^  rpc ping '
weft_exits 2
err_has 'Usage: weft COMMAND'
weft_exits 0 rpc --help
out_has '^  rpc serve '
weft_exits 2 rpc
weft_exits 2 transprots
err_is "weft: unknown command 'transprots'; did you mean 'transports'?"
weft_exits 2 rpc pnig 127.0.0.1:1
err_is "weft: unknown command 'rpc pnig'; did you mean 'rpc ping'?"
weft_exits 2 rcp ping 127.0.0.1:1
err_is "weft: unknown command 'rcp ping'; did you mean 'rpc ping'?"
weft_exits 2 frobnicate
err_is "weft: unknown command 'frobnicate'; known are config check, config print, net arp, net ping, net show, net stats, rdma check, rdma devices, router add, router drain, router remove, router serve, router show, rpc call, rpc list, rpc ping, rpc serve, rpc stats, rpc top, tcp connections, tcp stats, transports"
weft_exits 2 --transport shm rpc ping
err_is "weft: '--transport' comes before the command; options follow it"
for name in 'config check' 'config print' 'net arp' 'net ping' 'net show' 'net stats' \
  'rdma check' 'rdma devices' 'rpc call' 'rpc list' 'rpc ping' 'rpc serve' 'rpc stats' 'rpc top' \
  'tcp connections' 'tcp stats' transports; do
  # shellcheck disable=SC2086 # A name is one word or two.
  weft_exits 0 $name --help
  out_has "^Usage: weft $name "
  # shellcheck disable=SC2086
  weft_exits 0 help $name
  out_has "^Usage: weft $name "
done

# --- transports ---

weft_exits 0 transports
out_has '^NAME +CONTRACTS +ADDRESSES +PAYLOAD +ABILITIES +AVAILABLE$'
out_has '^linux +datagrams.* IPv4, IPv6 .* yes$'
weft_exits 0 transports --json
out_is_json
json_is "[t['available'] for t in j['transports'] if t['name'] == 'linux']" '[True]'
rdma="next(t for t in j['transports'] if t['name'] == 'rdma')"
json_is "[${rdma}[k] for k in ('datagrams', 'remote_memory', 'bulk_min_bytes')]" "[True, True, 16384]"
weft_exits 0 transports --transport shm --json
json_is "[t['name'] for t in j['transports']]" "['shm']"
weft_exits 0 transports --transport rdma
out_has 'fetches messages from 16 KiB, memory operations to 1 GiB, registers any memory'
weft_exits 2 transports --transport shn
err_is "weft transports: unknown transport 'shn'; did you mean 'shm'?"
weft_exits 2 transports --jsno
err_is "weft transports: unknown option '--jsno'; did you mean '--json'?
Try 'weft transports --help'."
weft_exits 2 transports --json=yes
err_has 'weft transports: --json takes no value'
weft_exits 2 transports now
err_has "weft transports: unexpected argument 'now'"

# --- rdma, where there is no such device (rdma_vm_test.sh has the rest) ---

if [[ -z $(ls /sys/class/infiniband 2>/dev/null) ]]; then
  weft_exits 1 rdma devices
  err_is "weft rdma devices: this machine has no RDMA device (nothing in /sys/class/infiniband): load the driver of its NIC, or make one in software over an interface: modprobe rdma_rxe && rdma link add rxe0 type rxe netdev eth0"
  weft_exits 1 rdma check
  out_has '^MEND +devices: this machine has no RDMA device .*modprobe rdma_rxe'
  out_has '^no port is usable$'
  weft_exits 1 rdma check --json
  json_is "(j['ok'], j['checks'][0]['check'], j['checks'][0]['ok'])" "(False, 'devices', False)"
fi
weft_exits 2 rdma check now
err_has "weft rdma check: unexpected argument 'now'"

# --- config ---

echo 'transport { name: "linux" linux { gso: false } }  host { loop { mode: SLEEP } }' >good.cfg
echo 'host { workers: 0 }' >zero.cfg
echo 'hots { }' >typo.cfg
weft_exits 0 config check good.cfg
out_has '^good.cfg: ok$'
weft_exits 2 config check zero.cfg good.cfg typo.cfg
out_has '^good.cfg: ok$'
err_is "zero.cfg:1:8: host.workers: 0 is out of range; give a whole number from 1 to 1024
typo.cfg:1:1: unknown field 'hots' in weft.config.Config; known are transport, host, rpc, metrics, netstack, security, tracing, log, router, tcp, httpd"
weft_exits 2 config check missing.cfg
err_is "cannot read configuration file 'missing.cfg': No such file or directory"
weft_exits 2 config check
err_has 'weft config check: no FILE given'

weft_exits 0 config print
out_has '^    mode: ADAPTIVE$'
weft_exits 0 config print --config good.cfg
out_has '^    mode: SLEEP$'
cp out printed.cfg
weft_exits 0 config check printed.cfg
weft_exits 0 config print --config printed.cfg
cmp -s out printed.cfg || fail 'config print: what it prints does not read back as the same'
weft_exits 0 config print --config good.cfg --transport shm --json
out_is_json
json_is "j['transport']['name']" shm
WEFT_CONFIG=good.cfg weft_exits 0 config print
out_has '^    mode: SLEEP$'
WEFT_CONFIG=zero.cfg weft_exits 2 config print
err_has '(the file is from WEFT_CONFIG)'

# --- rpc: mistakes ---

weft_exits 2 rpc ping
err_is "weft rpc ping: no ADDRESS given
Try 'weft rpc ping --help'."
weft_exits 2 rpc ping 127.0.0.1
err_has 'weft rpc ping: '
weft_exits 2 rpc ping 127.0.0.1:1 --cuont 3
err_is "weft rpc ping: unknown option '--cuont'; did you mean '--count'?
Try 'weft rpc ping --help'."
weft_exits 2 rpc ping 127.0.0.1:1 --size -3
err_is "weft rpc ping: --size: '-3' is not a whole number from 0 to 16777216
Try 'weft rpc ping --help'."
weft_exits 2 rpc ping 127.0.0.1:1 --timeout fast
err_has "weft rpc ping: --timeout: 'fast' is not a duration such as 100ms or 1.5s"
weft_exits 2 rpc ping 127.0.0.1:1 --count
err_has 'weft rpc ping: --count needs a value: --count N'
weft_exits 2 rpc ping 127.0.0.1:1 --wire extnded
err_is "weft rpc ping: --wire: unknown format 'extnded'; did you mean 'extended'?"
weft_exits 2 rpc ping 127.0.0.1:1 --wire original --sessions 2
err_is 'weft rpc ping: --sessions: the original format has none'
weft_exits 2 rpc ping 127.0.0.1:1 --transport linus
err_has "weft rpc ping: no transport 'linus' in this program; it has "
weft_exits 2 rpc ping 127.0.0.1:1 --config missing.cfg
err_has "cannot read configuration file 'missing.cfg'"
weft_exits 2 rpc serve --listen 300.0.0.1:7000
err_has 'weft rpc serve: '

# --- plain text beyond this machine ---

weft_exits 1 rpc serve --listen 0.0.0.0:0
err_has 'security { plaintext { } }'
weft_exits 1 rpc ping 192.0.2.1:7000 --count 1
err_has 'security { plaintext { } }'
if serve everywhere --listen 0.0.0.0:0 --plaintext; then
  weft_exits 0 rpc ping "127.0.0.1:${address##*:}" --count 10
  stop everywhere TERM
fi

# --- rpc over kernel sockets ---

if serve linux --listen 127.0.0.1:0 --config shown.cfg; then
  weft_exits 0 rpc ping "$address" --count 200
  out_has '^200 requests, 200 replies, 0% lost'
  out_has '^wire: extended; sessions opened: 1, lost: 0; packets sent again: [0-9]+$'
  out_has '^network: round trip [0-9.]+ us .* packets of up to [0-9]+ bytes$'
  out_has '^latency us: min [0-9.]+  p50 '
  weft_exits 0 rpc ping "$address" --count 500 --outstanding 16 --size 5000 --json --wire original
  out_is_json
  json_is "[j['replies'], j['different'], j['transport']]" "[500, 0, 'linux']"
  json_is "[j['wire'], j['spoken'], j['sessions_opened']]" "['original', 'original', 0]"
  json_is "0 < j['latency_us']['min'] <= j['latency_us']['p50'] <= j['latency_us']['max']" True
  weft_exits 0 rpc ping "$address" --count 20 --rate 200 --config good.cfg --timeout 30s
  # As many bytes as a request may have in the original format, and one more.
  weft_exits 0 rpc ping "$address" --count 2 --size 370406 --wire original
  weft_exits 2 rpc ping "$address" --size 370407 --wire original
  err_has 'message_packets_max'
  weft_exits 0 rpc ping "$address" --count 50 --wire extended --sessions 5 --outstanding 8 --json
  json_is "[j['replies'], j['spoken'], j['sessions_opened']]" "[50, 'extended', 5]"
  json_is "0 < j['network_us']['srtt']" True
  # What a configuration says holds without --wire.
  echo 'rpc { wire: ORIGINAL timeout_us: 30000000 }' >original.cfg
  weft_exits 0 rpc ping "$address" --count 5 --config original.cfg
  out_has '^wire: original$'
  # Interrupted, once: what had its end until then was answered.
  before=$(requests linux)
  "$weft" rpc ping "$address" --count 0 --rate 100 --timeout 100s >out 2>err &
  ping=$!
  servers+=("$ping")
  await linux $((before + 20))
  command='interrupted ping'
  kill -INT "$ping"
  wait "$ping"
  out_has '^[0-9]+ requests, [0-9]+ replies, 0% lost'
  weft_exits 1 rpc serve --listen "$address"
  err_has "weft rpc serve: "
  stop linux INT
  grep -q '^served .*; [1-9][0-9]* sessions, [0-9]* lost; 0 refused' linux.out ||
    fail "what was served: $(cat linux.out)"
  # Where nobody listens any more.
  weft_exits 1 rpc ping "$address" --count 3 --timeout 200ms
  out_has '^3 requests, 0 replies, 100% lost'
  weft_exits 1 rpc ping "$address" --timeout 200ms
  out_has '^gave up after 5 requests without any reply$'
fi

# --- rpc over several servers ---

if serve first --listen 127.0.0.1:0 && first=$address && first_server=$server &&
  serve second --listen 127.0.0.1:0; then
  weft_exits 0 rpc ping --servers "$first,$address" --count 200
  out_has '^200 requests, 200 replies, 0% lost'
  out_has "^$first: [1-9][0-9]* requests, 0 failed, up$"
  out_has "^$address: [1-9][0-9]* requests, 0 failed, up$"
  weft_exits 0 rpc ping --servers "$first,$address" --policy round_robin --count 200 --json
  json_is "[s['requests'] for s in j['servers']], j['policy']" "[100, 100] round_robin"
  echo "${patient%\}} servers: ['$first', '$address'] balancer { policy: 'jbsq' } }" >balancer.cfg
  weft_exits 0 rpc ping --config balancer.cfg --count 200 --outstanding 8 --json
  json_is "[j['replies'], j['policy'], len(j['servers'])]" "[200, 'jbsq', 2]"
  weft_exits 2 rpc ping --servers "$first,$address" --policy fastest
  err_has "unknown policy 'fastest'; there are affinity, jbsq, jsq, power_of_two, random"
  weft_exits 2 rpc ping --servers "$first,$address" 127.0.0.1:1
  err_has 'ADDRESS and --servers: only one of them'
  # One that is gone costs a call or a few, which other servers do not get.
  stop second TERM
  WEFT_CONFIG='' weft_exits 1 rpc ping --servers "$first,$address" --policy round_robin --count 200 --json
  json_is "j['replies'] >= 190" True
  server=$first_server
  stop first TERM
fi

# --- rpc over shared memory ---

if serve shm --listen shm:weft-test; then
  weft_exits 0 rpc ping shm:weft-test --count 1000 --outstanding 8 --json
  json_is "[j['replies'], j['transport'], j['spoken']]" "[1000, 'shm', 'extended']"
  weft_exits 0 rpc ping shm:weft-test --count 100 --wire original
  stop shm TERM
fi
weft_exits 1 rpc ping shm:nobody --count 3 --timeout 200ms
err_has 'weft rpc ping: nobody listens at '

# --- rpc: large messages, timeouts, servers that end ---

for address in 127.0.0.1:0 shm:weft-large; do
  if serve large --listen "$address" --size 16777216; then
    weft_exits 0 rpc ping "$address" --count 3 --size 16777216 --timeout 60s --json
    json_is "[j['replies'], j['different']]" '[3, 0]'
    stop large TERM
  fi
done

# Longer than the server has buffers for.
echo 'transport { buffers { count: 1024 bytes: 2048 } }' >few.cfg
if serve few --listen 127.0.0.1:0 --config few.cfg; then
  weft_exits 1 rpc ping "$address" --count 2 --size 4000000
  out_has '^refused by the server: too_large 2$'
  stop few TERM
  grep -q '; 2 refused,' few.out || fail "what was refused: $(cat few.out)"
fi

if serve slow --listen 127.0.0.1:0 --delay 10s; then
  weft_exits 1 rpc ping "$address" --count 2 --outstanding 2 --timeout 4s
  out_has '^unanswered: 2 timed out, 0 refused, 0 failed'
  stop slow INT
  grep -q ' 0 refused, [12] cancelled,' slow.out || fail "nothing was cancelled: $(cat slow.out)"
fi

# restart LISTEN SIGNAL ARGUMENT...: ends the server below a ping and starts another; the ping goes on.
restart() {
  local listen=$1 signal=$2
  shift 2
  command="rpc ping $listen $*, SIG$signal to the server"
  serve first --listen "$listen" --config shown.cfg || return
  listen=$address
  "$weft" rpc ping "$listen" --count 0 --rate 500 --timeout 200ms --json "$@" >out 2>err &
  local ping=$!
  servers+=("$ping")
  await first 50
  kill "-$signal" "$server"
  wait "$server" 2>/dev/null
  serve second --listen "$listen" --config shown.cfg || return
  await second 200
  kill -INT "$ping"
  wait "$ping"
  json_is "j['replies'] > 200" True
  stop second TERM
  grep -Eq '^served [1-9][0-9]+ requests' second.out || fail "$command: $(cat second.out out)"
}
for listen in 127.0.0.1:0 shm:weft-restart; do
  for signal in TERM KILL; do
    restart "$listen" "$signal"
    json_is "j['sessions_opened']" 2
    restart "$listen" "$signal" --sessions 2
    json_is "[j['spoken'], j['sessions_opened']]" "['extended', 4]"
    restart "$listen" "$signal" --wire original
    json_is "j['spoken']" original
  done
done

weft_exits 2 rpc ping sim:server
err_is "weft rpc ping: a network of transport 'sim' exists only within one process, which runs both client and server; 'bazel run //examples:quickstart' shows it"

# --- net; cli/net_test.cc has the networks ---

weft_exits 2 net show
err_is "weft net show: no HOST:PORT given
Try 'weft net show --help'."
weft_exits 2 net ping 9100
err_has 'weft net ping: no ADDRESS given'
weft_exits 2 net show 300.0.0.1:9100
err_has "weft net show: '300.0.0.1:9100' is no address of a host: "
echo 'netstack { addresses: "10.0.0.2/24" }' >net.cfg
weft_exits 2 rpc serve --config net.cfg
err_is "weft rpc serve: net.cfg:1:1: netstack: needs frames, and transport 'linux' has them only from a device; give transport.linux \`packet { interface: \"eth0\" }\` or \`tap { }\`"
echo 'metrics { listen: "0" }' >metrics.cfg
if serve metrics --config metrics.cfg --listen 127.0.0.1:0; then
  http=$(sed -n 's|^metrics at http://\(.*\)/metrics$|\1|p' metrics.out)
  weft_exits 1 net stats "$http"
  err_is "weft net stats: $http: this host has no network stack of its own: its configuration has no netstack section"
  weft_exits 1 net ping "$http" 10.0.0.1
  err_has 'this host has no network stack of its own'

  # --- rpc stats ---
  weft_exits 0 rpc stats "$http"
  out_has '^0 sessions$'
  "$weft" rpc ping "$address" --count 0 --rate 100 --sessions 3 >/dev/null 2>&1 &
  ping=$!
  servers+=("$ping")
  until weft_exits 0 rpc stats "$http" --json && [[ $(json "j[0]['items'][0]['sessions_total']") == 3 ]]; do
    read -rt 0.05 <> <(:) || :
  done
  weft_exits 0 rpc stats "$http"
  out_has '^3 sessions$'
  out_has '^WORKER +SIDE +SESSION +PEER +STATE +AGE +REQUESTS +IN FLIGHT +SRTT US '
  out_has '^0 +server +[123] +127.0.0.1:[0-9]+ +open '
  out_has '^server.sessions_opened +3$'
  weft_exits 0 rpc stats "$http" --limit 1
  out_has '^3 sessions, the 1 busiest of them$'
  weft_exits 0 rpc stats "$http" --limit 2 --json
  json_is "[len(i['sessions']) for w in j for i in w['items']]" '[2]'
  json_is "j[0]['items'][0]['kind']" server
  weft_exits 2 rpc stats "$http" --limit 1001
  kill -INT "$ping"
  wait "$ping" || fail "a ping that was looked at: $?"
  stop metrics INT
  weft_exits 1 net arp "$http"
  err_is "weft net arp: nothing listens at $http; is the host running, with metrics.listen?"
fi

((failures == 0)) && echo 'all as expected'
exit "$((failures > 0))"
