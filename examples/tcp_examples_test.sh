#!/usr/bin/env bash
# Runs the examples of byte streams as their comments say: with each other, and with curl, nc and,
# where they are installed, ab and wrk.
set -euo pipefail

# shellcheck source=examples/testing.sh
. "$TEST_SRCDIR/$TEST_WORKSPACE/examples/testing.sh"

# Echo, over the kernel and over shared memory.
for transport in linux shm; do
  listen=127.0.0.1:0
  [[ $transport == linux ]] || listen=shm:echo-test
  start "$examples/tcp_echo" --transport "$transport" --listen "$listen"
  reply=$("$examples/tcp_echo" --transport "$transport" --connect "$address" hello over "$transport")
  [[ $reply == "hello over $transport" ]] || fail "tcp_echo over $transport: '$reply'"
  "$examples/tcp_echo" --transport "$transport" --connect "$address" --count 200 --bytes 100000 |
    tee "$run/out"
  grep -q '^200 round trips of 100000 bytes: p50' "$run/out" || fail "tcp_echo --count"
  # More than either side of shared memory holds.
  "$examples/tcp_echo" --transport "$transport" --connect "$address" --count 2 --bytes 1048576 |
    tee "$run/out"
  grep -q '^2 round trips of 1048576 bytes: p50' "$run/out" || fail "tcp_echo over $transport"
  if [[ $transport == linux ]]; then
    # A half-close: nc sends everything, and the end, before it reads the rest.
    head -c 3000000 /dev/urandom >"$run/random"
    timeout 60 nc -N 127.0.0.1 "${address##*:}" <"$run/random" >"$run/echoed" || fail "nc"
    cmp "$run/random" "$run/echoed" || fail "nc got other bytes than it had sent"
  fi
  stop
  if "$examples/tcp_echo" --transport "$transport" --connect "$address" 2>"$run/err"; then
    fail "tcp_echo over $transport: an answer without a server"
  fi
  grep -q '^tcp_echo: ' "$run/err" || fail "tcp_echo over $transport: $(cat "$run/err")"
done

# Bulk transfer in all directions, every byte checked.
for transport in linux shm; do
  listen=127.0.0.1:0
  [[ $transport == linux ]] || listen=shm:iperf-test
  start "$examples/iperf" --transport "$transport" --listen "$listen"
  for direction in up down both; do
    "$examples/iperf" --transport "$transport" --connect "$address" --direction "$direction" \
      --duration 1200ms --streams 2 --verify --json "$run/json" >"$run/out" 2>&1 ||
      fail "iperf over $transport, $direction: $(cat "$run/out")"
    cat "$run/out"
    python3 - "$run/json" "$direction" "$transport" <<'END' || fail "iperf over $transport"
import json, sys
result = json.load(open(sys.argv[1]))
direction, transport = sys.argv[2:]
assert result["direction"] == direction
assert result["streams"] == (4 if direction == "both" else 2)
assert (result["up_bytes"] > 0) == (direction != "down"), result
assert (result["down_bytes"] > 0) == (direction != "up"), result
# The whole of it, in pieces of a second; the last one is what is left.
intervals = result["intervals"]
assert len(intervals) >= 2
assert abs(sum(i["seconds"] for i in intervals) - result["seconds"]) < 1e-3, result
END
  done
  stop
done

# Files over HTTP.
www=$run/www
mkdir -p "$www/dir" "$www/empty"
printf '<p>index</p>\n' >"$www/index.html"
printf '0123456789' >"$www/dir/a b.txt"
head -c 50000000 /dev/urandom >"$www/large.bin"
head -c 300000 /dev/urandom >"$www/medium.bin"
printf 'secret\n' >"$run/outside.txt"
ln -s ../outside.txt "$www/out"
ln -s "dir/a b.txt" "$www/in"
start "$examples/httpd" --root "$www" --listen 127.0.0.1:0 --workers 2 --request_timeout_ms 2000
url=http://$address
# Both workers say where they listen: at the same address.
for _ in $(seq 1500); do
  [[ $(grep -c "^listening on $address " "$run/server") == 2 ]] && break
  sleep 0.02
done
[[ $(grep -c "^listening on $address " "$run/server") == 2 ]] || fail "$(cat "$run/server")"

curl() { command curl --silent --show-error --max-time 60 "$@"; }
# status CURL-ARGUMENT...: the status of the answer.
status() { curl --output /dev/null --write-out '%{http_code}' "$@"; }
# expect STATUS CURL-ARGUMENT...
expect() {
  local got
  got=$(status "${@:2}") || fail "curl ${*:2}: $got"
  [[ $got == "$1" ]] || fail "curl ${*:2}: $got instead of $1"
}

[[ $(curl "$url/") == "<p>index</p>" ]] || fail "the index"
[[ $(curl "$url/dir/a%20b.txt") == 0123456789 ]] || fail "percent-encoding"
[[ $(curl "$url/in") == 0123456789 ]] || fail "a link within the root"
curl "$url/large.bin" | cmp - "$www/large.bin" || fail "a large file"
curl "$url/medium.bin" | cmp - "$www/medium.bin" || fail "a file from the cache"
curl "$url/medium.bin" | cmp - "$www/medium.bin" || fail "a file from the cache"
# Several at a time, and over one connection.
curl --parallel --output "$run/1" "$url/large.bin" --output "$run/2" "$url/large.bin" \
  --output "$run/3" "$url/medium.bin" --output "$run/4" "$url/medium.bin"
for i in 1 2; do cmp "$run/$i" "$www/large.bin" || fail "files in parallel"; done
for i in 3 4; do cmp "$run/$i" "$www/medium.bin" || fail "files in parallel"; done
connects=$(curl --output /dev/null --output /dev/null --write-out '%{num_connects}\n' "$url/" \
  "$url/medium.bin" | awk '{ n += $1 } END { print n }')
[[ $connects == 1 ]] || fail "keep-alive: $connects connections"

# Ranges.
[[ $(curl --range 2-4 "$url/dir/a%20b.txt") == 234 ]] || fail "a range"
[[ $(curl --range -3 "$url/dir/a%20b.txt") == 789 ]] || fail "a range at the end"
expect 206 --range 0-0 "$url/large.bin"
expect 416 --range 10- "$url/dir/a%20b.txt"
expect 200 --range 0-1,3-4 "$url/dir/a%20b.txt"
curl --range 12345678-23456789 "$url/large.bin" |
  cmp - <(tail -c +12345679 "$www/large.bin" | head -c 11111112) || fail "a range of a large file"
head -c 1000000 "$www/large.bin" >"$run/part"
curl --continue-at - --output "$run/part" "$url/large.bin"
cmp "$run/part" "$www/large.bin" || fail "the rest of a download"

# HEAD and conditions.
curl --head "$url/large.bin" >"$run/out"
grep -q '^Content-Length: 50000000' "$run/out" || fail "HEAD: $(cat "$run/out")"
grep -q '^Content-Type: application/octet-stream' "$run/out" || fail "HEAD: $(cat "$run/out")"
etag=$(sed -n 's/^ETag: \(.*\)\r$/\1/p' "$run/out")
modified=$(sed -n 's/^Last-Modified: \(.*\)\r$/\1/p' "$run/out")
expect 304 --header "If-None-Match: $etag" "$url/large.bin"
expect 304 --header "If-Modified-Since: $modified" "$url/large.bin"
expect 200 --header 'If-None-Match: "another"' "$url/large.bin"
expect 412 --header 'If-Match: "another"' "$url/large.bin"
expect 304 --time-cond "$www/large.bin" "$url/large.bin"

# Nothing leads out, and what is wrong is said.
for path in /out /../outside.txt /%2e%2e/outside.txt /dir/../../outside.txt; do
  expect 403 --path-as-is "$url$path"
done
expect 404 --path-as-is "$url/..%2foutside.txt"
expect 404 "$url/none"
expect 403 "$url/empty/"
expect 301 "$url/dir"
expect 405 --data x "$url/"
expect 411 --header 'Transfer-Encoding: chunked' --data x "$url/"
expect 413 --header 'Content-Length: 99999999' --data x "$url/"
expect 414 "$url/$(head -c 10000 /dev/zero | tr '\0' a)"
expect 431 --header "X: $(head -c 10000 /dev/zero | tr '\0' a)" "$url/"
expect 501 --request BREW "$url/"
expect 200 --http1.0 "$url/"

# Requests one behind the other, and one that does not end.
port=${address##*:}
{
  for _ in $(seq 500); do printf 'GET /dir/a%%20b.txt HTTP/1.1\r\nHost: h\r\n\r\n'; done
  printf 'GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n'
} >"$run/pipelined"
timeout 30 nc 127.0.0.1 "$port" <"$run/pipelined" >"$run/out" || fail "pipelining: nc"
[[ $(grep -ao 'HTTP/1.1 200 OK' "$run/out" | wc -l) == 501 ]] || fail "pipelining: $(head -c 500 "$run/out")"
[[ $(grep -ao '0123456789' "$run/out" | wc -l) == 500 ]] || fail "pipelining: the bodies"
{ printf 'GET / HT'; sleep 4; } | timeout 30 nc 127.0.0.1 "$port" >"$run/out" || :
grep -q '^HTTP/1.1 408 ' "$run/out" || fail "a request that does not end: $(cat "$run/out")"
printf 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n' | timeout 30 nc 127.0.0.1 "$port" >"$run/out" || :
grep -q '^HTTP/1.1 505 ' "$run/out" || fail "HTTP/2: $(cat "$run/out")"

# A file that changes is sent as it is now, within a second or so.
printf 'new\n' >"$www/index.html"
for _ in $(seq 600); do
  [[ $(curl "$url/") == new ]] && break
  sleep 0.05
done
[[ $(curl "$url/") == new ]] || fail "a changed file"

# weft's own client.
"$examples/http_client" --output "$run/1" "$url/large.bin"
cmp "$run/1" "$www/large.bin" || fail "http_client: a large file"
[[ $("$examples/http_client" --range 2-4 "$url/dir/a%20b.txt") == 234 ]] || fail "http_client: range"
"$examples/http_client" --head "$url/" 2>"$run/err"
grep -q '^HTTP/1.1 200 OK' "$run/err" || fail "http_client --head: $(cat "$run/err")"
if "$examples/http_client" "$url/none" >"$run/out" 2>"$run/err"; then fail "http_client: 404"; fi
grep -q 'the server answered 404' "$run/err" || fail "http_client: $(cat "$run/err")"
for close in "" --close; do
  # shellcheck disable=SC2086 # It may be nothing.
  "$examples/http_client" --connections 8 --duration 500ms $close --json "$run/json" "$url/" |
    tee "$run/out"
  grep -q ' 0 failures, 0 answers of 400 and above' "$run/out" || fail "http_client: load"
  python3 -c 'import json, sys; assert json.load(open(sys.argv[1]))["requests"] > 0' "$run/json"
done

"$examples/http_client" --connections 1 --duration 100ms --json - "$url/" 2>"$run/err" |
  python3 -c 'import json, sys; assert json.load(sys.stdin)["failures"] == 0' ||
  fail "http_client --json -: $(cat "$run/err")"

# Other programs that make load, where they are installed.
if command -v ab >/dev/null; then
  ab -q -k -n 2000 -c 16 "$url/" >"$run/out" 2>&1 || fail "ab: $(cat "$run/out")"
  grep -Eq '^Failed requests: +0$' "$run/out" || fail "ab: $(cat "$run/out")"
  ab -q -n 500 -c 16 "$url/medium.bin" >"$run/out" 2>&1 || fail "ab: $(cat "$run/out")"
  grep -Eq '^Failed requests: +0$' "$run/out" || fail "ab: $(cat "$run/out")"
fi
if command -v wrk >/dev/null; then
  wrk -t1 -c16 -d1s --timeout 60s "$url/" >"$run/out" 2>&1 || fail "wrk: $(cat "$run/out")"
  if grep -Eq 'Socket errors|Non-2xx' "$run/out"; then fail "wrk: $(cat "$run/out")"; fi
fi
stop

# The same over shared memory, with its settings from a configuration.
cat >"$run/shm.textproto" <<END
transport { name: "shm" }
httpd { root: "$www" listen: "shm:httpd-test" index: "medium.bin" }
END
start "$examples/httpd" --config "$run/shm.textproto"
"$examples/http_client" --transport shm --output "$run/1" shm:httpd-test/large.bin
cmp "$run/1" "$www/large.bin" || fail "http_client over shm"
"$examples/http_client" --transport shm --output "$run/1" shm:httpd-test/
cmp "$run/1" "$www/medium.bin" || fail "httpd.index"
stop

if "$examples/httpd" --root "$run/nowhere" --listen 127.0.0.1:0 2>"$run/err"; then
  fail "httpd without a root"
fi
grep -q "cannot serve the folder '$run/nowhere'" "$run/err" || fail "httpd: $(cat "$run/err")"
if "$examples/http_client" --connections 1 --duration 100ms "$url/" >"$run/out" 2>"$run/err"; then
  fail "http_client: a load without a server"
fi
grep -q 'no request was answered: ' "$run/err" || fail "http_client: $(cat "$run/err")"
gone=${url#http://}
if "$examples/iperf" --connect "$gone" 2>"$run/err"; then fail "iperf without a server"; fi
grep -q "^iperf: cannot connect to $gone: " "$run/err" || fail "iperf: $(cat "$run/err")"
for words in "httpd $www" "iperf up"; do
  # shellcheck disable=SC2086 # A program and its argument.
  if "$examples"/$words 2>"$run/err"; then fail "$words"; fi
  grep -q 'unexpected' "$run/err" || fail "$words: $(cat "$run/err")"
done
for flags in "--connections 4000000000" "--connections 1 --duration 0" "--timeout -1s"; do
  # shellcheck disable=SC2086 # Several words.
  if "$examples/http_client" $flags "$url" 2>"$run/err"; then fail "http_client $flags"; fi
  grep -q '^http_client: --' "$run/err" || fail "http_client $flags: $(cat "$run/err")"
done
for program in httpd iperf tcp_echo "http_client http://127.0.0.1/"; do
  # shellcheck disable=SC2086 # A program and its argument.
  if "$examples"/$program --transport sim 2>"$run/err"; then fail "$program over sim"; fi
  grep -q 'lives within one process' "$run/err" || fail "$program over sim: $(cat "$run/err")"
done
