#!/usr/bin/env bash
# Builds and runs examples/consumer, a workspace of its own, with a Bazel of its own.
set -euo pipefail

root=$(dirname "$(realpath "$TEST_SRCDIR/$TEST_WORKSPACE/WORKSPACE")")
cd "$root/examples/consumer"

# Not the environment of a test: Bazel takes TEST_TMPDIR for its own.
nested=(env -i "PATH=$PATH" "HOME=$TEST_TMPDIR" USER=consumer
  bazel "--output_user_root=$TEST_TMPDIR/bazel" --max_idle_secs=60)
trap '"${nested[@]}" shutdown' EXIT

# No links in the source tree; compiled in as little time as can be, because only the result matters
# here. What has been compiled serves tutorial_test too, if its flags are the same.
flags=(--symlink_prefix=/ --noshow_progress --color=no --incompatible_strict_action_env
  --copt=-O0 --copt=-w --copt=--param=ggc-min-heapsize=1000000
  "--disk_cache=$(dirname "$TEST_TMPDIR")/nested_workspaces")
output=$("${nested[@]}" run "${flags[@]}" //:consumer)
echo "$output"
[[ $output == 'own rpc/client.h and '*'hello, consumer' ]]
