#!/usr/bin/env bash
# Runs `weft rpc top` in a terminal of tmux, looks at the screen and presses keys.
set -uo pipefail

if ! command -v tmux >/dev/null; then
  echo "SKIPPED: tmux is not installed (tools/setup)"
  exit 0
fi
weft=$TEST_SRCDIR/$TEST_WORKSPACE/cli/weft
busy=$TEST_SRCDIR/$TEST_WORKSPACE/host/testing/busy_program
# A path short enough for a Unix socket.
run=$(mktemp -d /tmp/rpc_top_test.XXXXXX) && cd "$run" || exit 1
export XDG_RUNTIME_DIR=$run TMUX_TMPDIR=$run
unset WEFT_CONFIG TMUX
failures=0
program=
# A server of tmux of our own; it takes what runs in it along.
tmux() { command tmux -L "weft-$$" -f /dev/null "$@"; }
# shellcheck disable=SC2317 # The trap calls it.
clean_up() {
  tmux kill-server 2>/dev/null
  [[ -z $program ]] || kill -9 "$program" 2>/dev/null
  rm -rf "$run"
}
trap clean_up EXIT

screen() { tmux capture-pane -p -t top; }
fail() {
  printf 'FAILED: %s; the screen:\n%s\n' "$*" "$(screen)" >&2
  failures=$((failures + 1))
}
pause() { read -rt "$1" <> <(:) || :; }
# comes WHAT COMMAND...: the command succeeds within a time that is long enough for a slow machine.
comes() {
  for ((i = 0; i < 300; ++i)); do
    "${@:2}" && return
    pause 0.1
  done
  fail "never $1"
}
shows() { screen | grep -Eq -- "$1"; }
lacks() { ! shows "$1"; }
sees() { comes "'$1'" shows "$1"; }
# line NUMBER PATTERN: of the screen.
line() { screen | sed -n "$1p" | grep -Eq -- "$2"; }
lines() { (($(screen | wc -l) == $1)); }
press() { tmux send-keys -t top "$@"; }

tmux new-session -d -s base  # without a session, the server ends

# start CONFIG ARGUMENT...: the program to look at; $http is where.
start() {
  echo "$1" >config
  shift
  local busy_port=0
  : >program.out
  "$busy" --config config "$@" >program.out 2>program.err &
  program=$!
  until [[ -s program.out ]]; do
    pause 0.05
    kill -0 "$program" 2>/dev/null && continue
    # Another program may have got the port of one that is started again; not for long.
    grep -q 'in use' program.err && ((++busy_port < 1000)) || { cat program.err; exit 1; }
    "$busy" --config config "$@" >program.out 2>program.err &
    program=$!
  done
  http=$(sed -n 's|^http://||p' program.out)
}
# top ARGUMENT...: in a shell of 110 columns and 24 rows that says how it ended.
top() {
  tmux kill-session -t top 2>/dev/null
  tmux new-session -d -s top -x 110 -y 24 "env PS1='ready: ' bash --norc --noprofile"
  sees '^ready:'
  press "stty -a | md5sum >before; '$weft' rpc top $*; echo \"status \$?\"; stty -a | md5sum >after" Enter
}
# ended STATUS: the shell is back, in the terminal as it was.
ended() {
  sees "^status $1\$"
  sees '^ready: *$'
  cmp -s before after || fail 'the terminal is not as before'
  screen | grep -q 'q quit' && fail 'the screen was not restored'
  press 'echo typed' Enter
  sees '^typed$'  # it echoes again
}

start 'transport { name: "linux" } rpc { listen: "127.0.0.1:0" } metrics { listen: "0" }' --hostile

# --- what it shows ---
top "$http"
sees "^busy_program: running for [0-9ms]+, pid $program, linux, 1 worker *\$"
sees '^[0-9.]+k? served/s, [0-9.]+k? called/s, [1-9][0-9.]* errors/s, [0-9]+ in flight, 3 sessions *$'
sees '^METHOD +SIDE +CALLS/S +ERRORS/S +IN FLIGHT +P50 +P99 +CALLS +ERRORS'
sees '^kv.KeyValue/Get +(server|client) +[1-9][0-9.]*k? +0 +[0-9]+ +\(?[0-9.]+[nu]s\)? +\(?[0-9.]+[um]s\)? +[1-9]'
sees '^q quit +s sort \(rate\) +p pause +arrows scroll'
sees '^bell\? escape\?\[31mred'  # no terminal was told to be red
screen | awk 'length($0) > 110 { exit 1 }' || fail 'a line is longer than the screen'

# --- keys ---
press s
sees 's sort \(errors\)'
sees '^kv.KeyValue/Delete +server +[1-9][0-9.]* +[1-9]'
comes 'the most errors first' line 5 '^kv.KeyValue/Delete.*server'
press s s s
sees 's sort \(name\)'
comes 'sorted by name' line 5 '^">'
press End
sees '^PEER +SIDE +STATE +WORKER +REQUESTS/S +IN FLIGHT +RTT +RESENT +CREDITS'
sees '^127.0.0.1:[0-9]+ +client +open +0 +[1-9]'
press Home
sees '^METHOD '
press Down Down
comes 'scrolled' lacks '^METHOD '
press Up Up
sees '^METHOD '
press p
sees 'p go on \(paused\)'
pause 0.5
still=$(screen)
pause 2
[[ $(screen) == "$still" ]] || fail 'it moved while paused'
press p
sees 'p pause'

# --- other sizes ---
tmux resize-window -t top -x 70 -y 12
sees '^q quit +s sort \(name\)'
comes '12 lines' lines 12
sees '^".*~ +(server|client) '  # names give room
tmux resize-window -t top -x 30 -y 3
pause 0.5
tmux resize-window -t top -x 110 -y 24
sees '^METHOD .* ERRORS'

# --- ways to end ---
press q
ended 0
for signal in INT TERM HUP; do
  top "$http" --interval 200ms
  sees '^METHOD '
  pid=$(pgrep -P "$(tmux list-panes -t top -F '#{pane_pid}')" -f 'rpc top') || fail 'no process'
  kill "-$signal" "$pid"
  ended 0
done
top "$http"
sees '^METHOD '
press C-c
ended 0
top "$http"
sees '^METHOD '
press C-z  # stopped, and in the foreground again
sees 'Stopped'
press fg Enter
sees '^METHOD '
press q
sees '^ready: *$'

# --- a program that goes, and one that comes back ---
top "$http"
sees '^METHOD '
kill -9 "$program"
wait "$program" 2>/dev/null
sees "^gone, last heard at [0-9:]{8}: nothing listens at $http"
sees '^METHOD '
start "transport { name: \"shm\" } rpc { listen: \"shm:rpc-top-test\" } host { workers: 2 }
       metrics { listen: \"$http\" }"
sees "^busy_program: running for [0-9ms]+, pid $program, shm, 2 workers *\$"
comes 'back' lacks '^gone'
kill -STOP "$program"
sees '^gone, last heard at '
press q  # is not held up for longer than an answer may take
ended 0
kill -CONT "$program"

# --- without a terminal ---
# Sooner or later, as the program has stood still.
once() {
  "$weft" rpc top "$http" --once --interval 500ms >once 2>err &&
    grep -Eq '^kv.KeyValue/Scan +server +[1-9]' once &&
    grep -Eq '^shm:.* +client +open +[01] +[1-9]' once
}
comes 'rates and sessions with --once' once
grep -q $'\x1b' once && fail '--once has escape codes'
"$weft" rpc top "$http" </dev/null >out 2>err
(($? == 2)) || fail 'no terminal: status'
grep -q 'weft rpc top: needs a terminal; --once prints without one' err || fail "$(cat err)"
top "$http" --interval 1ms
ended 2
tmux kill-session -t top
tmux new-session -d -s top -x 110 -y 24 "env PS1='ready: ' bash --norc --noprofile"
press "TERM=nonsense '$weft' rpc top $http" Enter
sees "cannot use a terminal of type 'nonsense'"
kill "$program"
wait "$program"
top "$http"
ended 1
sees "^weft rpc top: nothing listens at $http"

((failures == 0)) && echo 'all as expected'
exit "$((failures > 0))"
