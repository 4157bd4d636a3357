#!/usr/bin/env bash
# Runs parts of the benchmark of small requests on TCP, briefly: whether it measures, not what.
set -euo pipefail

if (($(nproc) < 2)); then
  echo 'needs two cores'
  exit 0
fi
tcp="$TEST_SRCDIR/$TEST_WORKSPACE/benchmarks/tcp"
figures="$TEST_TMPDIR/figures.json"

# What is to be there, one a line; what need not be installed or permitted begins with a question
# mark, and has its reason in the table instead.
measures() {
  "$tcp" --runs=1 --duration=200ms --only="$1" --json "$figures" | tee "$TEST_TMPDIR/table"
  python3 - "$figures" "$TEST_TMPDIR/table" "${@:2}" <<'PYTHON'
import json
import sys

figures = {row["figure"]: row for row in json.load(open(sys.argv[1]))["rows"]}
for name in sys.argv[3:]:
    optional, name = name.startswith("?"), name.lstrip("?")
    if optional and name not in figures:
        reasons = [line for line in open(sys.argv[2]) if line.startswith(name + " ")]
        assert reasons and ("root" in reasons[0] or "installed" in reasons[0]), (name, reasons)
        print("skipped:", reasons[0].strip())
        continue
    row = figures[name]
    assert row["value"] > 0 and row["runs"] == [row["value"]], row
PYTHON
}

measures p50 'SPSC ring, p50' 'raw virtio-user, p50' 'echo over virtio-user, p50'
measures 'new connections' 'httpd over virtio-user, new connections' \
  'httpd by turns, new connections' 'httpd over loopback, new connections' \
  '?nginx over loopback, new connections'
measures 'one thread' '?lwIP in one thread over TAP'
if "$tcp" --cores=0; then exit 1; fi
