#!/usr/bin/env bash
# Runs rpc_services, briefly: whether it measures, not what.
set -euo pipefail

if (($(nproc) < 2)); then
  echo 'needs two cores'
  exit 0
fi
"$TEST_SRCDIR/$TEST_WORKSPACE/benchmarks/rpc_services" --quick --runs=1 \
  --json "$TEST_TMPDIR/figures.json" | tee "$TEST_TMPDIR/table"
python3 - "$TEST_TMPDIR/figures.json" "$TEST_TMPDIR/table" <<'PYTHON'
import json
import sys

figures = {row["figure"]: row for row in json.load(open(sys.argv[1]))["rows"]}
table = open(sys.argv[2]).read()
names = ["SPSC ring, p50"]
for transport in ("linux", "shm"):
    names += [f"rpc extended {transport} busy, p50",
              f"typed observed {transport} busy, 32 outstanding"]
    for peer in ("typed", "typed TLS"):
        names += [f"{peer} {transport} busy{what}"
                  for what in (", p50", ", 32 outstanding", ", echo of 8 MiB", ", stream of 64 B")]
if "not installed: install libgrpc++-dev" not in table:
    for peer in ("gRPC", "gRPC TLS"):
        names += [f"{peer}, p50", f"{peer} spinning, p50", f"{peer}, 32 outstanding",
                  f"{peer}, echo of 8 MiB", f"{peer}, stream of 64 B"]
for name in names:
    assert figures[name]["value"] > 0, figures[name]
PYTHON
if "$TEST_SRCDIR/$TEST_WORKSPACE/benchmarks/rpc_services" --cores=x; then exit 1; fi
