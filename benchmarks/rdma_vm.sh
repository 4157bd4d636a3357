#!/usr/bin/env bash
# The benchmark `rdma` for a machine without RDMA devices: in a virtual machine that has two of
# Soft-RoCE (tools/vm/run says what that takes). Figures from there compare weft with perftest on
# the same devices; they say nothing about the speed of hardware.
#
#   bazel run --config=release //benchmarks:rdma_vm -- --quick
set -euo pipefail

root=$0.runfiles/weft
[[ -d $root ]] || root=$PWD # `bazel run` starts it there
options=()
for argument in "$@"; do
  case $argument in
    --json=*) options+=(--rw "$(dirname "$(realpath "${argument#*=}")")") ;;
  esac
done
exec "$root/tools/vm/run" --net --smp 2 --timeout 600 "${options[@]}" -- \
  "$(realpath "$root/benchmarks/rdma")" --transports=rdma "$@"
