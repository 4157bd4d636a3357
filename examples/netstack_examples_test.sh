#!/usr/bin/env bash
# Runs the examples of byte streams over weft's own TCP, with the configurations beside them, against
# programs on the kernel's: curl, nc, ab, wrk, nginx and the examples themselves. Looks at what
# tshark finds strange. What this machine lacks is skipped, with the reason.
set -euo pipefail

PATH=$PATH:/usr/sbin:/sbin
self=$(realpath "$0")
if [[ ${1:-} != inside ]]; then
  network=$TEST_SRCDIR/$TEST_WORKSPACE/examples/network.sh
  if ! why=$("$network" shell true 2>&1); then
    echo "SKIPPED: no network can be made here: $why"
    exit 0
  fi
  exec "$network" shell "$self" inside
fi

# shellcheck source=examples/testing.sh
. "$TEST_SRCDIR/$TEST_WORKSPACE/examples/testing.sh"
weft_ip=10.0.0.2
kernel_ip=10.0.0.1
# What runs a command where the kernel's end is: as `network.sh peer`, but one process.
on_kernel=(nsenter -t "$(cat "$WEFT_PEER_PID_FILE")" -n)

# configure DEVICE [DECORATORS]: writes "$run/config".
configure() {
  sed "s|^transport {|transport {\n${2:-}|" "$examples/configs/$1.textproto" >"$run/config"
}
curl() { "${on_kernel[@]}" curl --silent --show-error --max-time 60 "$@"; }

# The kernel is the client; each is told the device, for what it says.
echo_and_back() {
  start "$examples/tcp_echo" --config "$run/config" --listen "[::]:7000"
  reply=$("${on_kernel[@]}" "$examples/tcp_echo" --connect "$weft_ip:7000" hello from the kernel)
  [[ $reply == "hello from the kernel" ]] || fail "tcp_echo over $1: '$reply'"
  local ip
  for ip in $weft_ip fd00::2; do
    "${on_kernel[@]}" timeout 60 nc -N "$ip" 7000 <"$www/medium.bin" >"$run/out" || fail "nc over $1"
    cmp "$run/out" "$www/medium.bin" || fail "nc over $1 got other bytes than it had sent"
  done
  stop
}

files() {
  start "$examples/httpd" --config "$run/config" --root "$www" --listen "[::]:8080"
  local url
  for url in "http://$weft_ip:8080" "http://[fd00::2]:8080"; do
    [[ $(curl "$url/") == "<p>index</p>" ]] || fail "$url over $1"
    curl "$url/large.bin" | cmp - "$www/large.bin" || fail "a large file over $1"
    curl --range 1234567-2345678 "$url/large.bin" |
      cmp - <(tail -c +1234568 "$www/large.bin" | head -c 1111112) || fail "a range over $1"
    curl --parallel --no-progress-meter --output "$run/1" "$url/medium.bin" --output "$run/2" "$url/medium.bin"
    cmp "$run/1" "$www/medium.bin" || fail "in parallel over $1"
    cmp "$run/2" "$www/medium.bin" || fail "in parallel over $1"
  done
  url=http://$weft_ip:8080
  local arguments
  for arguments in "-k -n 2000 -c 16 $url/" "-n 500 -c 16 $url/" "-n 30 -c 4 $url/medium.bin"; do
    # shellcheck disable=SC2086 # Several words.
    "${on_kernel[@]}" ab -q $arguments >"$run/out" 2>&1 || fail "ab over $1: $(cat "$run/out")"
    grep -Eq '^Failed requests: +0$' "$run/out" || fail "ab over $1: $(cat "$run/out")"
  done
  "${on_kernel[@]}" wrk -t1 -c16 -d1s --timeout 60s "$url/" >"$run/out" 2>&1 || fail "wrk over $1: $(cat "$run/out")"
  if grep -Eq 'Socket errors|Non-2xx' "$run/out"; then fail "wrk over $1: $(cat "$run/out")"; fi
  stop
}

# bulk_in_all_directions COMMAND...: a client of iperf; every byte is checked.
bulk_in_all_directions() {
  local direction
  for direction in up down both; do
    "$@" --direction "$direction" --duration 500ms --streams 2 --verify >"$run/out" 2>&1 ||
      fail "iperf $direction: $(cat "$run/out")"
    grep '^in all' "$run/out"
  done
}

bulk() {
  start "$examples/iperf" --config "$run/config" --listen "$weft_ip:5201"
  bulk_in_all_directions "${on_kernel[@]}" "$examples/iperf" --connect "$weft_ip:5201"
  stop
}

# Weft is the client, and the kernel serves.
clients() {
  start "${on_kernel[@]}" "$examples/tcp_echo" --listen 0.0.0.0:7000
  reply=$("$examples/tcp_echo" --config "$run/config" --connect "$kernel_ip:7000" hello from weft)
  [[ $reply == "hello from weft" ]] || fail "tcp_echo over $1 to the kernel: '$reply'"
  "$examples/tcp_echo" --config "$run/config" --connect "$kernel_ip:7000" --count 200 \
    --bytes 100000 | grep -q '^200 round trips' || fail "tcp_echo over $1 to the kernel"
  stop
  start "${on_kernel[@]}" "$examples/iperf" --listen 0.0.0.0:5201
  bulk_in_all_directions "$examples/iperf" --config "$run/config" --connect "$kernel_ip:5201"
  stop
  if ! command -v nginx >/dev/null; then
    echo "SKIPPED: http_client against nginx, which is not installed (tools/setup --dev)"
    return
  fi
  mkdir -p "$run/nginx"
  cat >"$run/nginx.conf" <<END
daemon off; master_process off; pid $run/nginx/pid; error_log stderr;
events {}
http {
  access_log off;
  client_body_temp_path $run/nginx; proxy_temp_path $run/nginx; fastcgi_temp_path $run/nginx;
  uwsgi_temp_path $run/nginx; scgi_temp_path $run/nginx;
  server { listen 0.0.0.0:8081; root $www; }
}
END
  "${on_kernel[@]}" nginx -c "$run/nginx.conf" >"$run/server" 2>&1 &
  server=$!
  until "${on_kernel[@]}" nc -z 127.0.0.1 8081; do
    kill -0 "$server" || fail "nginx: $(cat "$run/server")"
    sleep 0.02
  done
  local url=http://$kernel_ip:8081
  "$examples/http_client" --config "$run/config" --output "$run/1" "$url/large.bin"
  cmp "$run/1" "$www/large.bin" || fail "http_client over $1: a large file of nginx's"
  for close in "" --close; do
    # shellcheck disable=SC2086 # It may be nothing.
    "$examples/http_client" --config "$run/config" --connections 8 --duration 300ms $close \
      "$url/" >"$run/out" 2>&1 || fail "http_client over $1: $(cat "$run/out")"
    grep -q ' 0 failures, 0 answers of 400 and above' "$run/out" ||
      fail "http_client over $1: $(cat "$run/out")"
  done
  stop
}

# experts NC-ARGUMENT...: what tshark thinks of an echo over weft's TCP with "$run/config", as lines
# of "SOURCE: MESSAGE", those left out that mean nothing.
#
# Left out: connections that begin and end, and windows that change. The payload is random: by itself,
# tshark would now and then take it for some protocol, and a wrong one.
experts() {
  rm -f "$run/pcap"
  start "$examples/tcp_echo" --config "$run/config" --listen "[::]:7000"
  timeout 60 nc -N "$1" 7000 <"$www/medium.bin" >"$run/out" || fail "nc to $1"
  cmp "$run/out" "$www/medium.bin" || fail "echo to $1"
  stop
  tshark -n -r "$run/pcap" -d tcp.port==7000,data -o tcp.check_checksum:TRUE -o ip.check_checksum:TRUE \
    -Y 'tcp.analysis.flags || tcp.checksum.status == "Bad" || ip.checksum.status == "Bad"' \
    -T fields -E occurrence=a -E 'aggregator=;' -e ip.src -e ipv6.src -e _ws.expert.message \
    2>"$run/err" | awk -F '\t' '{
      n = split($3, messages, ";")
      for (i = 1; i <= n; ++i) print ($1 $2) ": " messages[i]
    }' | grep -Ev ': (Connection (establish|finish) |This frame (initiates|undergoes) the connection closing|TCP window update)' || :
}

www=$run/www
mkdir "$www"
printf '<p>index</p>\n' >"$www/index.html"
head -c 10000000 /dev/urandom >"$www/large.bin"
head -c 1500000 /dev/urandom >"$www/medium.bin"

for device in packet afxdp; do
  if [[ $device == afxdp ]] && ! command -v ethtool >/dev/null; then
    echo "SKIPPED: afxdp needs ethtool (tools/setup), so that the peer's checksums are complete"
    continue
  fi
  configure "$device"
  if ! "$examples/tcp_echo" --config "$run/config" --connect "$kernel_ip:9" 2>"$run/err" &&
    grep -q 'needs the capabilities' "$run/err"; then
    echo "SKIPPED: $device: $(cat "$run/err")"
    continue
  fi
  echo "over $device"
  echo_and_back "$device"
  files "$device"
  bulk
  clients "$device"
done

echo "over packet, through faults"
configure packet 'decorators { fault { loss: 0.02 duplicate: 0.02 reorder: 0.02 corrupt: 0.01 } }'
bulk

# TAP's other end is the kernel of this namespace.
ip link del weft0
on_kernel=(env)
configure tap
echo "over tap"
echo_and_back tap
files tap
bulk
clients tap

if ! command -v tshark >/dev/null; then
  echo "SKIPPED: what tshark thinks of it: it is not installed (tools/setup)"
  exit 0
fi
# Checksums and segments are complete in a capture where none are left to a device.
plain_tap() {
  configure tap "$1 decorators { pcap { path: '$run/pcap' } }"
  sed -i 's/tap {/tap { offload: false /' "$run/config"
}

# Nothing at all of what weft sent. When the machine has other things to do, timers fire that need
# not: a run of several must be clean. What the kernel sends again says when it had to wait for us.
plain_tap ''
for attempt in {1..20}; do
  strange=$(experts "$weft_ip" | grep "^$weft_ip" || :)
  [[ -n $strange ]] || break
  echo "attempt $attempt: $strange"
done
[[ -z $strange ]] || fail "tshark finds in a run without faults: $strange"

# What is lost, comes twice and late is sent again, and its receiver says so: nothing else.
plain_tap 'decorators { fault { loss: 0.02 duplicate: 0.02 reorder: 0.02 } }'
# A busy machine lets windows fill that need not, and more timers fire.
for attempt in {1..10}; do
  experts fd00::2 >"$run/experts"
  sort "$run/experts" | uniq -c | sort -rn
  sent_again=$(grep -c '^fd00::2: This frame is a (suspected) .*retransmission' "$run/experts") ||
    fail "tshark finds nothing where much was lost"
  frames=$(tshark -n -r "$run/pcap" -Y 'ipv6.src == fd00::2 && tcp.len > 0' 2>/dev/null | wc -l)
  strange=$(grep -Ev ': (This frame is a \(suspected\) (fast |spurious |)retransmission|This frame is a \(suspected\) out-of-order segment|Previous segment\(s\) not captured .*|Duplicate ACK .*|D-SACK Sequence|New fragment overlaps old data .*)$' "$run/experts") || :
  # A fast retransmission is two lines.
  ((sent_again * 4 < frames)) || strange+="; $sent_again of $frames segments were sent again"
  [[ -n $strange ]] || break
  echo "attempt $attempt: $strange"
done
[[ -z $strange ]] || fail "tshark finds what the faults do not explain: $strange"
