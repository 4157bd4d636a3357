# SPDX-License-Identifier: Apache-2.0
"""What tshark shows of the envelope of services, which stands in the messages of R2P2."""

import unittest

import captures
from captures import extended, rows

PROTO = """
syntax = "proto3";
package kv;
message GetRequest { string key = 1; }
message GetResponse { string value = 1; }
message Row { uint32 number = 1; }
// service Commented { rpc Out(GetRequest) returns (GetResponse); }
service KeyValue {
  rpc Get(GetRequest) returns (GetResponse) { option deprecated = true; }
  rpc Read (GetRequest) returns (weft.rpc.RawBytes);
  rpc Scan(GetRequest) returns (stream Row);
  rpc Watch(stream Row) returns (stream .kv.Row);
}
"""
UNARY, OPEN, PUSH, PULL = range(4)
NOT_FOUND = 5


def method_id(name):
  value = 0xcbf29ce484222325
  for byte in name.encode():
    value = (value ^ byte) * 0x100000001b3 % 2**64
  return value


def field(number, content):
  return bytes([number * 8 + 2, len(content)]) + content


def request(kind, identity, *, number=None, flags=0, trace=b"", metadata=b"", body=b""):
  head = (b"WS\x01" + bytes([kind, flags | (1 if trace else 0)]) + len(metadata).to_bytes(3, "big") +
          identity.to_bytes(8, "big"))
  return head + (b"" if number is None else number.to_bytes(8, "big")) + trace + metadata + body


def reply(status, *, number=None, flags=0, trailer=b"", body=b""):
  head = b"WS\x01" + bytes([status, flags]) + len(trailer).to_bytes(3, "big")
  return head + (b"" if number is None else number.to_bytes(8, "big")) + trailer + body


class ServicesTest(captures.TestCase):

  def capture(self, *messages):
    """A capture of (sequence, request) and (sequence, reply, True), each in one packet."""
    datagrams = []
    for sequence, message, *back in messages:
      type_and_policy, sessions = (0x11, (9, 7)) if back else (0x01, (7, 9))
      datagrams.append((extended(type_and_policy, 0xc0, sequence=sequence, session=sessions[0],
                                 from_session=sessions[1], body=message), bool(back)))
    path = self.path("services.pcap")
    captures.write_capture(path, datagrams)
    return path

  def proto_options(self):
    proto = self.write("kv.proto", PROTO)
    return ("-o", "weft.protos:" + proto,
            "-o", f'uat:protobuf_search_paths:"{self.folder}","TRUE"')

  def test_a_unary_call(self):
    metadata = field(1, field(1, b"user") + field(2, b"ann")) + field(1, field(1, b"k\xff"))
    trace = bytes(range(16)) + bytes(range(8)) + b"\x01"
    path = self.capture(
        (1, request(UNARY, method_id("kv.KeyValue/Get"), trace=trace, metadata=metadata,
                    body=field(1, b"apple"))),
        (1, reply(0, body=field(1, b"red")), True))
    options = self.proto_options()
    self.assertEqual(
        rows(path, "weft.service.kind weft.service.method weft.service.trace_flags "
             "weft.service.metadata.entry weft.service.status", options=options),
        [("0", "kv.KeyValue/Get", "0x01", "user: ann,6BFF: ", ""), ("", "kv.KeyValue/Get", "", "", "0")])
    self.assertEqual(rows(path, "frame.number", "weft.service.trace_id == 00:01:02:03:04:05:06:07:08:"
                          "09:0a:0b:0c:0d:0e:0f"), [("1",)])
    # Wireshark's own dissector of protocol buffers has the messages.
    self.assertEqual(rows(path, "protobuf.message.name protobuf.field.value.string _ws.col.Protocol",
                          options=options),
                     [("kv.GetRequest", "apple", "Weft"), ("kv.GetResponse", "red", "Weft")])
    # Without the .proto file there is the id.
    self.assertEqual([info.split("deadline")[0] for info, in rows(path, "_ws.col.Info")],
                     ["REQUEST slot=1 seq=1 67 bytes UNARY 0x%016x" % method_id("kv.KeyValue/Get"),
                      "RESPONSE slot=1 seq=1 13 bytes OK"])

  def test_a_status_with_details(self):
    trailer = (field(1, b"no apple") + field(2, field(1, b"type/x") + field(2, b"y")) +
               field(3, field(1, field(1, b"cost") + field(2, b"7"))))
    path = self.capture((1, request(UNARY, method_id("kv.KeyValue/Read"))),
                        (1, reply(NOT_FOUND, trailer=trailer), True))
    self.assertEqual(
        rows(path, "weft.service.status weft.service.status_message weft.service.detail "
             "weft.service.metadata.entry", "weft.failed"),
        [("5", "no apple", "type/x: y", "cost: 7")])
    self.assertEqual(rows(path, "_ws.col.Info", options=self.proto_options())[1],
                     ("RESPONSE slot=1 seq=1 44 bytes NOT_FOUND kv.KeyValue/Read: no apple",))

  def test_a_stream(self):
    stream, rows_of_batch = 0xabc, b"\x02\x08\x01" b"\x02\x08\x02" b"\x00"
    path = self.capture(
        (1, request(OPEN, method_id("kv.KeyValue/Watch"), number=stream)),
        (2, request(PULL, stream, number=0)),
        (3, request(PUSH, stream, number=0, flags=2, body=rows_of_batch)),
        (3, reply(0), True),
        (2, reply(0, number=0, flags=2, body=rows_of_batch), True),
        (1, reply(0, number=1), True))
    shown = rows(path, "weft.service.kind weft.service.method weft.service.opened_in "
                 "weft.service.sequence weft.service.messages weft.service.batches",
                 options=self.proto_options())
    name = "kv.KeyValue/Watch"
    self.assertEqual(shown, [
        ("1", name, "", "", "", ""), ("3", name, "1", "0", "", ""), ("2", name, "1", "0", "3", ""),
        ("", name, "", "", "", ""), ("", name, "", "0", "3", ""), ("", name, "", "", "", "1")])
    self.assertEqual(rows(path, "protobuf.message.name", "frame.number == 5", options=self.proto_options()),
                     [("kv.Row,kv.Row",)])
    self.assertEqual(rows(path, "frame.number", f"weft.service.stream_id == {stream}"),
                     [("1",), ("2",), ("3",)])

  def test_what_is_cut_off_is_malformed(self):
    whole = request(OPEN, 1, number=2, trace=bytes(25), metadata=field(1, b""))
    path = self.capture(*((n, whole[:n]) for n in range(16, len(whole))))
    self.assertEqual(len(rows(path, "frame.number", "weft.malformed")), len(whole) - 16)
    path = self.capture(
        (1, request(UNARY, 1, metadata=b"\x0a\x05")), (2, request(PUSH, 2, number=0, body=b"\x05ab")),
        (3, request(4, 2)), (4, request(UNARY, 1)), (4, reply(2, trailer=b"\x0a\x7f"), True),
        (5, request(PULL, 2, number=1)), (5, reply(0), True))
    self.assertEqual(rows(path, "frame.number", "weft.malformed"),
                     [("1",), ("2",), ("3",), ("5",), ("7",)])

  def test_what_the_capture_does_not_have_is_not_malformed(self):
    whole = request(OPEN, 1, number=2, trace=bytes(25), metadata=field(1, b""))
    path = self.path("cut.pcap")
    for kept in 17, 30, 50:
      captures.write_capture(path, [extended(0x01, 0xc0, body=whole)], captured_max=42 + 44 + kept)
      self.assertEqual(rows(path, "weft.service.kind weft.malformed"), [("1", "")])

  def test_payloads_that_are_no_envelope(self):
    path = self.capture((1, b"WS"), (2, b"WS\x02" + bytes(20)), (3, b""), (3, b"WS\x01", True))
    self.assertEqual(rows(path, "frame.number", "weft.service.magic || weft.malformed"), [])


TESTING_PROTO = """
package weft.rpc.testing;
service Echo {
  rpc Echo(EchoRequest) returns (EchoResponse);
  rpc Fail(FailRequest) returns (EchoResponse);
}
service Streams { rpc Chat(stream Item) returns (stream Item); }
"""


# Of packets that were sent again, those that came first.
FIRST = "!weft.first_sent_in"


class RealServicesTest(captures.TestCase):

  def calls(self, *calls, security=""):
    """Calls methods of a server; returns the server's capture."""
    config = self.write("server.cfg", """
        transport { name: "linux" decorators { pcap { path: "server.pcapng" } } } """ + security)
    client = self.write("client.cfg", captures.PATIENT + security)
    with captures.Server(self.folder, captures.SERVICES, "127.0.0.1:0", config) as server:
      for call in calls:
        self.output = captures.run(["sh", "-c", '"$0" "$@" || :', captures.WEFT, "rpc", "call",
                                    server.address, *call, "--config", client], self.folder)
    return self.path("server.pcapng")

  def test_calls_and_streams(self):
    capture = self.calls(
        ("weft.rpc.testing.Echo/Echo", '{"text": "abc", "times": 2}', "--trace", "--metadata", "a=b"),
        ("weft.rpc.testing.Echo/Echo", '{"text": "0123456789", "times": 1000}'),
        ("weft.rpc.testing.Echo/Fail", '{"code": 5, "message": "no apple"}'),
        ("weft.rpc.testing.Streams/Chat", '{"number": 1}\n{"number": 2}'))
    options = ("-o", "weft.protos:" + self.write("testing.proto", TESTING_PROTO))
    self.assertEqual(rows(capture, "frame.number", "!weft || weft.malformed || _ws.malformed"), [])
    echo = rows(capture, "weft.service.kind weft.service.status weft.service.trace_flags "
                "weft.service.metadata.entry weft.message.packets",
                f'weft.service.method == "weft.rpc.testing.Echo/Echo" && {FIRST}', options=options)
    self.assertEqual(echo[:3], [("0", "", "0x01", "a: b", ""), ("", "0", "", "a: b", ""),
                                ("0", "", "", "", "")])
    # A long reply, put together; it ends with whichever of its packets came last.
    self.assertEqual(len(echo), 4, echo)
    self.assertEqual(echo[3][:2], ("", "0"))
    self.assertGreater(int(echo[3][4]), 1)
    failed = rows(capture, "weft.service.status",
                  f'weft.failed && weft.service.status_message == "no apple" && {FIRST}')
    self.assertEqual(failed, [("5",)])
    chat = rows(capture, "weft.service.kind weft.service.stream_id weft.service.sequence "
                "weft.service.messages weft.service.batches",
                'weft.service.method == "weft.rpc.testing.Streams/Chat"', options=options)
    self.assertEqual(len({stream for _, stream, *_ in chat if stream}), 1, chat)
    self.assertLessEqual({"1", "2", "3"}, {kind for kind, *_ in chat})
    # In whatever batches; each counts once, however often it was sent.
    batches_of = lambda side: {sequence: int(count) for kind, _, sequence, count, _ in chat
                               if kind == side and int(count or 0)}
    pushed, pulled = batches_of("2"), batches_of("")
    self.assertEqual((sum(pushed.values()), sum(pulled.values())), (2, 2), chat)
    self.assertEqual({int(batches) for *_, batches in chat if batches}, {len(pulled)}, chat)

  def test_secured_ones_are_only_what_they_are(self):
    self.write("key", "00112233445566778899aabbccddeeff" * 2)
    security = 'security { psk { identity: "tester" key_file: "%s" } }' % self.path("key")
    capture = self.calls(("weft.rpc.testing.Echo/Echo", '{"text": "secret", "times": 1}'),
                         security=security)
    self.assertIn("secret", self.output)
    self.assertEqual(rows(capture, "frame.number", "!weft || weft.malformed"), [])
    self.assertEqual(
        rows(capture, "frame.number", 'weft.type || weft.service.magic || frame contains "secret"'), [])
    # Each may have been sent several times.
    handshake = list(dict.fromkeys(kind for kind, in rows(capture, "weft.handshake.type")))
    self.assertEqual(handshake[:3], ["1", "2", "3"])
    numbers = rows(capture, "weft.secure.number", "weft.secure.magic == 0xd7")
    self.assertGreaterEqual(len(numbers), 4)
    self.assertTrue(rows(capture, "frame.number", "weft.handshake.flags.complete == 1"))

  def test_damaged_handshakes(self):
    head = b"\xd8\x01\x01\x00" + bytes(12)
    path = self.path("made.pcap")
    captures.write_capture(path, [
        head + bytes(48), head, b"\xd8\x01\x02\x00" + bytes(60), b"\xd8\x02\x01\x80" + bytes(36),
        (b"\xd8\x02\x01\x80" + bytes(35), True), b"\xd8\x03\x01\x00" + bytes(43),
        b"\xd8\x04\x01\x00" + bytes(12), b"\xd8\x05\x01\x00" + bytes(12), b"\xd8",
        b"\xd7" + bytes(31), b"\xd7" + bytes(30), b"\xd7\x00\x01\x00" + bytes(40)])
    self.assertEqual([number for number, in rows(path, "frame.number", "weft.malformed")],
                     ["2", "3", "5", "6", "7", "8", "9", "11", "12"])


if __name__ == "__main__":
  unittest.main()
