#!/usr/bin/env bash
# What a vm_test runs: vm_test.sh OPTION... -- PROGRAM ARGUMENT..., where the options are of tools/vm/run.
set -euo pipefail

run=$TEST_SRCDIR/weft/tools/vm/run

# A machine that hangs is ended, and its console shown, before Bazel ends the test.
options=(--timeout $((${TEST_TIMEOUT:-300} - 15)))
[[ -z ${TEST_UNDECLARED_OUTPUTS_DIR:-} ]] || options+=(--rw "$TEST_UNDECLARED_OUTPUTS_DIR")
while [[ $1 != -- ]]; do
  options+=("$1")
  shift
done
shift

if ! why=$("$run" --prepare 2>&1); then
  echo "SKIPPED: no virtual machine can start here: $why"
  exit 0
fi

# Bazel gives a test few variables; those of the machine are the guest's own.
variables=()
while read -r name; do
  case $name in
    HOME | PATH | PWD | OLDPWD | SHLVL | _ | WEFT_VM_*) ;;
    *) variables+=("$name=${!name}") ;;
  esac
done < <(compgen -e)
exec "$run" "${options[@]}" -- env "${variables[@]}" "$PWD/$1" "${@:2}"
