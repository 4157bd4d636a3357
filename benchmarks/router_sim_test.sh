#!/usr/bin/env bash
# Runs router_sim, briefly: router_simulation_test looks at the figures.
set -euo pipefail

sim="$TEST_SRCDIR/$TEST_WORKSPACE/benchmarks/router_sim"
"$sim" --requests=20000 --plot="$TEST_TMPDIR/p99.svg" --json "$TEST_TMPDIR/figures.json"
python3 - "$TEST_TMPDIR/figures.json" <<'PYTHON'
import json
import sys

figures = {row["figure"]: row for row in json.load(open(sys.argv[1]))["rows"]}
for name in ("random, 16 servers", "one queue: jbsq(1), 16 servers", "jbsq(2), 16 servers"):
    row = figures[f"{name}, load 0.9, p99"]
    assert row["value"] > 0 and row["floor"] > 0, row
PYTHON

"$sim" --run --policy=jsq --servers=5 --service=fixed --requests=1000 >"$TEST_TMPDIR/one"
grep -q 'jsq, 5 servers' "$TEST_TMPDIR/one"
# A policy that there is not is told with those that there are.
if "$sim" --run --policy=fastest --requests=1000 >"$TEST_TMPDIR/unknown"; then exit 1; fi
grep -q 'power_of_two' "$TEST_TMPDIR/unknown"
