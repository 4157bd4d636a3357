#!/usr/bin/env bash
# vm_suite's runner, with programs of our own: on "devices" of this machine, so that none is booted.
set -euo pipefail

vm=$PWD/tools/vm
output=$TEST_TMPDIR/output
export TEST_UNDECLARED_OUTPUTS_DIR=$TEST_TMPDIR/outputs XML_OUTPUT_FILE=$TEST_TMPDIR/test.xml
export WEFT_RDMA_DEVICES=mlx5_7 WEFT_RDMA_ADDRESSES='10.0.0.1 10.0.0.2'
fail() {
  echo "FAIL: $*; output:" >&2
  cat "$output" >&2
  exit 1
}
says() { grep -qE -- "$1" "$output" || fail "does not say: $1"; }
# program NAME: its body is on standard input.
program() {
  { echo '#!/bin/bash'; cat; } >"$TEST_TMPDIR/$1"
  chmod +x "$TEST_TMPDIR/$1"
}
# suite STATUS ARGUMENT...
suite() {
  local status=0
  rm -rf "$TEST_UNDECLARED_OUTPUTS_DIR"
  mkdir "$TEST_UNDECLARED_OUTPUTS_DIR"
  (cd "$TEST_TMPDIR" && "$vm/suite_test.sh" "${@:2}") >"$output" 2>&1 || status=$?
  ((status == $1)) || fail "status $status, not $1"
}

program fails <<<'exit 3'
program crashes <<<'kill -SEGV $$'
program hangs <<<'sleep 1000 & sleep 1000'
# shellcheck disable=SC2016
program reports <<'PROGRAM'
echo "devices $WEFT_RDMA_DEVICES, addresses $WEFT_RDMA_ADDRESSES"
[[ -z ${WEFT_RDMA_NETWORK:-} ]] || exit 1
cat >"$XML_OUTPUT_FILE" <<XML
<testsuites><testsuite name="Good"><testcase name="One" classname="Good"/>
<testcase name="Two" classname="Good"><skipped message="no"/></testcase></testsuite></testsuites>
XML
PROGRAM

all=(fails 9 rdma none fails hangs 1 rdma none hangs crashes 9 rdma none crashes reports 9 rdma none reports)
suite 1 -- "${all[@]}" --
says '^FAILED +fails .*exit status 3'
says '^TIMEOUT +hangs '
says '^FAILED +crashes .*exit status 139'
says '^PASSED +reports +2 \(1 skipped\)'
says '^devices mlx5_7 mlx5_7, addresses 10.0.0.1 10.0.0.2'
says '^1 passed or skipped, 3 failed: fails, hangs, crashes'
grep -q 'tests="5" failures="3"' "$XML_OUTPUT_FILE" || fail "JUnit: $(<"$XML_OUTPUT_FILE")"
grep -q 'name="reports.Good"' "$XML_OUTPUT_FILE" || fail 'no test cases in JUnit'

suite 0 -- "${all[@]}" -- reports
says '^1 passed or skipped, 0 failed'
suite 1 -- "${all[@]}" -- nobody
says 'no program of this suite is named nobody'

# What wants the machine says so where none can start.
mkdir "$TEST_TMPDIR/stubs"
ln -s /usr/bin/* /usr/sbin/ip /usr/sbin/depmod "$TEST_TMPDIR/stubs/" 2>/dev/null || true
rm -f "$TEST_TMPDIR/stubs/qemu-system-x86_64"
PATH=$TEST_TMPDIR/stubs suite 0 -- fails 9 machine none fails reports 9 rdma none reports --
says '^SKIPPED +fails .*missing packages: qemu-system-x86'
says '^PASSED +reports'
says '^2 passed or skipped, 0 failed'
echo PASS
