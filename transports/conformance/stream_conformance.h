// SPDX-License-Identifier: Apache-2.0
//
// What the tests of streams share: ports, what has happened to their streams, and pairs of them.
#ifndef WEFT_TRANSPORTS_CONFORMANCE_STREAM_CONFORMANCE_H_
#define WEFT_TRANSPORTS_CONFORMANCE_STREAM_CONFORMANCE_H_

#include <algorithm>
#include <cstring>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/string_view.h"
#include "weft/transports/conformance/conformance.h"

namespace weft {

// A port and what has happened to its streams. Checks that events come in the promised order.
class StreamSide {
 public:
  struct Stream {
    bool opened = false;  // accepted or connected
    bool readable = false;
    bool writable = false;
    bool remote_closed = false;
    bool closed = false;
    int error = 0;
  };

  explicit StreamSide(std::unique_ptr<StreamPort> port) : port_(std::move(port)) {}

  StreamPort& port() { return *port_; }
  Stream& operator[](StreamId id) { return streams_[id.value]; }
  bool empty() const { return streams_.empty(); }
  const std::vector<StreamId>& accepted() const { return accepted_; }

  void Poll() {
    StreamEvent events[5];
    const size_t n = port_->Poll(absl::MakeSpan(events));
    ASSERT_LE(n, 5u);
    for (const StreamEvent& event : absl::MakeSpan(events, n)) Take(event);
  }

  // Writes as much of `bytes` as there is room for, in pieces of up to `piece`; returns how much.
  size_t Write(StreamId id, absl::string_view bytes, size_t piece = 65536) {
    size_t written = 0;
    while (written < bytes.size()) {
      const size_t wanted = std::min(piece, bytes.size() - written);
      const absl::Span<uint8_t> room = port_->Reserve(id, wanted);
      EXPECT_LE(room.size(), wanted);
      if (room.empty()) break;
      std::memcpy(room.data(), bytes.data() + written, room.size());
      port_->Commit(id, room.size());
      written += room.size();
    }
    return written;
  }

  // Takes what has arrived, up to `limit` bytes.
  std::string Read(StreamId id, size_t limit = SIZE_MAX) {
    std::string bytes;
    while (bytes.size() < limit) {
      const absl::Span<const uint8_t> view = port_->ReadView(id);
      if (view.empty()) break;
      const size_t n = std::min(view.size(), limit - bytes.size());
      bytes.append(reinterpret_cast<const char*>(view.data()), n);
      port_->Consume(id, n);
    }
    return bytes;
  }

 private:
  void Take(const StreamEvent& event) {
    ASSERT_TRUE(event.stream);
    const bool known = streams_.contains(event.stream.value);
    Stream& stream = streams_[event.stream.value];
    EXPECT_FALSE(stream.closed) << "an event after the last";
    switch (event.kind) {
      case StreamEvent::Kind::kAccepted:
        EXPECT_FALSE(known);
        accepted_.push_back(event.stream);
        [[fallthrough]];
      case StreamEvent::Kind::kConnected:
        EXPECT_FALSE(stream.opened);
        stream.opened = true;
        break;
      case StreamEvent::Kind::kReadable:
        EXPECT_TRUE(stream.opened);
        EXPECT_FALSE(stream.remote_closed) << "bytes after the end";
        stream.readable = true;
        break;
      case StreamEvent::Kind::kWritable:
        EXPECT_TRUE(stream.opened);
        stream.writable = true;
        break;
      case StreamEvent::Kind::kRemoteClosed:
        EXPECT_TRUE(stream.opened);
        EXPECT_FALSE(stream.remote_closed);
        stream.remote_closed = true;
        break;
      case StreamEvent::Kind::kClosed:
        stream.closed = true;
        stream.error = event.error;
        break;
    }
  }

  std::unique_ptr<StreamPort> port_;
  std::map<uint64_t, Stream> streams_;
  std::vector<StreamId> accepted_;
};

class StreamConformance : public ConformanceTest {
 protected:
  StreamSide OpenSide(Transport& transport) {
    auto port = transport.OpenStreamPort({});
    EXPECT_TRUE(port.ok()) << port.status();
    return StreamSide(*std::move(port));
  }

  // A server that listens, a client, and a stream between them.
  struct Pair {
    StreamSide server;
    StreamSide client;
    Address address;
    StreamId at_server;
    StreamId at_client;
  };

  std::unique_ptr<Pair> Connect() {
    auto pair =
        std::make_unique<Pair>(Pair{OpenSide(transport(0)), OpenSide(transport(1)), {}, {}, {}});
    auto address = pair->server.port().Listen(Local(0), 16);
    EXPECT_TRUE(address.ok()) << address.status();
    pair->address = *address;
    pair->at_client = ConnectTo(pair->client, *address);
    EXPECT_TRUE(UntilPolled(pair->server, pair->client, [&] {
      return pair->client[pair->at_client].opened && !pair->server.accepted().empty();
    }));
    if (!pair->server.accepted().empty()) pair->at_server = pair->server.accepted()[0];
    return pair;
  }

  static StreamId ConnectTo(StreamSide& side, const Address& address) {
    const absl::StatusOr<StreamId> stream = side.port().Connect(address);
    EXPECT_TRUE(stream.ok()) << stream.status();
    return stream.value_or(StreamId());
  }

  bool UntilPolled(StreamSide& a, StreamSide& b, absl::FunctionRef<bool()> done) {
    return Until([&] {
      a.Poll();
      b.Poll();
      return done();
    });
  }
  bool UntilPolled(Pair& pair, absl::FunctionRef<bool()> done) {
    return UntilPolled(pair.server, pair.client, done);
  }

  // All of `bytes` from one end to the other.
  void ExpectTransfer(StreamSide& from, StreamId out, StreamSide& to, StreamId in,
                      const std::string& bytes) {
    size_t written = 0;
    std::string got;
    EXPECT_TRUE(UntilPolled(from, to, [&] {
      written += from.Write(out, absl::string_view(bytes).substr(written));
      got += to.Read(in);
      return got.size() >= bytes.size();
    }));
    EXPECT_EQ(got.size(), bytes.size());
    EXPECT_TRUE(got == bytes) << "other bytes arrived than were sent";
  }
  void ExpectTheyTalk(Pair& pair) {
    ExpectTransfer(pair.client, pair.at_client, pair.server, pair.at_server, "ping");
    ExpectTransfer(pair.server, pair.at_server, pair.client, pair.at_client, "pong");
  }

  // A stream that is gone, or never was: nothing happens.
  static void ExpectHarmless(StreamPort& port, StreamId id) {
    EXPECT_TRUE(port.ReadView(id).empty());
    port.Consume(id, 1);
    EXPECT_TRUE(port.Reserve(id, 100).empty());
    port.Commit(id, 1);
    port.CloseWrite(id);
    port.Close(id);
    port.Abort(id);
    EXPECT_EQ(port.Send(id, 5, [](absl::Span<uint8_t> room) { return room.size(); }), 0u);
    Buffer buffer = port.pool().Allocate();
    std::memcpy(buffer.Append(4), "kept", 4);
    EXPECT_FALSE(port.SendBuffer(id, &buffer));
    ASSERT_TRUE(buffer);
    EXPECT_EQ(buffer.size(), 4u);
    EXPECT_EQ(port.PeerAddress(id).status().code(), absl::StatusCode::kNotFound);
    EXPECT_EQ(port.LocalAddress(id).status().code(), absl::StatusCode::kNotFound);
    EXPECT_EQ(port.SetOptions(id, {}).code(), absl::StatusCode::kNotFound);
    EXPECT_EQ(port.Info(id).status().code(), absl::StatusCode::kNotFound);
  }
};

}  // namespace weft

#endif  // WEFT_TRANSPORTS_CONFORMANCE_STREAM_CONFORMANCE_H_
