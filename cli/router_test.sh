#!/usr/bin/env bash
# A router as people run it: requests, commands, a configuration that is read again, its end.
set -euo pipefail

cli=$TEST_SRCDIR/$TEST_WORKSPACE/cli
run=$(mktemp -d /tmp/router_test.XXXXXX)
unset WEFT_CONFIG
declare -A pids=()
# shellcheck disable=SC2317 # The trap calls it.
clean_up() {
  for pid in "${pids[@]}"; do kill -9 "$pid" 2>/dev/null || :; done
  rm -rf "$run"
}
trap clean_up EXIT
fail() {
  echo "FAILED: $*" >&2
  tail -n 20 "$run"/*.out "$run"/*.err >&2 || :
  exit 1
}

# start NAME PATTERN COMMAND...: until it has printed a line like PATTERN.
start() {
  local name=$1 pattern=$2
  shift 2
  : >"$run/$name.out"
  "$@" >"$run/$name.out" 2>"$run/$name.err" &
  pids[$name]=$!
  until grep -q "$pattern" "$run/$name.out"; do
    kill -0 "${pids[$name]}" 2>/dev/null || fail "$name has ended"
    sleep 0.02
  done
}
await() {
  local what=$1
  shift
  for _ in $(seq 2000); do
    if "$@" >/dev/null 2>&1; then return; fi
    sleep 0.02
  done
  fail "$what"
}
state_is() { "$cli/weft" router show "$http" | grep -Eq "$1 +$2 "; }
is_gone() { ! "$cli/weft" router show "$http" | grep -q "$1 "; }
ping() {
  "$cli/weft" rpc ping "$address" --wire original --timeout 30s --count "${1:-200}" >"$run/ping.out" 2>&1
}

# On a busy machine, a server may be silent for a while.
patient='keepalive_us: 5000000'
# Ports that the system chooses are in what the programs print.
write_config() {
  printf 'transport { name: "linux" }\nmetrics { listen: "0" }\nrouter {\n  listen: "127.0.0.1:0"\n' >"$run/new"
  printf '  control: "127.0.0.1:0"\n  policy: "%s"\n  %s\n' "$1" "$patient" >>"$run/new"
  shift
  for server in "$@"; do printf '  servers { address: "%s" }\n' "$server" >>"$run/new"; done
  printf '}\n' >>"$run/new"
  mv "$run/new" "$run/router.cfg"
}

write_config jbsq
start router '^routing at' "$cli/router" --config "$run/router.cfg"
http=$(sed -n 's,^metrics at http://\(.*\)/metrics$,\1,p' "$run/router.out")
address=$(sed -n 's/^routing at \([^ ]*\) .*/\1/p' "$run/router.out")
control=$(sed -n 's/.*control at \([^ ,]*\),.*/\1/p' "$run/router.out")

echo "rpc { router { control: \"$control\" } }" >"$run/server.cfg"
declare -A servers=()
for name in a b c; do
  start "$name" '^listening on' "$cli/weft" rpc serve --config "$run/server.cfg" --listen 127.0.0.1:0
  servers[$name]=$(sed -n 's/^listening on \([^ ]*\) .*/\1/p' "$run/$name.out")
done

# Without servers, requests are refused and not lost.
if ping 1; then fail "an answer without a server"; fi

# Commands.
"$cli/weft" router add "$http" "${servers[a]}" --slots 3 | grep -q 'is added' || fail "add"
await "a is up" state_is "${servers[a]}" up
ping || fail "ping after add: $(cat "$run/ping.out")"
if "$cli/weft" router add "$http" "${servers[a]}" 2>"$run/add.err"; then fail "added twice"; fi
"$cli/weft" router add "$http" "${servers[b]}" >/dev/null
"$cli/weft" router drain "$http" "${servers[a]}" | grep -q 'gets no more requests' || fail "drain"
await "a is drained" is_gone "${servers[a]}"
ping || fail "ping after drain: $(cat "$run/ping.out")"
"$cli/weft" router remove "$http" "${servers[b]}" | grep -q 'is removed' || fail "remove"
status=0
"$cli/weft" router remove "$http" "${servers[b]}" 2>"$run/remove.err" || status=$?
[[ $status == 1 ]] || fail "removed twice: exit status $status"
curl -sS --noproxy '*' -o /dev/null -w '%{http_code}' -X POST "http://$http/router/add?address=127.0.0.1:1" |
  grep -q 405 || fail "a browser could change it"

# SIGHUP: another configuration, a wrong one, and one that cannot hold.
write_config round_robin "${servers[a]}" "${servers[b]}" "${servers[c]}"
kill -HUP "${pids[router]}"
await "c is up" state_is "${servers[c]}" up
"$cli/weft" router show "$http" | grep -q 'policy round_robin' || fail "another policy"
"$cli/weft" router show "$http" | grep -q 'OUTSTANDING  REQUESTS/S  SERVICE US' || fail "rates"
ping || fail "ping after reload: $(cat "$run/ping.out")"
write_config jbsk "${servers[a]}"
kill -HUP "${pids[router]}"
await "the error is told" grep -q "router.cfg:6:3: router.policy: unknown policy 'jbsk'" "$run/router.err"
"$cli/weft" router show "$http" | grep -q 'policy round_robin' || fail "a wrong configuration holds"
ping || fail "ping after a wrong reload: $(cat "$run/ping.out")"

# Pages and metrics.
curl -sS --noproxy '*' "http://$http/metrics" >"$run/metrics"
grep -q "^weft_router_server_forwarded_total{.*server=\"${servers[c]}\".*} [1-9]" "$run/metrics" || fail "metrics"
curl -sS --noproxy '*' "http://$http/host" | grep -q '"router"' || fail "/host"

# The end.
kill -TERM "${pids[router]}"
wait "${pids[router]}" || fail "the router's exit status is $?"
unset 'pids[router]'
grep -q '^forwarded [1-9][0-9]* requests' "$run/router.out" || fail "its last words"

# What waits for servers that take too long is refused at the end, not forgotten.
start slow '^listening on' "$cli/weft" rpc serve --config "$run/server.cfg" --listen 127.0.0.1:0 --delay 30s
echo "router { listen: '127.0.0.1:0' control: '127.0.0.1:0' slots: 1 lease_us: 3600000000 $patient }" >"$run/full.cfg"
start full '^routing at' "$cli/router" --config "$run/full.cfg" --metrics 127.0.0.1:0 \
  --servers "$(sed -n 's/^listening on \([^ ]*\) .*/\1/p' "$run/slow.out")"
http=$(sed -n 's,^metrics at http://\(.*\)/metrics$,\1,p' "$run/full.out")
address=$(sed -n 's/^routing at \([^ ]*\) .*/\1/p' "$run/full.out")
"$cli/weft" rpc ping "$address" --wire original --count 9 --outstanding 9 --timeout 60s --json >"$run/last.out" &
asker=$!
waits() { "$cli/weft" router show "$http" | grep -q ' 8 of at most'; }
await "8 requests wait" waits
kill -TERM "${pids[full]}"
wait "${pids[full]}" || fail "the full router's exit status is $?"
unset 'pids[full]'
grep -q ' 8 refused' "$run/full.out" || fail "what waited is forgotten: $(cat "$run/full.out")"
kill "$asker"

# The short form, and what is wrong with it.
start short '^routing at' "$cli/weft" router serve --listen 127.0.0.1:0 --control 127.0.0.1:0 \
  --servers "${servers[a]},${servers[b]}:1" --policy jsq --slots 2
for wrong in "--policy fc" "--servers 127.0.0.1:1,x" "--listen nowhere" "--slots 0x" "--metrics a:b:c"; do
  status=0
  # shellcheck disable=SC2086 # two words
  timeout 60 "$cli/router" --listen 127.0.0.1:0 $wrong >"$run/wrong.out" 2>"$run/wrong.err" || status=$?
  [[ $status == 2 ]] || fail "$wrong: exit status $status"
  grep -q "^weft router serve: ${wrong%% *}: " "$run/wrong.err" || fail "$wrong: $(cat "$run/wrong.err")"
done

# Who may join from other machines has to be said.
status=0
timeout 60 "$cli/router" --listen 0.0.0.0:0 --join >"$run/join.out" 2>"$run/join.err" || status=$?
[[ $status == 1 ]] && grep -q '^weft router serve: router.join: .*control_security' "$run/join.err" ||
  fail "join: exit status $status: $(cat "$run/join.err")"
start join '^routing at' "$cli/router" --listen 0.0.0.0:0 --control 0.0.0.0:0 --join --plaintext
status=0
"$cli/weft" config check "$run/router.cfg" 2>"$run/check.err" || status=$?
[[ $status == 2 ]] && grep -q "router.policy" "$run/check.err" || fail "config check"
