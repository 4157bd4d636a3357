#!/usr/bin/env bash
# Runs weft as a user types it: good and bad input, exact messages, exit statuses.
set -uo pipefail

weft=$TEST_SRCDIR/$TEST_WORKSPACE/cli/weft
# A path short enough for a Unix socket.
run=$(mktemp -d /tmp/weft_test.XXXXXX) && cd "$run" || exit 1
export XDG_RUNTIME_DIR=$run
unset WEFT_CONFIG
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
  timeout 60 "$weft" "$@" >out 2>err || status=$?
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
  local name=$1
  shift
  "$weft" rpc serve "$@" >"$name.out" 2>"$name.err" &
  servers+=($!)
  server=$!
  until grep -q '^listening on' "$name.out"; do
    if ! kill -0 "$server" 2>/dev/null; then
      fail "weft rpc serve $* ended: $(cat "$name.out" "$name.err")"
      return 1
    fi
    read -rt 0.02 <> <(:) || :
  done
  address=$(sed -n 's/^listening on \([^ ]*\) .*/\1/p' "$name.out")
}
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
err_is "weft: unknown command 'frobnicate'; known are config check, config print, net arp, net ping, net show, net stats, rpc ping, rpc serve, transports"
weft_exits 2 --transport shm rpc ping
err_is "weft: '--transport' comes before the command; options follow it"
for name in 'config check' 'config print' 'net arp' 'net ping' 'net show' 'net stats' 'rpc ping' \
  'rpc serve' transports; do
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
weft_exits 0 transports --transport shm --json
json_is "[t['name'] for t in j['transports']]" "['shm']"
weft_exits 2 transports --transport shn
err_is "weft transports: unknown transport 'shn'; did you mean 'shm'?"
weft_exits 2 transports --jsno
err_is "weft transports: unknown option '--jsno'; did you mean '--json'?
Try 'weft transports --help'."
weft_exits 2 transports --json=yes
err_has 'weft transports: --json takes no value'
weft_exits 2 transports now
err_has "weft transports: unexpected argument 'now'"

# --- config ---

echo 'transport { name: "linux" linux { gso: false } }  host { loop { mode: SLEEP } }' >good.cfg
echo 'host { workers: 0 }' >zero.cfg
echo 'hots { }' >typo.cfg
weft_exits 0 config check good.cfg
out_has '^good.cfg: ok$'
weft_exits 2 config check zero.cfg good.cfg typo.cfg
out_has '^good.cfg: ok$'
err_is "zero.cfg:1:8: host.workers: 0 is out of range; give a whole number from 1 to 1024
typo.cfg:1:1: unknown field 'hots' in weft.config.Config; known are transport, host, rpc, metrics, netstack"
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
err_is "weft rpc ping: --size: '-3' is not a whole number from 0 to 1048576
Try 'weft rpc ping --help'."
weft_exits 2 rpc ping 127.0.0.1:1 --timeout fast
err_has "weft rpc ping: --timeout: 'fast' is not a duration such as 100ms or 1.5s"
weft_exits 2 rpc ping 127.0.0.1:1 --count
err_has 'weft rpc ping: --count needs a value: --count N'
weft_exits 2 rpc ping 127.0.0.1:1 --wire extended
err_is "weft rpc ping: --wire: 'extended' is not a wire format; there is: original"
weft_exits 2 rpc ping 127.0.0.1:1 --transport linus
err_has "weft rpc ping: no transport 'linus' in this program; it has "
weft_exits 2 rpc ping 127.0.0.1:1 --config missing.cfg
err_has "cannot read configuration file 'missing.cfg'"
weft_exits 2 rpc serve --listen 300.0.0.1:7000
err_has 'weft rpc serve: '

# --- rpc over kernel sockets ---

if serve linux --listen 127.0.0.1:0; then
  weft_exits 0 rpc ping "$address" --count 200
  out_has '^200 requests, 200 replies, 0% lost'
  out_has '^latency us: min [0-9.]+  p50 '
  weft_exits 0 rpc ping "$address" --count 500 --outstanding 16 --size 5000 --json --wire original
  out_is_json
  json_is "[j['replies'], j['different'], j['transport']]" "[500, 0, 'linux']"
  json_is "0 < j['latency_us']['min'] <= j['latency_us']['p50'] <= j['latency_us']['max']" True
  weft_exits 0 rpc ping "$address" --count 20 --rate 200 --config good.cfg
  # As many bytes as a request may have, and one more.
  weft_exits 0 rpc ping "$address" --count 2 --size 370406
  weft_exits 2 rpc ping "$address" --size 370407
  err_has 'message_packets_max'
  # Interrupted, once: what had its end until then was answered.
  timeout --foreground --signal=INT 1 "$weft" rpc ping "$address" --count 0 --rate 100 --timeout 100s >out
  command='interrupted ping'
  out_has '^[0-9]+ requests, [0-9]+ replies, 0% lost'
  weft_exits 1 rpc serve --listen "$address"
  err_has "weft rpc serve: "
  stop linux INT
  # Where nobody listens any more.
  weft_exits 1 rpc ping "$address" --count 3 --timeout 200ms
  out_has '^3 requests, 0 replies, 100% lost'
  weft_exits 1 rpc ping "$address" --timeout 200ms
  out_has '^gave up after 5 requests without any reply$'
fi

# --- rpc over shared memory ---

if serve shm --listen shm:weft-test; then
  weft_exits 0 rpc ping shm:weft-test --count 1000 --outstanding 8 --json
  json_is "[j['replies'], j['transport']]" "[1000, 'shm']"
  stop shm TERM
fi
weft_exits 1 rpc ping shm:nobody --count 3 --timeout 200ms
err_has 'weft rpc ping: nobody listens at '

weft_exits 2 rpc ping sim:server
err_is "weft rpc ping: a network of transport 'sim' exists only within one process, which runs both client and server; 'bazel run //examples:quickstart' shows it"

((failures == 0)) && echo 'all as expected'
exit "$((failures > 0))"
