#!/usr/bin/env python3
"""Counts test targets in Bazel's build event protocol (a file of JSON lines).

Prints "N passed, N failed", and ", N skipped" for targets that do not fit the
machine. Exits 1 if a target failed, was not built, or nothing was tested.
"""

import json
import sys


def outcomes(lines):
    """Returns {label: "passed" | "failed" | "skipped"} for the test targets, and whether the build itself failed."""
    tests, outcome, broken = set(), {}, False
    for line in lines:
        event = json.loads(line)
        kind, identity = next(iter(event["id"].items()))
        label = identity.get("label")
        if kind == "targetConfigured" and event.get("configured", {}).get("testSize"):
            tests.add(label)
        elif kind == "targetCompleted" and "aborted" in event:
            outcome[label] = "skipped" if event["aborted"].get("reason") == "SKIPPED" else "failed"
        elif kind == "testSummary":
            status = event.get("testSummary", {}).get("overallStatus")
            outcome[label] = "passed" if status in ("PASSED", "FLAKY") else "failed"
        elif kind == "buildFinished":
            broken = event["finished"].get("exitCode", {}).get("name") not in ("SUCCESS", "TESTS_FAILED")
    # A test that was to run and of which nothing more was heard did not pass.
    return {label: outcome.get(label, "failed") for label in tests}, broken


def main() -> int:
    with open(sys.argv[1], encoding="utf-8") as lines:
        outcome, broken = outcomes(lines)
    for label in sorted(label for label, result in outcome.items() if result == "failed"):
        print("failed:", label)
    count = list(outcome.values()).count
    passed, failed, skipped = count("passed"), count("failed"), count("skipped")
    if failed == 0 and (broken or passed == 0):
        print("failed: the build itself (its errors are above)")
        failed = 1
    print(f"{passed} passed, {failed} failed" + (f", {skipped} skipped" if skipped else ""))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
