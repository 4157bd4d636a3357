#!/usr/bin/env bash
# What a vm_test runs: vm_test.sh OPTION... -- PROGRAM ARGUMENT..., where the options are of tools/vm/run.
set -euo pipefail

run=$TEST_SRCDIR/weft/tools/vm/run
[[ -x $run ]] || run=$TEST_SRCDIR/$TEST_WORKSPACE/external/weft/tools/vm/run

options=(--rw "$TEST_UNDECLARED_OUTPUTS_DIR" --timeout $((TEST_TIMEOUT - 15)))
while [[ $1 != -- ]]; do
  options+=("$1")
  shift
done
shift

if ! why=$("$run" --prepare 2>&1); then
  echo "SKIPPED: no virtual machine can start here: $why"
  exit 0
fi

# What a test may look at; of other variables only those that the caller named with --test_env are
# worth having, and nobody can tell them from the rest.
mapfile -t variables < <(env | grep -E '^(TEST|GTEST|RUNFILES|JAVA_RUNFILES|PYTHON_RUNFILES|TZ|XML_OUTPUT)[A-Z_]*=')
exec "$run" "${options[@]}" -- env "${variables[@]}" "$PWD/$1" "${@:2}"
