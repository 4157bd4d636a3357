// SPDX-License-Identifier: Apache-2.0
//
// What the tests of datagram_port.h share: messages, and ports that exchange them.
#ifndef WEFT_TRANSPORTS_CONFORMANCE_DATAGRAM_CONFORMANCE_H_
#define WEFT_TRANSPORTS_CONFORMANCE_DATAGRAM_CONFORMANCE_H_

#include <cstring>
#include <memory>
#include <string>
#include <utility>

#include "weft/transports/conformance/conformance.h"

namespace weft {

inline Datagram Message(BufferPool& pool, const Peer& to, const std::string& bytes) {
  Datagram datagram = {to, pool.Allocate()};
  if (datagram.buffer && !bytes.empty()) {
    std::memcpy(datagram.buffer.Append(bytes.size()), bytes.data(), bytes.size());
  }
  return datagram;
}

inline std::string TextOf(const Buffer& buffer) {
  return {reinterpret_cast<const char*>(buffer.data()), buffer.size()};
}

class DatagramTest : public ConformanceTest {
 protected:
  std::unique_ptr<DatagramPort> OpenPort(size_t n) {
    auto port = transport(n).OpenDatagramPort({.local = Local(n)});
    EXPECT_TRUE(port.ok()) << port.status();
    return port.ok() ? *std::move(port) : nullptr;
  }

  static Peer PeerAt(DatagramPort& from, DatagramPort& to) {
    const absl::StatusOr<Peer> peer = from.Resolve(to.local_address());
    EXPECT_TRUE(peer.ok()) << peer.status();
    return peer.value_or(Peer());
  }

  // Tries until it is taken.
  bool Send(DatagramPort& port, const Peer& to, const std::string& bytes) {
    Datagram burst[] = {Message(port.pool(), to, bytes)};
    return burst[0].buffer && Until([&] { return port.Send(absl::MakeSpan(burst)) == 1; });
  }

  // The next message; null if none comes.
  Datagram Receive(DatagramPort& port) {
    Datagram burst[1];
    Until([&] { return port.Receive(absl::MakeSpan(burst)) == 1; });
    return std::move(burst[0]);
  }

  // A message from one to the other, and back.
  void ExpectTheyTalk(DatagramPort& a, DatagramPort& b) {
    ASSERT_TRUE(Send(a, PeerAt(a, b), "ping"));
    Datagram ping = Receive(b);
    while (ping.buffer && TextOf(ping.buffer) != "ping") ping = Receive(b);
    ASSERT_TRUE(ping.buffer);
    ASSERT_TRUE(Send(b, ping.peer, "pong"));
    Datagram pong = Receive(a);
    while (pong.buffer && TextOf(pong.buffer) != "pong") pong = Receive(a);
    ASSERT_TRUE(pong.buffer);
  }

  size_t max_payload() { return transport().capabilities().max_payload_bytes; }
};

}  // namespace weft

#endif  // WEFT_TRANSPORTS_CONFORMANCE_DATAGRAM_CONFORMANCE_H_
