#!/usr/bin/env bash
# Runs `weft rpc list` and `weft rpc call` as a user types them, against a server of services.
set -uo pipefail

bin=$TEST_SRCDIR/$TEST_WORKSPACE/cli
# A path short enough for a Unix socket.
run=$(mktemp -d /tmp/rpc_call_test.XXXXXX) && cd "$run" || exit 1
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

# weft_exits STATUS ARGUMENT...: leaves standard output and error in files `out` and `err`. What is in
# the file `in` is its standard input.
: >in
weft_exits() {
  local expected=$1 status=0
  shift
  command="weft $*"
  timeout 100 "$bin/weft" "$@" <in >out 2>err || status=$?
  [[ $status == "$expected" ]] || fail "$command: exit status $status, not $expected: $(cat out err)"
}
out_is() { [[ $(cat out) == "$1" ]] || fail "$command: standard output is: $(cat out)"; }
err_is() { [[ $(cat err) == "$1" ]] || fail "$command: standard error is: $(cat err)"; }
out_has() { grep -Eq -- "$1" out || fail "$command: no '$1' in: $(cat out)"; }
err_has() { grep -Fq -- "$1" err || fail "$command: no '$1' in: $(cat err)"; }
json_is() {
  local value
  value=$(python3 -c "import json; j = json.load(open('out')); print($1)")
  [[ $value == "$2" ]] || fail "$command: $1 is $value, not $2"
}

# serve PROGRAM ARGUMENT...: starts a server; its address is in $address.
serve() {
  : >server.out
  "$bin/$1" "${@:2}" >server.out 2>server.err &
  servers+=($!)
  until grep -q '^listening on' server.out; do
    if ! kill -0 "${servers[-1]}" 2>/dev/null; then
      fail "$* ended: $(cat server.out server.err)"
      return 1
    fi
    read -rt 0.02 <> <(:) || :
  done
  address=$(sed -n 's/^listening on \([^ ]*\) .*/\1/p' server.out)
}

echo=weft.rpc.testing.Echo
streams=weft.rpc.testing.Streams

# --- without a server ---

weft_exits 2 rpc list
err_has 'no ADDRESS given'
weft_exits 2 rpc call 127.0.0.1:1
err_has 'no METHOD given'
weft_exits 2 rpc call 127.0.0.1:1 a/b '{}' more
err_has "unexpected argument 'more'"
weft_exits 2 rpc call 127.0.0.1:1 a/b --metadata novalue
err_is "weft rpc call: --metadata: 'novalue' is not KEY=VALUE"
weft_exits 2 rpc list 127.0.0.1:1 --describe --json
err_is 'weft rpc list: --describe and --json are two ways to print the same'
weft_exits 1 rpc list 127.0.0.1:1
err_has 'weft rpc list: '
weft_exits 1 rpc call shm:nobody a/b
err_has 'nobody listens at '

# --- a server that has no services ---

if serve weft rpc serve --listen 127.0.0.1:0; then
  weft_exits 1 rpc list "$address"
  err_is 'weft rpc list: the server answers, but not as one of services: it takes plain requests only'
  weft_exits 1 rpc call "$address" kv.KeyValue/Get
  err_is 'weft rpc call: the server answers, but not as one of services: it takes plain requests only'
fi

# --- one that does not tell ---

echo 'rpc { service { reflection: false } }' >mute.cfg
if serve testing_services 127.0.0.1:0 mute.cfg; then
  weft_exits 1 rpc list "$address"
  err_is 'weft rpc list: the server does not tell which services it has (its rpc.service.reflection is off)'
fi

# --- both formats, and shared memory ---

for listen in 127.0.0.1:0 shm:services; do
  serve testing_services "$listen" || continue

  weft_exits 0 rpc list "$address"
  out_has '^METHOD +REQUEST +RESPONSE$'
  out_has "^$echo/Echo +weft.rpc.testing.EchoRequest +weft.rpc.testing.EchoResponse\$"
  out_has "^$streams/Sum +stream weft.rpc.testing.Item +weft.rpc.testing.SumResponse\$"
  out_has '^weft.rpc.Reflection/Describe '
  weft_exits 0 rpc list "$address" "$streams"
  out_has "^$streams/Chat +stream weft.rpc.testing.Item +stream weft.rpc.testing.Item\$"
  ! grep -q "$echo" out || fail "$command: other services too"
  weft_exits 0 rpc list "$address" --json
  json_is "[s['name'] for s in j['services']]" "['$echo', '$streams', 'weft.rpc.Reflection']"
  json_is "j['services'][1]['methods'][0]['server_streams']" True
  weft_exits 0 rpc list "$address" "$echo" --describe
  out_has '^service Echo \{$'
  out_has '^  rpc Read\(.weft.rpc.testing.ReadRequest\) returns \(.weft.rpc.RawBytes\);$'
  out_has '^message FailRequest \{$'
  out_has '^  map<string, bytes> details = 3;$'
  weft_exits 2 rpc list "$address" weft.rpc.testing.Ecko
  err_is "weft rpc list: the server has no service 'weft.rpc.testing.Ecko'; did you mean '$echo'?"

  # Unary.
  weft_exits 0 rpc call "$address" "$echo/Echo" '{"text": "ab", "times": 2}'
  json_is "j" "{'text': 'abab'}"
  echo '{"text": "from standard input", "times": 1}' >in
  weft_exits 0 rpc call "$address" "$echo/Echo" -
  json_is "j['text']" 'from standard input'
  : >in
  weft_exits 0 rpc call "$address" "$echo/Echo"
  json_is "j" '{}'
  # Longer than a packet, both ways.
  weft_exits 0 rpc call "$address" "$echo/Echo" '{"text": "0123456789", "times": 100000}' --timeout 60s
  json_is "len(j['text'])" 1000000

  # Bytes as they are.
  weft_exits 0 rpc call "$address" "$echo/Read" '{"bytes": 4}'
  json_is "j" "{'data': 'AAECAw=='}"
  weft_exits 0 rpc call "$address" "$echo/Write" '{"data": "AQID"}'
  json_is "j" "{'bytes': '3', 'sum': 6}"

  # What cannot be called.
  weft_exits 2 rpc call "$address" "$echo/Ecco"
  err_is "weft rpc call: the server has no method '$echo/Ecco'; did you mean '$echo/Echo'?"
  weft_exits 2 rpc call "$address" "$echo/Echo" '{"txet": "a"}'
  err_has 'weft rpc call: this is no weft.rpc.testing.EchoRequest: '
  err_has 'txet'
  weft_exits 2 rpc call "$address" "$echo/Echo" 'text: "a"'
  err_has 'weft rpc call: this is no weft.rpc.testing.EchoRequest: '

  # What the server answers: code, message and details; of a type that it knows, as JSON.
  weft_exits 1 rpc call "$address" "$echo/Fail" '{"code": 5, "message": "no apple", "details":
      {"types.example/weft.rpc.testing.EchoRequest": "CgFh", "else": "AP8="}}'
  err_has "weft rpc call: $echo/Fail: NOT_FOUND: no apple"
  err_has '  types.example/weft.rpc.testing.EchoRequest: {"text":"a"}'
  err_has '  else: "\x00\xff"'
  weft_exits 1 rpc call "$address" "$echo/Missing"
  err_has "weft rpc call: $echo/Missing: UNIMPLEMENTED"
  weft_exits 1 rpc call "$address" "$echo/Echo" '{"waitUs": 5000000}' --timeout 50ms
  err_has "weft rpc call: $echo/Echo: DEADLINE_EXCEEDED"

  weft_exits 0 rpc call "$address" "$echo/Echo" --trace --metadata tenant=blue --metadata 'a=b=c'
  grep -Eq '^traceparent: 00-[0-9a-f]{32}-[0-9a-f]{16}-01$' err || fail "$command: $(cat err)"

  # Streams: a message a line.
  weft_exits 0 rpc call "$address" "$streams/Count" '{"from": 7, "to": 10}'
  out_is '{"number":"7"}
{"number":"8"}
{"number":"9"}'
  weft_exits 1 rpc call "$address" "$streams/Count" '{"to": 1, "code": 9, "message": "enough"}'
  out_is '{}'
  err_is "weft rpc call: $streams/Count: FAILED_PRECONDITION: enough"
  printf '{"number": 1}\n\n{"number": 20}\n{"number": 300}' >in
  weft_exits 0 rpc call "$address" "$streams/Sum" -
  json_is "j" "{'items': '3', 'sum': '321'}"
  weft_exits 0 rpc call "$address" "$streams/Chat" -
  out_is '{"number":"1"}
{"number":"20"}
{"number":"300"}'
  printf '{"data": "AAEC"}\n{"data": "AA=="}\n' >in
  weft_exits 0 rpc call "$address" "$streams/Mirror" -
  out_is '{"data":"AAEC"}
{"data":"AA=="}'
  printf '{"number": 1}\n{"number": "x"}\n{"number": 3}\n' >in
  weft_exits 2 rpc call "$address" "$streams/Chat" -
  out_is '{"number":"1"}'
  err_has 'weft rpc call: message 2: this is no weft.rpc.testing.Item: '
  weft_exits 2 rpc call "$address" "$streams/Sum" -
  err_has 'weft rpc call: message 2: '
  : >in
  weft_exits 0 rpc call "$address" "$streams/Sum"
  json_is "j" '{}'

  # A server that ends the stream while standard input is still open.
  mkfifo pipe 2>/dev/null
  exec 9<>pipe
  timeout 100 "$bin/weft" rpc call "$address" "$streams/Missing" - <pipe >out 2>err
  command="$streams/Missing with an open pipe"
  err_has 'UNIMPLEMENTED'
  # Messages are answered as they come.
  : >chat.out  # what was said over the other transport is no answer
  timeout 200 "$bin/weft" rpc call "$address" "$streams/Chat" - <pipe >chat.out &
  chat=$!
  for number in 1 2 3; do
    echo "{\"number\": $number}" >&9
    for ((tries = 0; tries < 2000; ++tries)); do
      grep -q "\"$number\"" chat.out && break
      read -rt 0.02 <> <(:) || :
    done
    grep -q "\"$number\"" chat.out || fail "chat: no answer to message $number: $(cat chat.out)"
  done
  kill -INT "$chat"
  wait "$chat" && fail 'an interrupted call ends with 0'
  exec 9>&-
done

# --- the original format: unary calls only ---

echo 'rpc { wire: ORIGINAL timeout_us: 30000000 }' >original.cfg
if serve testing_services 127.0.0.1:0; then
  weft_exits 0 rpc call "$address" "$echo/Echo" '{"text": "a", "times": 3}' --config original.cfg
  json_is "j['text']" aaa
  weft_exits 0 rpc list "$address" --config original.cfg
  out_has "^$echo/Echo "
  weft_exits 1 rpc call "$address" "$streams/Count" --config original.cfg
  err_has 'FAILED_PRECONDITION'
fi

# --- the server's own configuration serves for calls, though they cannot listen where it does ---

echo "$patient"' metrics { listen: "203.0.113.1:9100" }' >server.cfg
if serve testing_services 127.0.0.1:0; then
  weft_exits 0 rpc list "$address" --config server.cfg
fi

# --- keys on one side only: neither says anything to the other ---

printf '%064d' 7 >key
echo 'security { psk { identity: "a" key_file: "key" } }' >psk.cfg
if serve testing_services 127.0.0.1:0 psk.cfg; then
  cat patient.cfg psk.cfg >patient_psk.cfg
  weft_exits 0 rpc list "$address" --config patient_psk.cfg
  WEFT_CONFIG='' weft_exits 1 rpc list "$address"
  err_has 'fit on both sides?'
fi
if serve testing_services 127.0.0.1:0; then
  weft_exits 1 rpc call "$address" "$echo/Echo" --config psk.cfg
  err_has 'fit on both sides?'
fi

((failures == 0)) || echo "$failures checks failed" >&2
exit $((failures > 0))
