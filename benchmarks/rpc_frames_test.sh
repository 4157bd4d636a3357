#!/usr/bin/env bash
# Runs rpc_frames, briefly: whether it measures, not what.
set -euo pipefail

if (($(nproc) < 2)); then
  echo 'needs two cores'
  exit 0
fi
rpc_frames="$TEST_SRCDIR/$TEST_WORKSPACE/benchmarks/rpc_frames"
"$rpc_frames" --runs=1 --duration=20ms --json "$TEST_TMPDIR/figures.json" | tee "$TEST_TMPDIR/table"
python3 - "$TEST_TMPDIR/figures.json" "$TEST_TMPDIR/table" <<'PYTHON'
import json
import sys

figures = {row["figure"]: row for row in json.load(open(sys.argv[1]))["rows"]}
always = ["SPSC ring, p50", "raw virtio-user, p50", "rpc dpdk busy, p50", "rpc linux busy, p50",
          "rpc dpdk busy, 32 outstanding", "netstack UDP receive and reply",
          "netstack UDP receive and reply, bursts of 32, cycles", "udp vhost to virtio-user",
          "udp virtio-user to vhost"]
with_root = ["raw AF_XDP native, p50", "rpc afxdp native busy, p50", "raw AF_XDP generic, p50",
             "rpc afxdp generic busy, p50", "raw AF_PACKET, p50", "rpc packet busy, p50"]
for name in always + with_root:
    if name in with_root and name not in figures:
        # What is not permitted here has its reason in the table instead.
        reasons = [line for line in open(sys.argv[2]) if line.startswith(name)]
        assert reasons and ("root" in reasons[0] or "CAP_" in reasons[0]), (name, reasons)
        print("skipped:", reasons[0].strip())
        continue
    row = figures[name]
    assert row["value"] > 0 and row["runs"] == [row["value"]], row
PYTHON
if "$rpc_frames" --only=nothing-of-the-kind; then exit 1; fi
