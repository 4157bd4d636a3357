# SPDX-License-Identifier: Apache-2.0
"""Does what docs/guides/tutorial.md says, in a fresh folder beside weft.

A code block with `file=NAME` behind its language is that file. One of `console` is a session: lines
that begin with "$ " are typed, and what stands below them is what they print, on either output;
"..." stands for anything. A command that ends with "&" goes on while the next ones run, and what
stands below it is waited for. There are no other code blocks.
"""

import os
import re
import subprocess
import sys
import tempfile
import time

BLOCK = re.compile(r"^```(\S*)(?: file=(\S+))?\n(.*?)^```$", re.M | re.S)
TIMEOUT_S = 840


def blocks(page):
  for language, name, content in BLOCK.findall(page):
    if not name and language != "console":
      sys.exit(f"a block of '{language}' is neither a file nor a session:\n{content}")
    yield name, content


def commands(session):
  """(command, what it prints) of each."""
  found = []
  for line in session.splitlines():
    if line.startswith("$ "):
      found.append((line[2:], []))
    else:
      found[-1][1].append(line)
  return [(command, "\n".join(lines)) for command, lines in found]


def matches(expected, printed):
  pattern = ".*".join(re.escape(part) for part in expected.split("..."))
  return re.fullmatch(pattern, printed.strip("\n"), re.S)


class Shell:
  """A folder in which commands run, with the programs that the page takes for granted."""

  def __init__(self, root, weft_tool):
    self.base = tempfile.mkdtemp(prefix="tutorial.", dir="/tmp")
    self.folder = os.path.join(self.base, "workspace")
    programs, meeting_place = os.path.join(self.base, "programs"), os.path.join(self.base, "run")
    for folder in self.folder, programs, meeting_place:
      os.mkdir(folder)
    os.symlink(root, os.path.join(self.base, "weft"))
    os.symlink(weft_tool, os.path.join(programs, "weft"))
    # A Bazel of its own, which compiles in as little time as can be, because only the result
    # matters here. What has been compiled serves consumer_test too, for which the flags are the
    # same and the PATH above must not reach the compiler.
    cache = os.path.join(os.path.dirname(os.environ["TEST_TMPDIR"]), "nested_workspaces")
    self.output = os.environ.get("TUTORIAL_OUTPUT") or os.path.join(os.environ["TEST_TMPDIR"], "bazel")
    with open(os.path.join(programs, "bazel"), "w") as file:
      file.write(f"""#!/bin/sh
command=$1; shift
exec /usr/bin/bazel --output_user_root={self.output} --max_idle_secs=60 "$command" \\
    --noshow_progress --color=no --incompatible_strict_action_env \\
    --copt=-O0 --copt=-w --copt=--param=ggc-min-heapsize=1000000 \\
    --disk_cache={cache} {os.environ.get("TUTORIAL_FLAGS", "")} "$@" >bazel.log 2>&1
""")
    os.chmod(os.path.join(programs, "bazel"), 0o755)
    # On a busy machine, a server may take a while to answer, and is not to be taken for another one.
    patient = os.path.join(self.base, "patient.cfg")
    with open(patient, "w") as file:
      file.write("rpc { timeout_us: 10000000 session { negotiation_timeout_us: 10000000 } }")
    self.environment = {
        "PATH": programs + ":" + os.environ["PATH"], "HOME": os.environ["TEST_TMPDIR"],
        "USER": "tutorial", "XDG_RUNTIME_DIR": meeting_place, "WEFT_CONFIG": patient}
    self.servers = []

  def write(self, name, content):
    with open(os.path.join(self.folder, name), "w") as file:
      file.write(content)

  def run(self, command, expected):
    print("$", command, flush=True)
    if command.startswith("kill %"):
      self.servers[-1].terminate()
      self.servers.pop().wait(timeout=60)
    elif command.endswith("&"):
      self.start(command[:-1], expected)
    else:
      done = subprocess.run(command, shell=True, cwd=self.folder, env=self.environment, text=True,
                            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=TIMEOUT_S)
      print(done.stdout, flush=True)
      if not matches(expected, done.stdout):
        self.fail(f"'{command}' (exit status {done.returncode}) printed\n{done.stdout}\nnot\n{expected}")

  def start(self, command, expected):
    path = os.path.join(self.folder, "server.log")
    with open(path, "w") as log:
      self.servers.append(subprocess.Popen("exec " + command, shell=True, cwd=self.folder, stdout=log,
                                           stderr=log, env=self.environment))
    while True:
      with open(path) as log:
        printed = log.read()
      if matches(expected, printed):
        return
      if self.servers[-1].poll() is not None:
        self.fail(f"'{command}' ended: {printed}")
      time.sleep(0.02)

  def fail(self, text):
    log = os.path.join(self.folder, "bazel.log")
    if os.path.exists(log):
      with open(log) as file:
        text += "\n--- bazel ---\n" + file.read()[-5000:]
    sys.exit("FAILED: " + text)

  def close(self):
    for server in self.servers:
      server.kill()
    subprocess.run(["bazel", "shutdown"], cwd=self.folder, env=self.environment)
    subprocess.run(["rm", "-rf", self.base])


def main():
  runfiles = os.path.join(os.environ["TEST_SRCDIR"], os.environ["TEST_WORKSPACE"])
  root = os.path.dirname(os.path.realpath(os.path.join(runfiles, "WORKSPACE")))
  with open(os.path.join(runfiles, "docs/guides/tutorial.md")) as file:
    page = file.read()
  shell = Shell(root, os.path.join(runfiles, "cli/weft"))
  try:
    for name, content in blocks(page):
      if name:
        shell.write(name, content)
      else:
        for command, expected in commands(content):
          shell.run(command, expected)
  finally:
    shell.close()


main()
