# SPDX-License-Identifier: Apache-2.0
"""What tshark shows of real calls, and of packets that are rare or wrong."""

import unittest

import captures
from captures import extended, rows

LOSSY = 'name: "%s" decorators { fault { loss: 0.1 seed: 7 } } decorators { pcap { path: "%s" } }'
OUR_PORT = ("-o", "weft.ports:7000")


def packet(text):
  return bytes.fromhex(text)


# In front of a datagram of 10.77.0.2:33000.
ROUTE = packet("cc1000c8 0001 0001 040080e8 0a4d0002")


def anycast(type_and_policy=0x00, session=0, from_session=9, body=b"hi"):
  """A request whose server a router picks."""
  plain = extended(type_and_policy, 0xc0, session=session, from_session=from_session, key=0)
  return b"\xcc\x40" + plain[2:] + packet("00000000 000c0ffe 00000000 00000005 000003e8") + body


class ExtendedTest(captures.TestCase):

  def test_a_simulated_run(self):
    capture = self.captured_calls('name: "sim"')
    self.assertEqual(rows(capture, "frame.number", "!weft"), [])
    self.assertEqual(rows(capture, "frame.number", "weft.malformed || weft.cut"), [])
    session = rows(capture, "weft.hello.slots weft.hello.packet_bytes weft.hello.timeout",
                   "weft.kind == 1 || weft.kind == 2")
    self.assertEqual(session, [("128", "1472", "5000000")] * 2)
    self.assertEqual(rows(capture, "weft.code", "weft.type == 4"), [("1",), ("9",)])
    self.assertEqual(len(rows(capture, "frame.number", "weft.dropped")), 2)

  def test_requests_and_replies_know_each_other(self):
    capture = self.captured_calls('name: "sim" sim { latency_us: 50 jitter_us: 0 }')
    asked = dict(rows(capture, "frame.number weft.response_in",
                      "weft.type == 0 && weft.flags.first == 1 && weft.flags.resent == 0"))
    answered = dict(rows(capture, "weft.request_in frame.number", "weft.response_time && weft.type == 1"))
    self.assertEqual(len(answered), 2)
    first = min(answered, key=int)
    self.assertEqual(asked[first], answered[first])
    # The capture is the server's: it answers at once, on its virtual clock.
    times = [float(t) for t, in rows(capture, "weft.response_time", "weft.type == 1 && weft.response_time")]
    self.assertEqual(times[0], 0)
    # What waits for its deadline has no answer; and nobody says so before all packets are known.
    sleeping = rows(capture, "weft.request_id.sequence", "weft.unanswered && weft.type == 0")
    self.assertEqual(sleeping, [("5",)])
    self.assertEqual(rows(capture, "frame.number", "weft.unanswered", complete=False), [])

  def test_what_was_lost_is_seen_again(self):
    capture = self.captured_calls('name: "sim" sim { loss: 0.05 seed: 5 }')
    again = rows(capture, "weft.type weft.first_sent_in", "weft.resent && weft.first_sent_in")
    self.assertTrue(again)
    for kind, first in again:
      self.assertEqual(rows(capture, "weft.type", f"frame.number == {first}"), [(kind,)])
    self.assertEqual(rows(capture, "frame.number", "weft.flags.resent == 1 && !weft.resent && weft.type < 2"),
                     [])
    gaps = rows(capture, "weft.progress.of weft.progress.missing", "weft.progress.bits > 0")
    self.assertTrue(gaps)
    self.assertEqual(gaps[0][0], "reply")

  def test_long_messages_are_put_together(self):
    capture = self.captured_calls('name: "sim" sim { loss: 0.05 seed: 5 }')
    whole = rows(capture, "weft.type weft.message.bytes weft.message.packets", "weft.message.bytes")
    self.assertEqual(whole, [("0", "20000", "15"), ("1", "20000", "15")])
    ends = rows(capture, "frame.number", "weft.message.bytes")
    of_request = rows(capture, "weft.message.complete_in", "weft.type == 0 && weft.message.packet == 3")
    self.assertEqual(of_request, [ends[0]])

  def test_kernel_sockets_and_loss(self):
    server = self.write("server.cfg", "transport { %s }" % (LOSSY % ("linux", "server.pcapng")))
    client = self.write("client.cfg", captures.PATIENT +
                        "transport { %s }" % (LOSSY % ("linux", "client.pcapng")))
    with captures.Server(self.folder, captures.WEFT, "rpc", "serve", "--listen", "127.0.0.1:0", "--config", server) as served:
      captures.run([captures.WEFT, "rpc", "ping", served.address, "--count", "300", "--config", client],
                   self.folder)
    for name in "server.pcapng", "client.pcapng":
      capture = self.path(name)
      self.assertEqual(rows(capture, "frame.number", "!weft || weft.malformed"), [])
      # IPv4, as on the wire, though the client's socket has both families.
      self.assertEqual(set(rows(capture, "ip.version")), {("4",)})
      self.assertTrue(rows(capture, "frame.number", "weft.resent"))
      self.assertGreaterEqual(len(rows(capture, "frame.number", "weft.type == 1 && weft.response_time")),
                              200)

  def test_shared_memory_with_packets_longer_than_udp_has(self):
    config = self.write("large.cfg", """transport {
        name: "shm" buffers { bytes: 200000 count: 256 }
        shm { ring_bytes: 4194304 max_message_bytes: 150000 }
        decorators { pcap { path: "shm.pcapng" snap_length_bytes: 262144 } } }""")
    with captures.Server(self.folder, captures.WEFT, "rpc", "serve", "--listen", "shm:large", "--config", config) as served:
      captures.run([captures.WEFT, "rpc", "ping", served.address, "--count", "2", "--size", "140000",
                    "--timeout", "60s"],
                   self.folder)
    capture = self.path("shm.pcapng")
    self.assertEqual(rows(capture, "frame.number", "!weft || _ws.malformed || weft.malformed"), [])
    self.assertEqual(len(rows(capture, "frame.number", "weft.message.bytes == 140000")), 4)


class OriginalTest(captures.TestCase):

  def test_a_simulated_run(self):
    capture = self.captured_calls('name: "sim"', rest="rpc { wire: ORIGINAL }")
    self.assertEqual(rows(capture, "frame.number", "!weft || weft.malformed || weft.header_size != 8"), [])
    whole = rows(capture, "weft.type weft.message.bytes weft.message.packets", "weft.message.bytes")
    self.assertEqual(whole, [("0", "20000", "15"), ("1", "20000", "14")])
    self.assertEqual(rows(capture, "weft.drop.text", "weft.type == 4"), [("DROP",)])
    self.assertEqual(len(rows(capture, "frame.number", "weft.type == 1 && weft.response_time")), 2)

  def test_the_same_id_again_is_another_call(self):
    request, reply = packet("cc0800c00001000131323334"), packet("cc0811c00001000131323334")
    path = self.path("again.pcap")
    captures.write_capture(path, [request, (reply, True), request, (reply, True), request, request])
    self.assertEqual(
        rows(path, "weft.request_in weft.response_in weft.first_sent_in"),
        [("", "2", ""), ("1", "", ""), ("", "4", ""), ("3", "", ""), ("", "", ""), ("", "", "5")])

  def test_feedback_and_replicas(self):
    path = self.path("router.pcap")
    captures.write_capture(path, [packet("cc0820c0000100010001 80e8 0a4d0002"),
                                  packet("cc0850c000010001 00")], ports=(40000, 9000))
    self.assertEqual(rows(path, "weft.type weft.feedback.client_port weft.feedback.client_ip"),
                     [("2", "33000", "10.77.0.2"), ("5", "", "")])


class RouterTest(captures.TestCase):

  def test_a_request_to_any_server(self):
    path = self.path("anycast.pcap")
    captures.write_capture(path, [anycast(), ROUTE + anycast()])
    self.assertEqual(
        rows(path, "weft.anycast.affinity weft.anycast.age weft.route.ip weft.route.port _ws.col.Info"),
        [("0x0000000000000005", "1000", "", "", "REQUEST to any slot=1 seq=1 2 bytes"),
         ("0x0000000000000005", "1000", "10.77.0.2", "33000",
          "REQUEST to any slot=1 seq=1 2 bytes [of 10.77.0.2:33000]")])
    self.assertEqual(rows(path, "frame.number", "weft.malformed || weft.unanswered"), [])

  def test_what_servers_and_routers_tell(self):
    batch = packet("cc1820c0 0000 0002 0000000000000007 0000000000000100") + bytes(range(24))
    join = extended(0x31, 0xc0, slot=0, sequence=0, kind=12, session=0, from_session=1,
                    body=packet("0000000000000007 0004 0001 0000c350 0400 1f40 0a000002"))
    ack = extended(0x31, 0xc0, slot=0, sequence=0, kind=15, session=1, from_session=0,
                   body=packet("0000000000000009 0000000000000007 00000003 0000c350"))
    pool = extended(0x31, 0xc0, slot=0, sequence=0, kind=11,
                    body=packet("0001 0080 000005c0 0000000000000009 004c4b40 00000009"))
    lost = extended(0x41, 0xc0, code=12, body=(500).to_bytes(4, "big"))
    path = self.path("router.pcap")
    captures.write_capture(path, [batch, join, (ack, True), (pool, True), (lost, True)])
    self.assertEqual([line for line, in rows(path, "_ws.col.Info")], [
        "FEEDBACK of 2, from 256 on", "JOIN of 10.0.0.2:8000", "LEAVE_ACK 3 outstanding",
        "POOL slots=128 packet=1472", "DROP slot=1 seq=1 NO_SERVER, again in 500 us"])
    self.assertEqual(rows(path, "weft.feedback.request", "weft.feedback.first == 256"),
                     [("0x0001020304050607,0x0c0d0e0f10111213",)])


class RareAndWrongTest(captures.TestCase):

  def info(self, *datagrams):
    path = self.path("made.pcap")
    captures.write_capture(path, datagrams)
    return [line for line, in rows(path, "_ws.col.Info")]

  def test_control_packets(self):
    overloaded = extended(0x41, 0xc0, code=2, body=(1500).to_bytes(4, "big"))
    cancel, reset, drain = (extended(0x31, 0xc0, kind=kind) for kind in (4, 9, 10))
    self.assertEqual(self.info((overloaded, True), cancel, (reset, True), (drain, True)), [
        "DROP slot=1 seq=1 OVERLOADED, again in 1500 us", "CANCEL slot=1 seq=1", "RESET slot=1 seq=1",
        "DRAIN slot=1 seq=1"])
    self.assertEqual(rows(self.path("made.pcap"), "frame.number", "weft.dropped || weft.cancelled || weft.reset"),
                     [("1",), ("2",), ("3",)])

  def test_progress_says_what_is_missing(self):
    progress = extended(0x31, 0x80, kind=3, order=5, body=packet("0010 000a a540"))
    self.assertEqual(self.info(progress), ["PROGRESS slot=1 seq=1 of a reply: 5 here, 16 granted"])
    self.assertEqual(rows(self.path("made.pcap"), "weft.progress.missing"), [("5,7,9,10,12,14",)])

  def test_messages_that_are_announced(self):
    body = (1 << 20).to_bytes(8, "big") + bytes(range(32))
    request = extended(0x00, 0x80, kind=16, order=735, body=body)
    reply = extended(0x10, 0x80, kind=16, order=735, body=body)
    keyless = extended(0x10, 0x80, kind=16, order=735, body=body[:8])
    hello = extended(0x31, 0xc0, slot=0, sequence=0, kind=1,
                     body=packet("0001 0080 000005c0 0000000000000009 004c4b40 00000000 00000000 00000001"))
    self.assertEqual(self.info(hello, request, (keyless, True), (reply, True)), [
        "HELLO slots=128 packet=1472", "ANNOUNCEMENT slot=1 seq=1 of a request: 1048576 bytes, or 735 packets",
        "ANNOUNCEMENT slot=1 seq=1 of a reply: 1048576 bytes, or 735 packets, not to be fetched yet",
        "ANNOUNCEMENT slot=1 seq=1 of a reply: 1048576 bytes, or 735 packets"])
    self.assertEqual(rows(self.path("made.pcap"), "weft.hello.features", "weft.hello.features.bulk == 1"),
                     [("0x00000001",)])
    self.assertEqual(rows(self.path("made.pcap"), "weft.announcement.of weft.announcement.bytes",
                          "weft.announcement.bytes > 0"),
                     [("request", "1048576"), ("reply", "1048576"), ("reply", "1048576")])
    self.assertEqual(len(rows(self.path("made.pcap"), "weft.announcement.key", "weft.announcement.key")), 2)

  def test_malformed_packets_of_a_known_port(self):
    good = extended(0x00, 0xc0, body=b"x")
    cases = [
        (b"\xcc", "shorter than a header"),
        (good[:43], "shorter than its header"),
        (b"\xcd" + good[1:], "magic is 0xcd"),
        (b"\xcc\x3c" + good[2:], "header size 60 is reserved"),
        (b"\xcc\x09" + good[2:], "unknown header size 9"),
        (extended(0x20, 0xc0), "unknown type 2"),
        (extended(0x04, 0xc0), "unknown policy 4"),
        (extended(0x00, 0xc1), "unknown flags"),
        (extended(0x00, 0xc0, order=0), "packet order 0"),
        (extended(0x00, 0xc0, order=2), "flags contradict the packet order"),
        (extended(0x00, 0xc0, kind=3), "kind does not go with the type"),
        (extended(0x31, 0xc0, kind=17), "unknown kind 17"),
        (extended(0x31, 0xc0, kind=16), "an announcement of no message"),
        (extended(0x00, 0xc0, kind=16), "an announcement is the first packet of several"),
        (extended(0x10, 0x80, order=2, kind=16, body=bytes(39)),
         "the body is shorter than an announcement"),
        (extended(0x00, 0x80, order=2, kind=16, body=bytes(40)), "an announcement of no bytes"),
        (extended(0x41, 0xc0, code=14), "unknown code 14"),
        (anycast(session=1), "a request to any server names a session"),
        (anycast(from_session=0), "a request to any server is of no pool"),
        (anycast(type_and_policy=0x10), "not the first packet of a request"),
        (anycast()[:63], "shorter than its header"),
        (ROUTE[:8] + packet("05000000") + anycast(), "unknown kind of address 5"),
        (ROUTE[:8] + packet("00000000") + anycast(), "the address is not as long as its header says"),
        (packet("cc1820c000000000") + bytes(16), "a FEEDBACK of 0 entries"),
        (packet("cc1820c000000002") + bytes(28), "not as long as its entries"),
        (extended(0x31, 0xc0, kind=12, body=bytes(19)), "the body is cut off"),
        (extended(0x31, 0x40, kind=3), "PROGRESS without the first flag"),
        (extended(0x31, 0x80, kind=5), "a control packet is not one packet"),
        (extended(0x31, 0xc0, kind=1, body=bytes(23)), "the body is shorter than a HELLO"),
        (extended(0x31, 0xc0, kind=1, body=bytes(24)), "version 0"),
        (extended(0x31, 0xc0, kind=3, body=bytes(3)), "the body is shorter than a PROGRESS"),
        (extended(0x31, 0xc0, kind=3, body=packet("00000401") + bytes(200)), "more than 1024 bits"),
        (extended(0x31, 0xc0, kind=3, body=packet("00000010 ff")), "the bitmap is cut off"),
        (packet("cc0880c000010001"), "unknown type 8"),
        (packet("cc0820c0000100010001"), "shorter than a FEEDBACK"),
    ]
    path = self.path("made.pcap")
    captures.write_capture(path, [wrong for wrong, _ in cases])
    self.assertEqual(rows(path, "weft.malformed _ws.col.Info", options=OUR_PORT),
                     [("1", "Malformed: " + why) for _, why in cases])

  def test_packets_that_disagree_about_their_message(self):
    first = extended(0x00, 0x80, order=3, body=b"a")
    beyond, other = extended(0x00, 0x00, order=4, body=b"b"), extended(0x00, 0x40, order=4, body=b"c")
    self.info(first, beyond, other)
    self.assertEqual(rows(self.path("made.pcap"), "frame.number", "weft.malformed"), [("2",), ("3",)])

  def test_any_port_if_the_first_bytes_are_right_and_then_all_of_it(self):
    good, damaged = extended(0x00, 0xc0, body=b"x"), b"\xcd" * 60
    path = self.path("made.pcap")
    captures.write_capture(path, [damaged, good, damaged], ports=(40000, 41000))
    self.assertEqual(rows(path, "weft weft.magic", complete=False),
                     [("", ""), ("weft", "0xcc"), ("weft", "0xcd")])
    self.assertEqual(rows(path, "weft", options=("-o", "weft.heuristic:FALSE")), [("",)] * 3)
    self.assertEqual(rows(path, "weft", options=("-o", "weft.ports:41000")), [("weft",)] * 3)

  def test_what_the_capture_does_not_have_is_not_malformed(self):
    path = self.path("cut.pcap")
    for kept in 0, 1, 7, 8, 43, 44, 45:
      captures.write_capture(path, [extended(0x00, 0xc0, body=b"hello")], captured_max=42 + kept)
      self.assertEqual(rows(path, "weft.malformed weft.cut", options=OUR_PORT)[0][0], "")
      if kept > 0: self.assertTrue(rows(path, "frame.number", "weft.cut", options=OUR_PORT))


if __name__ == "__main__":
  unittest.main()
