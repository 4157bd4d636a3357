#!/usr/bin/env bash
# Runs the benchmark of routers, briefly: whether it measures, not what.
set -euo pipefail

if (($(nproc) < 2)); then
  echo 'needs two cores'
  exit 0
fi
router=$TEST_SRCDIR/$TEST_WORKSPACE/benchmarks/router
"$router" --quick --runs=1 --json "$TEST_TMPDIR/figures.json" | tee "$TEST_TMPDIR/table"
python3 - "$TEST_TMPDIR/figures.json" <<'PYTHON'
import json
import sys

figures = {row["figure"]: row for row in json.load(open(sys.argv[1]))["rows"]}
for name in ["routed dpdk, client to server, p50", "routed dpdk, requests of one core",
             "routed linux, client to server, p50", "routed linux, requests of one core",
             "killed server, detected", "server back, used again",
             "routed random, load 0.50, p99", "routed jbsq, load 0.80, p99"]:
    assert figures[name]["value"] > 0, figures[name]
PYTHON
for wrong in --cores=x --loads=y --parts=z; do
  if "$router" "$wrong"; then exit 1; fi
done
