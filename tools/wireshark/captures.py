# SPDX-License-Identifier: Apache-2.0
"""Captures for tests of the dissector: made by programs, made by hand, and read by tshark."""

import os
import shutil
import signal
import struct
import subprocess
import tempfile
import unittest

ROOT = os.path.join(os.environ["TEST_SRCDIR"], os.environ["TEST_WORKSPACE"])
DISSECTOR = os.path.join(ROOT, "tools/wireshark/weft.lua")
CALLS = os.path.join(ROOT, "tools/wireshark/calls_to_capture")
WEFT = os.path.join(ROOT, "cli/weft")
SERVICES = os.path.join(ROOT, "cli/testing_services")

# Of a client: on a busy machine, a server may take a while to answer.
PATIENT = "rpc { wire: EXTENDED timeout_us: 60000000 } "


def run(command, folder):
  """Runs a program in `folder`; returns what it printed."""
  done = subprocess.run(command, cwd=folder, env=environment(folder), timeout=120, text=True,
                        stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
  assert done.returncode == 0, f"{command}: {done.returncode}: {done.stdout}"
  return done.stdout


def environment(folder):
  return {"PATH": os.environ["PATH"], "HOME": folder, "XDG_RUNTIME_DIR": folder}


class Server:
  """A server while a `with` block runs; its address is in `address`."""

  def __init__(self, folder, *command):
    self.process = subprocess.Popen(command, cwd=folder, text=True, env=environment(folder),
                                    stdout=subprocess.PIPE)

  def __enter__(self):
    line = self.process.stdout.readline()
    assert line.startswith("listening on "), line
    self.address = line.split()[2]
    return self

  def __exit__(self, *_):
    self.process.send_signal(signal.SIGTERM)
    self.process.communicate(timeout=60)


def tshark(capture, *arguments, complete=True):
  """The lines that tshark prints. `complete`: looks at all packets before it prints the first."""
  folder = tempfile.mkdtemp(dir=os.environ["TEST_TMPDIR"])
  command = ["tshark", "-n", "-X", "lua_script:" + DISSECTOR, "-r", capture]
  done = subprocess.run(command + (["-2"] if complete else []) + list(arguments), timeout=120,
                        env=environment(folder), stdout=subprocess.PIPE, stderr=subprocess.PIPE)
  errors = done.stderr.decode(errors="replace")
  assert done.returncode == 0 and "Lua" not in errors, errors
  return done.stdout.decode(errors="replace").splitlines()


def rows(capture, fields, display_filter="", complete=True, options=()):
  """The values of `fields` (a space between them) of each packet that passes the filter."""
  arguments = ["-T", "fields", "-E", "separator=|", "-E", "occurrence=a", *options]
  for field in fields.split():
    arguments += ["-e", field]
  if display_filter:
    arguments += ["-Y", display_filter]
  return [tuple(line.split("|")) for line in tshark(capture, *arguments, complete=complete)]


def write_capture(path, datagrams, ports=(40000, 7000), captured_max=262144):
  """A pcap file of UDP datagrams from 10.0.0.1 to 10.0.0.2, or back: bytes, or (bytes, True)."""
  with open(path, "wb") as file:
    file.write(struct.pack("=IHHiIII", 0xa1b23c4d, 2, 4, 0, 0, 262144, 1))
    for i, datagram in enumerate(datagrams):
      payload, back = datagram if isinstance(datagram, tuple) else (datagram, False)
      hosts = (bytes([10, 0, 0, 1]), bytes([10, 0, 0, 2]))
      (source, destination), (here, there) = hosts[::-1 if back else 1], ports[::-1 if back else 1]
      udp = struct.pack(">HHHH", here, there, 8 + len(payload), 0) + payload
      ip = struct.pack(">BBHHHBBH", 0x45, 0, 20 + len(udp), 0, 0, 64, 17, 0) + source + destination
      frame = bytes(12) + b"\x08\x00" + ip + udp
      kept = frame[:captured_max]
      file.write(struct.pack("=IIII", 1_700_000_000, i * 1000, len(kept), len(frame)) + kept)


def read_datagrams(path):
  """What the decorator `pcap` has written: (UDP payload, received or not) of each packet."""
  with open(path, "rb") as file:
    data = file.read()
  datagrams, at = [], 0
  while at < len(data):
    kind, length = struct.unpack_from("=II", data, at)
    if kind == 6:
      kept, = struct.unpack_from("=I", data, at + 20)
      flags, = struct.unpack_from("=I", data, at + length - 12)
      frame = data[at + 28:at + 28 + kept]
      headers = 42 if frame[12:14] == b"\x08\x00" else 62
      datagrams.append((frame[headers:], flags == 1))
    at += length
  return datagrams


def extended(type_and_policy, flags, *, slot=1, order=1, kind=0, code=0, body=b"", deadline=0,
             session=7, from_session=9, key=0xdeadbeef, sequence=1):
  """A packet of the extended format: what it has in common with most, unless it is said."""
  return (bytes([0xcc, 44, type_and_policy, flags]) + slot.to_bytes(2, "big") +
          order.to_bytes(2, "big") + session.to_bytes(4, "big") + from_session.to_bytes(4, "big") +
          key.to_bytes(4, "big") + deadline.to_bytes(4, "big") + sequence.to_bytes(6, "big") +
          slot.to_bytes(2, "big") + bytes(8) + b"\0\x20" + bytes([kind, code]) + body)


class TestCase(unittest.TestCase):
  """A test with a folder of its own, short enough for a Unix socket."""

  def setUp(self):
    if shutil.which("tshark") is None:
      self.skipTest("tshark is not installed")
    self.folder = tempfile.mkdtemp(prefix="weft.", dir="/tmp")
    self.addCleanup(shutil.rmtree, self.folder)

  def path(self, name):
    return os.path.join(self.folder, name)

  def write(self, name, text):
    with open(self.path(name), "w") as file:
      file.write(text)
    return self.path(name)

  def captured_calls(self, transport, address="sim:server", rest=""):
    """Runs calls_to_capture with what stands in `transport {}`; returns the server's capture."""
    config = self.write("calls.cfg", f"""
        transport {{ {transport} decorators {{ pcap {{ path: "calls.pcapng" }} }} }} {rest}""")
    self.output = run([CALLS, config, address], self.folder)
    return self.path("calls.pcapng")
