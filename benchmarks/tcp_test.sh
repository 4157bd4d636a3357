#!/usr/bin/env bash
# Runs the benchmark of small requests on TCP, briefly: whether it measures, not what.
set -euo pipefail

if (($(nproc) < 2)); then
  echo 'needs two cores'
  exit 0
fi
tcp="$TEST_SRCDIR/$TEST_WORKSPACE/benchmarks/tcp"
"$tcp" --runs=1 --duration=200ms --json "$TEST_TMPDIR/figures.json" | tee "$TEST_TMPDIR/table"
python3 - "$TEST_TMPDIR/figures.json" "$TEST_TMPDIR/table" <<'PYTHON'
import json
import sys

figures = {row["figure"]: row for row in json.load(open(sys.argv[1]))["rows"]}
always = ["SPSC ring, p50", "raw virtio-user, p50", "echo over virtio-user, p50",
          "httpd over virtio-user", "httpd over virtio-user, new connections",
          "httpd by turns", "httpd by turns, new connections",
          "httpd over loopback", "httpd over loopback, new connections"]
installed = ["nginx over loopback", "nginx over veth", "httpd over AF_XDP on veth",
             "nginx over loopback, new connections", "lwIP over TAP",
             "lwIP in one thread over TAP", "httpd over TAP"]
for name in always + installed:
    if name in installed and name not in figures:
        # What is not permitted here, or not installed, has its reason in the table instead.
        reasons = [line for line in open(sys.argv[2]) if line.startswith(name + " ")]
        assert reasons and ("root" in reasons[0] or "installed" in reasons[0]), (name, reasons)
        print("skipped:", reasons[0].strip())
        continue
    row = figures[name]
    assert row["value"] > 0 and row["runs"] == [row["value"]], row
PYTHON
