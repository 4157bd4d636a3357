#!/usr/bin/env bash
# Runs tcp_bulk, briefly: whether it measures, not what.
set -euo pipefail

if (($(nproc) < 2)); then
  echo 'needs two cores'
  exit 0
fi
tcp_bulk="$TEST_SRCDIR/$TEST_WORKSPACE/benchmarks/tcp_bulk"
"$tcp_bulk" --runs=1 --duration=50ms --json "$TEST_TMPDIR/figures.json" | tee "$TEST_TMPDIR/table"
python3 - "$TEST_TMPDIR/figures.json" "$TEST_TMPDIR/table" <<'PYTHON'
import json
import sys

figures = {row["figure"]: row for row in json.load(open(sys.argv[1]))["rows"]}
always = ["kernel, loopback", "weft, virtio-user to vhost",
          "weft, virtio-user to vhost, copied by its reader", "weft, vhost to virtio-user",
          "weft, virtio-user to vhost, buffers of 2 KiB"]
with_root = ["kernel, veth", "weft to kernel, TAP", "kernel to weft, TAP",
             "weft to kernel, veth, packet socket", "kernel to weft, veth, packet socket",
             "kernel, veth, plain frames", "weft to kernel, veth, AF_XDP",
             "kernel to weft, veth, AF_XDP"]
for name in always + with_root:
    if name in with_root and name not in figures:
        # What is not permitted here has its reason in the table instead.
        reasons = [line for line in open(sys.argv[2]) if line.startswith(name)]
        assert reasons, name
        print("skipped:", reasons[0].strip())
        continue
    assert figures[name]["value"] > 0, figures[name]
PYTHON
if "$tcp_bulk" --only=nothing-of-the-kind; then exit 1; fi
