#!/usr/bin/env bash
# Runs rdma, briefly and without RDMA devices: whether it measures, not what. With devices,
# `rdma --transports=rdma` is what //transports/rdma:suite runs.
set -euo pipefail

if (($(nproc) < 2)); then
  echo 'needs two cores'
  exit 0
fi
"$TEST_SRCDIR/$TEST_WORKSPACE/benchmarks/rdma" --transports=shm,linux --quick --runs=1 \
  --json "$TEST_TMPDIR/figures.json"
python3 - "$TEST_TMPDIR/figures.json" <<'PYTHON'
import json
import sys

figures = {row["figure"]: row for row in json.load(open(sys.argv[1]))["rows"]}
for memory in ("memory shm", "memory linux emulated"):
    for name in ("read of 64 B, p50", "write of 64 B, p50", "fetch and add, p50", "reads of 1 MiB"):
        row = figures[f"{memory}, {name}"]
        assert row["value"] > 0 and row["runs"] == [row["value"]], row
PYTHON
if "$TEST_SRCDIR/$TEST_WORKSPACE/benchmarks/rdma" --transports=x; then exit 1; fi
