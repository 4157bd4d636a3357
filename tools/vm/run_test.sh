#!/usr/bin/env bash
# tools/vm/run: what it says where it cannot work, then one machine.
set -euo pipefail

vm=$PWD/tools/vm
stubs=$TEST_TMPDIR/stubs
output=$TEST_TMPDIR/output

fail() {
  echo "FAIL: $*; output:" >&2
  cat "$output" >&2
  exit 1
}
# expect STATUS COMMAND...
expect() {
  local status=0
  "${@:2}" >"$output" 2>&1 </dev/null || status=$?
  ((status == $1)) || fail "${*:2}: status $status, not $1"
}
says() { grep -qF -- "$1" "$output" || fail "does not say: $1"; }

expect 0 "$vm/run" --help
says 'Usage: tools/vm/run'
expect 125 "$vm/run"
says 'no command given'
expect 125 "$vm/run" --frobnicate -- true
says 'unknown option --frobnicate'
expect 125 "$vm/run" --nic
says '--nic takes a value'
expect 125 "$vm/run" --nic two -- true
says '--nic takes a number'
expect 125 "$vm/run" --nic 9 -- true
says 'at most 8 NICs'
expect 125 "$vm/run" --nic 2 --bind e1000 -- true
says 'not e1000'
expect 125 "$vm/run" --accel magic -- true
says 'not magic'
expect 125 "$vm/run" --rw /nowhere -- true
says 'no directory /nowhere'

# Programs are missing: their packages are named, and a test says that it was skipped.
mkdir "$stubs"
ln -s /usr/bin/* /usr/sbin/ip /usr/sbin/depmod "$stubs/" 2>/dev/null || true
rm -f "$stubs"/{qemu-system-x86_64,cpio}
skip() { env PATH="$stubs" "$vm/vm_test.sh" -- true; }
expect 125 env PATH="$stubs" "$vm/run" -- true
says 'missing packages: qemu-system-x86 cpio'
expect 0 skip
says 'SKIPPED: '
says 'missing packages: qemu-system-x86 cpio'

if ! why=$("$vm/run" --prepare 2>&1); then
  echo "SKIPPED what needs a machine: $why"
  exit 0
fi

# The kernel is not to be had.
rm -f "$stubs"/apt-*
ln -s /usr/bin/{qemu-system-x86_64,cpio} "$stubs/"
printf '#!/bin/sh\necho "E: no route to the archive" >&2\nexit 100\n' >"$stubs/apt-get"
printf '#!/bin/sh\n' >"$stubs/apt-cache"
chmod +x "$stubs"/apt-*
prepare() { env PATH="$stubs" WEFT_VM_CACHE="$TEST_TMPDIR/cache" "$vm/run" --prepare; }
expect 125 prepare
says 'apt knows no package linux-image-amd64'
printf '#!/bin/sh\necho "  Depends: linux-image-1"\n' >"$stubs/apt-cache"
expect 125 prepare
says 'cannot fetch package linux-image-1: E: no route to the archive'

# A status, both outputs, a directory that stays, one that does not, and the RDMA network.
mkdir "$TEST_TMPDIR/kept" "$TEST_TMPDIR/lost"
# shellcheck disable=SC2016
expect 7 "$vm/run" --net --rw "$TEST_TMPDIR/kept" --timeout 120 -- bash -c '
  cd "$0"
  touch kept/file lost/file && ping -c 1 -W 10 10.77.0.2 >/dev/null && rdma link && echo complaint >&2
  exit 7' "$TEST_TMPDIR"
says 'link rxe1/1 state ACTIVE'
says 'complaint'
[[ -e $TEST_TMPDIR/kept/file ]] || fail 'did not keep the file'
[[ ! -e $TEST_TMPDIR/lost/file ]] || fail 'wrote to the host'
echo PASS
