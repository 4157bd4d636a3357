#!/usr/bin/env bash
# tools/setup against a stubbed package manager: nothing is ever installed.
set -euo pipefail

setup=$PWD/tools/setup
stubs=$TEST_TMPDIR/stubs
installed=$TEST_TMPDIR/installed # one package a line
log=$TEST_TMPDIR/log             # what was run
output=$TEST_TMPDIR/output
mkdir -p "$stubs"

cat >"$stubs/dpkg-query" <<EOF
#!/bin/bash
status=0
for package in "\${@:3}"; do
  if grep -qx "\$package" "$installed"; then echo -n "installed=\$package "; else status=1; fi
done
exit \$status
EOF
cat >"$stubs/apt-get" <<EOF
#!/bin/bash
echo "apt-get \$*" >>"$log"
[[ -f $TEST_TMPDIR/apt_broken ]] && exit 0
for word in "\$@"; do
  case \$word in -* | install | update | *=*) ;; *) echo "\$word" >>"$installed" ;; esac
done
EOF
cat >"$stubs/sudo" <<EOF
#!/bin/bash
echo sudo >>"$log"
exec "\$@"
EOF
printf '#!/bin/bash\n' >"$stubs/bazel"
chmod +x "$stubs"/*
printf 'ID=debian\nVERSION_ID="12"\n' >"$TEST_TMPDIR/debian12"
printf 'ID=plan9\nPRETTY_NAME="Plan 9"\n' >"$TEST_TMPDIR/plan9"

export PATH=$stubs:/usr/bin:/bin
export WEFT_OS_RELEASE=$TEST_TMPDIR/debian12

fail() {
  echo "FAIL: $*; output:" >&2
  cat "$output" >&2
  exit 1
}
# expect STATUS ARGUMENT...: runs tools/setup and compares its exit status.
expect() {
  local status=0
  : >"$log"
  "$setup" "${@:2}" >"$output" 2>&1 </dev/null || status=$?
  ((status == $1)) || fail "tools/setup ${*:2}: status $status, not $1"
}
says() { grep -qF -- "$1" "$output" || fail "does not say: $1"; }
ran() { grep -qF -- "$1" "$log" || fail "did not run: $1"; }
ran_nothing() { [[ ! -s $log ]] || fail "ran: $(cat "$log")"; }

# Nothing is installed: --check reports and touches nothing.
: >"$installed"
expect 1 --check
says 'missing: bazel-bootstrap'
says 'run tools/setup to install'
ran_nothing

# Something is missing: exactly that is installed, after an update, as root.
expect 0
sed -i '/^libgtest-dev$/d' "$installed"
expect 0
says 'missing: libgtest-dev'
says 'apt-get -qq update'
ran 'apt-get -qq update'
ran 'install --yes --no-install-recommends libgtest-dev'
grep -q g++ "$log" && fail 'installed what was there'
if ((EUID != 0)); then
  ran sudo
  says 'sudo apt-get'
fi

# Everything is there: no package manager, and no word but on a foreign Bazel.
rm "$stubs/bazel"
expect 0
ran_nothing
[[ $(command -v bazel) != /usr/bin/bazel || ! -s $output ]] || fail 'is not quiet'
expect 0 --check
ran_nothing

# A Bazel from elsewhere is named.
printf '#!/bin/bash\n' >"$stubs/bazel"
chmod +x "$stubs/bazel"
expect 0
says "your PATH has $stubs/bazel"

# Developer tools are a set of their own.
expect 1 --check --dev
says 'clang-tidy-16'
says 'run tools/setup --dev'
expect 0 --dev
ran clang-tidy-16

# An installation that did nothing is an error.
touch "$TEST_TMPDIR/apt_broken"
: >"$installed"
expect 1
says 'still missing: bazel-bootstrap'

# Another distribution is told what it needs; nothing is run.
WEFT_OS_RELEASE=$TEST_TMPDIR/plan9 expect 1
says 'this is Plan 9'
says '  libprotobuf-dev'
ran_nothing
WEFT_OS_RELEASE=$TEST_TMPDIR/nowhere expect 1
says 'an unknown system'
ran_nothing

expect 0 --help
says 'Usage: tools/setup'
expect 2 --frobnicate
says 'unknown option --frobnicate'
echo PASS
