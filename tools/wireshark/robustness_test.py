# SPDX-License-Identifier: Apache-2.0
"""Packets that are cut, that have bits flipped or that are noise: none is an error of the dissector."""

import random
import unittest

import captures

FLIPS = 4000
SEED = 20190710


class RobustnessTest(captures.TestCase):

  def setUp(self):
    super().setUp()
    capture = self.captured_calls('name: "sim" sim { loss: 0.05 seed: 5 }')
    extended = captures.read_datagrams(capture)
    original = captures.read_datagrams(
        self.captured_calls('name: "sim"', rest="rpc { wire: ORIGINAL }"))
    self.datagrams = extended + original

  def show(self, datagrams, **how):
    path = self.path("damaged.pcap")
    captures.write_capture(path, datagrams, **how)
    shown = captures.tshark(path, "-V")
    wrong = [line for line in shown if "Lua" in line or "Dissector bug" in line]
    self.assertEqual(wrong, [], f"seed {SEED}")
    self.assertEqual(sum(line.startswith("Frame ") for line in shown), len(datagrams))

  def test_datagrams_that_end_early(self):
    short = [(payload[:n], back) for payload, back in self.datagrams[::7]
             for n in (*range(0, min(70, len(payload)), 3), len(payload) - 1)]
    self.show(short)

  def test_captures_that_keep_the_beginning(self):
    for kept in (*range(42, 100, 7), 200):
      self.show(self.datagrams, captured_max=kept)

  def test_flipped_bits(self):
    generator = random.Random(SEED)
    damaged = []
    for _ in range(FLIPS):
      payload, back = generator.choice(self.datagrams)
      damaged_bytes = bytearray(payload)
      for _ in range(generator.randint(1, 4)):
        # Most of them where bits mean something.
        at = generator.randrange(min(len(payload), generator.choice((8, 44, 100, 2000))))
        damaged_bytes[at] ^= 1 << generator.randrange(8)
      damaged.append((bytes(damaged_bytes), back))
    self.show(damaged)

  def test_noise(self):
    generator = random.Random(SEED)
    noise = []
    for _ in range(1000):
      bytes_behind = generator.randbytes(generator.randrange(120))
      noise.append(generator.choice((b"", b"\xcc", b"\xcc\x08", b"\xcc\x2c\x00\xc0", b"\xd7", b"\xd8")) +
                   bytes_behind)
    self.show(noise)


if __name__ == "__main__":
  unittest.main()
