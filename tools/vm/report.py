#!/usr/bin/env python3
"""Says how the programs of a vm_suite fared.

Usage: report.py RESULTS NAME...

RESULTS is the directory that run_programs has written. Prints a table, writes
one JUnit file of all programs to $XML_OUTPUT_FILE, and exits 1 if one failed or
did not run.
"""

import os
import pathlib
import sys
import xml.etree.ElementTree as ET

TIMED_OUT = (124, 137)


def outcome(results, name):
    """Returns (word, what to say, seconds, has it failed) for a program."""
    skipped = results / f"{name}.skipped"
    if skipped.exists():
        return "SKIPPED", skipped.read_text().strip(), "0", False
    status = results / f"{name}.status"
    words = status.read_text().split() if status.exists() else []
    if len(words) != 2:
        return "NOT RUN", "the machine ended before it did", "0", True
    code, seconds = int(words[0]), words[1]
    if code == 0:
        return "PASSED", "", seconds, False
    if code in TIMED_OUT:
        return "TIMEOUT", "it was ended at its limit", seconds, True
    return "FAILED", f"exit status {code}", seconds, True


def suites_of(results, name, word, text, seconds, failed):
    """The program's own JUnit suites; without them, or if they do not say that it failed, one of ours."""
    suites = []
    try:
        suites = list(ET.parse(results / f"{name}.xml").getroot())
    except (OSError, ET.ParseError):
        pass
    for suite in suites:
        suite.set("name", f"{name}.{suite.get('name')}")
    if not suites or (failed and not any(suite.iter("failure") for suite in suites)):
        suite = ET.Element("testsuite", name=name, tests="1", failures=str(int(failed)), time=seconds)
        case = ET.SubElement(suite, "testcase", name=name, classname=name, time=seconds)
        if failed:
            ET.SubElement(case, "failure", message=f"{word}: {text}")
        elif word == "SKIPPED":
            ET.SubElement(case, "skipped", message=text)
        suites.append(suite)
    return suites


def main() -> int:
    results, names = pathlib.Path(sys.argv[1]), sys.argv[2:]
    document = ET.Element("testsuites", name="vm_suite")
    bad = []
    print("\nprogram, result, tests, seconds")
    for name in names:
        word, text, seconds, failed = outcome(results, name)
        suites = suites_of(results, name, word, text, seconds, failed)
        document.extend(suites)
        cases = [case for suite in suites for case in suite.iter("testcase")]
        skipped = sum(1 for case in cases if case.find("skipped") is not None)
        if word == "PASSED" and skipped and skipped == len(cases):
            word = "SKIPPED"
        count = f"{len(cases)}" + (f" ({skipped} skipped)" if skipped else "")
        print(f"{word:8} {name:36} {count:>14} {seconds:>7}" + (f"  {text}" if text else ""))
        if failed:
            bad.append(name)
            for case in cases:
                if case.find("failure") is not None:
                    print(f"           {case.get('classname')}.{case.get('name')}")
    document.set("tests", str(sum(1 for _ in document.iter("testcase"))))
    document.set("failures", str(sum(1 for _ in document.iter("failure"))))
    if "XML_OUTPUT_FILE" in os.environ:
        ET.ElementTree(document).write(os.environ["XML_OUTPUT_FILE"], encoding="utf-8", xml_declaration=True)
    print(f"{len(names) - len(bad)} passed or skipped, {len(bad)} failed" + (": " + ", ".join(bad) if bad else ""))
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
