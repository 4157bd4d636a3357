#!/usr/bin/env bash
# Runs rpc_incast, briefly: incast_test looks at the figures.
set -euo pipefail

"$TEST_SRCDIR/$TEST_WORKSPACE/benchmarks/rpc_incast" --senders=4 --duration=2ms \
  --json "$TEST_TMPDIR/figures.json"
python3 - "$TEST_TMPDIR/figures.json" <<'PYTHON'
import json
import sys

figures = {row["figure"]: row for row in json.load(open(sys.argv[1]))["rows"]}
for algorithm in ("swift", "new_reno", "none"):
    for name in (", goodput", ", fairness", ", queue, mean", ", p50"):
        row = figures[f"incast 4 requests of 65536 B, {algorithm}{name}"]
        assert row["value"] > 0, row
PYTHON
