# Of the tests of the examples, which source it: a folder, a server in the background, and words for
# what fails.
# shellcheck shell=bash
# shellcheck disable=SC2034 # What is set here is theirs.

examples=$TEST_SRCDIR/$TEST_WORKSPACE/examples
# A path short enough for a Unix socket.
run=$(mktemp -d /tmp/weft_examples.XXXXXX)
export XDG_RUNTIME_DIR=$run
unset WEFT_CONFIG
server=
# shellcheck disable=SC2317 # The trap calls it.
clean_up() {
  [[ -z $server ]] || kill -9 "$server" 2>/dev/null || :
  rm -rf "$run"
}
trap clean_up EXIT

fail() {
  echo "FAILED: $*" >&2
  exit 1
}

# start COMMAND...: a server in the background; sets `address` to where it says that it listens.
start() {
  : >"$run/server" # nothing of the server before
  "$@" >"$run/server" 2>&1 &
  server=$!
  until grep -q '^listening on' "$run/server"; do
    kill -0 "$server" 2>/dev/null || fail "$1: $(cat "$run/server")"
    sleep 0.02
  done
  address=$(sed -n 's/^listening on \([^ ]*\) .*/\1/p;T;q' "$run/server")
}
stop() {
  kill -TERM "$server"
  wait "$server" || fail "exit status $?: $(cat "$run/server")"
  server=
}
