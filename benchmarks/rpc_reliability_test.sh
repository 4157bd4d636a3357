#!/usr/bin/env bash
# Runs rpc_reliability, briefly: whether it measures, not what.
set -euo pipefail

if (($(nproc) < 2)); then
  echo 'needs two cores'
  exit 0
fi
program="$TEST_SRCDIR/$TEST_WORKSPACE/benchmarks/rpc_reliability"
"$program" --quick --active_sessions=500 --idle_sessions=1000 --json "$TEST_TMPDIR/figures.json"
python3 - "$TEST_TMPDIR/figures.json" <<'PYTHON'
import json
import sys

figures = {row["figure"]: row for row in json.load(open(sys.argv[1]))["rows"]}
for transport in ("linux", "shm"):
    for name in (
        f"overload {transport}, goodput at saturation",
        f"rpc extended {transport} busy, 1 % lost, p50",
        f"rpc extended {transport} busy, 1 % lost, p99",
        f"500 active sessions {transport}",
        f"server killed {transport}, noticed after",
        f"client killed {transport}, noticed after",
        f"100 idle sessions {transport}, served afterwards",
    ):
        assert figures[name]["value"] > 0, figures[name]
PYTHON
if "$program" --only=x; then exit 1; fi
