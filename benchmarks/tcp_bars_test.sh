#!/usr/bin/env bash
# Runs the TCP benchmarks that the machine makes no difference to: what comes out must meet the bars.
set -euo pipefail

programs="$TEST_SRCDIR/$TEST_WORKSPACE/benchmarks"
"$programs/tcp_sim" --quick --json "$TEST_TMPDIR/sim.json"
python3 - "$TEST_TMPDIR/sim.json" <<'PYTHON'
import json
import sys

rows = {row["figure"]: row for row in json.load(open(sys.argv[1]))["rows"]}
assert rows["cubic, 1 % loss, 1 ms, goodput"]["ratio"] >= 0.9, rows
assert rows["cubic, 10 ms, 5 s apart, Jain"]["value"] >= 0.95, rows
PYTHON
"$programs/tcp_sim" --run --congestion_control=dctcp --flows=3 --rate_mbps=50 --queue_packets=40 \
  --mark_above_packets=8 --seconds=1 >"$TEST_TMPDIR/one"
grep -q '^dctcp' "$TEST_TMPDIR/one"

# All answer, keepalives too, and nothing is left: it fails if not.
"$programs/tcp_connections" --connections=20000 --json "$TEST_TMPDIR/connections.json"
grep -q 'a connection that rests' "$TEST_TMPDIR/connections.json"
