#!/usr/bin/env bash
# Runs rpc_echo, briefly: whether it measures, not what.
set -euo pipefail

if (($(nproc) < 2)); then
  echo 'needs two cores'
  exit 0
fi
"$TEST_SRCDIR/$TEST_WORKSPACE/benchmarks/rpc_echo" --transports=linux,shm \
  --wires=original,extended --sizes=100 --outstanding=1,8 --rates=0,1000 --runs=1 \
  --duration=200ms --json "$TEST_TMPDIR/figures.json"
python3 - "$TEST_TMPDIR/figures.json" <<'PYTHON'
import json
import sys

figures = {row["figure"]: row for row in json.load(open(sys.argv[1]))["rows"]}
for transport in ("linux", "shm", "extended linux", "extended shm"):
    for name in (", p50", ", 8 outstanding", ", 1000/s", ", 1000/s, p99"):
        row = figures[f"rpc {transport} busy, 100 B{name}"]
        assert row["value"] > 0 and row["runs"] == [row["value"]], row
assert figures["SPSC ring, p50"]["unit"] == "us"
PYTHON
if "$TEST_SRCDIR/$TEST_WORKSPACE/benchmarks/rpc_echo" --transports=linux --sizes=x; then exit 1; fi
