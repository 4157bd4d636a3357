// SPDX-License-Identifier: Apache-2.0
//
// What stream_port.h promises of streams: from connecting to closing.
#include "weft/transports/conformance/stream_conformance.h"

#include <algorithm>
#include <atomic>
#include <cstring>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"

namespace weft {
namespace {

INSTANTIATE_TEST_SUITE_P(Streams, StreamConformance,
                         testing::ValuesIn(AdaptersWith(&Capabilities::streams)), AdapterName);

TEST_P(StreamConformance, ConnectingAndTalking) {
  auto pair = Connect();
  EXPECT_EQ(*Address::Parse(pair->address.ToString()), pair->address);
  EXPECT_TRUE(!pair->address.is_ip() || pair->address.port() != 0);
  EXPECT_EQ(*pair->client.port().PeerAddress(pair->at_client), pair->address);
  EXPECT_TRUE(pair->server.port().PeerAddress(pair->at_server).ok());
  EXPECT_EQ(pair->client.port().wait_fd() >= 0, transport().capabilities().can_wait);
  ExpectTheyTalk(*pair);
}

TEST_P(StreamConformance, BytesThatArriveAreAnnouncedEachTime) {
  auto pair = Connect();
  for (const char* text : {"first", "second", "third"}) {
    bool& readable = pair->server[pair->at_server].readable;
    readable = false;
    ASSERT_EQ(pair->client.Write(pair->at_client, text), strlen(text));
    ASSERT_TRUE(UntilPolled(*pair, [&] { return readable; }));
    EXPECT_EQ(pair->server.Read(pair->at_server), text);
  }
}

TEST_P(StreamConformance, NobodyListens) {
  StreamSide client = OpenSide(transport(1));
  StreamSide other = OpenSide(transport());
  // An address that was listened at a moment ago.
  Address address;
  {
    StreamSide brief = OpenSide(transport());
    address = *brief.port().Listen(Local(7 * GetParam().ends.size()), 1);
  }
  const absl::StatusOr<StreamId> stream = client.port().Connect(address);
  ASSERT_TRUE(stream.ok()) << "refusal is an event: " << stream.status();
  EXPECT_TRUE(UntilPolled(client, other, [&] { return client[*stream].closed; }));
  EXPECT_NE(client[*stream].error, 0);
  EXPECT_FALSE(client[*stream].opened);
}

TEST_P(StreamConformance, EchoInPiecesOfAllSizes) {
  auto pair = Connect();
  const std::string bytes = RandomBytes(1 << 20, 42);
  Prng prng(1);
  size_t written = 0;
  std::string pending;  // at the server, to be echoed
  std::string echoed;
  EXPECT_TRUE(UntilPolled(*pair,
                          [&] {
                            const size_t piece = 1 + prng.Below(1 << prng.Below(17));
                            written += pair->client.Write(
                                pair->at_client,
                                absl::string_view(bytes).substr(written, 1 + prng.Below(100'000)),
                                piece);
                            pending += pair->server.Read(pair->at_server, 1 + prng.Below(50'000));
                            pending.erase(0, pair->server.Write(pair->at_server, pending, piece));
                            echoed += pair->client.Read(pair->at_client, 1 + prng.Below(50'000));
                            return echoed.size() >= bytes.size();
                          }))
      << written << " bytes written, " << echoed.size() << " came back";
  EXPECT_TRUE(echoed == bytes);
}

TEST_P(StreamConformance, ReservingIsNotSending) {
  auto pair = Connect();
  const absl::Span<uint8_t> room = pair->client.port().Reserve(pair->at_client, 100);
  ASSERT_GE(room.size(), 10u);
  std::memcpy(room.data(), "0123456789", 10);
  pair->client.port().Commit(pair->at_client, 4);
  ASSERT_EQ(pair->client.Write(pair->at_client, "abc"), 3u);
  std::string got;
  EXPECT_TRUE(UntilPolled(*pair, [&] {
    got += pair->server.Read(pair->at_server);
    return got.size() >= 7;
  }));
  EXPECT_EQ(got, "0123abc");
}

TEST_P(StreamConformance, WhatIsNotConsumedStopsTheSender) {
  auto pair = Connect();
  constexpr size_t kTooMuch = 64 << 20;
  const std::string piece = RandomBytes(100'000, 7);
  size_t written = 0;
  // Full when nothing more goes in although all work has been done.
  int full = 0;
  const auto fill = [&] {
    const size_t at = written % piece.size();
    const size_t n = pair->client.Write(pair->at_client, absl::string_view(piece).substr(at));
    written += n;
    full = n == 0 ? full + 1 : 0;
    return full == 1000 || written > kTooMuch;
  };
  EXPECT_TRUE(UntilPolled(*pair, fill) || is_virtual());  // where time has nothing left to do
  EXPECT_LT(written, kTooMuch);
  EXPECT_GT(written, 0u);
  pair->client[pair->at_client].writable = false;

  // It goes on when there is room again, and says so.
  size_t read = 0;
  EXPECT_TRUE(UntilPolled(*pair,
                          [&] {
                            const std::string got = pair->server.Read(pair->at_server);
                            for (const char c : got) {
                              if (c != piece[read++ % piece.size()]) {
                                ADD_FAILURE() << "other bytes arrived than were sent";
                                return true;
                              }
                            }
                            return read == written;
                          }))
      << read << " of " << written;
  EXPECT_TRUE(UntilPolled(*pair, [&] { return pair->client[pair->at_client].writable; }));
  ExpectTheyTalk(*pair);
}

TEST_P(StreamConformance, HalfClose) {
  auto pair = Connect();
  const std::string request = RandomBytes(100'000, 3);
  size_t written = 0;
  std::string got;
  bool closed = false;
  EXPECT_TRUE(UntilPolled(*pair, [&] {
    written += pair->client.Write(pair->at_client, absl::string_view(request).substr(written));
    if (written == request.size() && !std::exchange(closed, true)) {
      pair->client.port().CloseWrite(pair->at_client);
    }
    got += pair->server.Read(pair->at_server);
    return pair->server[pair->at_server].remote_closed;
  }));
  got += pair->server.Read(pair->at_server);
  EXPECT_TRUE(got == request) << got.size() << " of " << request.size();
  EXPECT_TRUE(pair->client.port().Reserve(pair->at_client, 1).empty()) << "closed for writing";

  // The other direction still works.
  ExpectTransfer(pair->server, pair->at_server, pair->client, pair->at_client,
                 RandomBytes(100'000, 4));
  EXPECT_FALSE(pair->client[pair->at_client].remote_closed);
  pair->server.port().Close(pair->at_server);
  EXPECT_TRUE(UntilPolled(*pair, [&] { return pair->client[pair->at_client].remote_closed; }));
  pair->client.port().Close(pair->at_client);
  EXPECT_TRUE(UntilPolled(*pair, [&] {
    return pair->client[pair->at_client].closed && pair->server[pair->at_server].closed;
  }));
  EXPECT_EQ(pair->client[pair->at_client].error, 0);
  EXPECT_EQ(pair->server[pair->at_server].error, 0);
}

TEST_P(StreamConformance, CloseSendsWhatIsCommitted) {
  auto pair = Connect();
  const std::string bytes = RandomBytes(10'000, 5);
  size_t written = 0;
  ASSERT_TRUE(UntilPolled(*pair, [&] {
    written += pair->client.Write(pair->at_client, absl::string_view(bytes).substr(written));
    return written == bytes.size();
  }));
  pair->client.port().Close(pair->at_client);
  std::string got;
  EXPECT_TRUE(UntilPolled(*pair, [&] {
    got += pair->server.Read(pair->at_server);
    return pair->server[pair->at_server].remote_closed || pair->server[pair->at_server].closed;
  }));
  got += pair->server.Read(pair->at_server);
  EXPECT_TRUE(got == bytes) << got.size() << " of " << bytes.size();
  EXPECT_EQ(pair->server[pair->at_server].error, 0);
  pair->server.port().Close(pair->at_server);
  EXPECT_TRUE(UntilPolled(*pair, [&] {
    return pair->client[pair->at_client].closed && pair->server[pair->at_server].closed;
  }));
  EXPECT_EQ(pair->client[pair->at_client].error, 0);
  EXPECT_EQ(pair->server[pair->at_server].error, 0);
}

TEST_P(StreamConformance, AbortIsAnErrorAtTheOtherSide) {
  auto pair = Connect();
  ExpectTheyTalk(*pair);
  pair->client.Write(pair->at_client, "never mind");
  pair->client.port().Abort(pair->at_client);
  EXPECT_TRUE(UntilPolled(*pair, [&] {
    pair->server.Read(pair->at_server);
    return pair->client[pair->at_client].closed && pair->server[pair->at_server].closed;
  }));
  EXPECT_NE(pair->server[pair->at_server].error, 0);
}

TEST_P(StreamConformance, APortThatGoesTakesItsStreamsAlong) {
  auto pair = Connect();
  ExpectTheyTalk(*pair);
  { const StreamSide gone = std::move(pair->client); }
  EXPECT_TRUE(Until([&] {
    pair->server.Poll();
    pair->server.Read(pair->at_server);
    return pair->server[pair->at_server].closed || pair->server[pair->at_server].remote_closed;
  }));
  pair->server.port().Abort(pair->at_server);
  EXPECT_TRUE(Until([&] {
    pair->server.Poll();
    return pair->server[pair->at_server].closed;
  }));
}

TEST_P(StreamConformance, StreamsThatAreGoneAreHarmless) {
  auto pair = Connect();
  ExpectTheyTalk(*pair);
  const StreamId old = pair->at_client;
  pair->client.port().Abort(old);
  ASSERT_TRUE(UntilPolled(
      *pair, [&] { return pair->client[old].closed && pair->server[pair->at_server].closed; }));
  pair->client.Poll();
  pair->server.Poll();
  ExpectHarmless(pair->client.port(), old);
  ExpectHarmless(pair->server.port(), pair->at_server);
  for (const uint64_t value : {uint64_t{0}, uint64_t{12345678}, UINT64_MAX}) {
    ExpectHarmless(pair->client.port(), StreamId{value});
  }
  // A new stream has a new name, and the old name still does it no harm.
  const StreamId next = ConnectTo(pair->client, pair->address);
  EXPECT_NE(next, old);
  ASSERT_TRUE(UntilPolled(
      *pair, [&] { return pair->client[next].opened && pair->server.accepted().size() == 2; }));
  ExpectHarmless(pair->client.port(), old);
  ExpectTransfer(pair->client, next, pair->server, pair->server.accepted()[1], "still here");
}

TEST_P(StreamConformance, NothingIsWrittenBeforeItIsConnected) {
  StreamSide server = OpenSide(transport());
  StreamSide client = OpenSide(transport(1));
  const Address address = *server.port().Listen(Local(0), 4);
  const StreamId stream = ConnectTo(client, address);
  EXPECT_TRUE(client.port().Reserve(stream, 10).empty());
  EXPECT_TRUE(client.port().ReadView(stream).empty());
  client.port().Close(stream);
  EXPECT_TRUE(UntilPolled(server, client, [&] { return client[stream].closed; }));
}

TEST_P(StreamConformance, ManyStreams) {
  constexpr size_t kStreams = 40;
  StreamSide server = OpenSide(transport());
  StreamSide client = OpenSide(transport(1));
  const Address address = *server.port().Listen(Local(0), kStreams);
  std::vector<StreamId> streams;
  std::vector<std::string> sent;
  std::vector<std::string> got(kStreams);
  std::vector<size_t> written(kStreams);
  std::map<uint64_t, std::string> pending;
  for (size_t i = 0; i < kStreams; ++i) {
    streams.push_back(ConnectTo(client, address));
    sent.push_back(RandomBytes(5'000 + 100 * i, i));
  }
  EXPECT_TRUE(UntilPolled(server, client, [&] {
    for (const StreamId id : server.accepted()) {
      std::string& echo = pending[id.value];
      echo += server.Read(id);
      echo.erase(0, server.Write(id, echo));
    }
    bool complete = true;
    for (size_t i = 0; i < kStreams; ++i) {
      if (client[streams[i]].opened) {
        written[i] += client.Write(streams[i], absl::string_view(sent[i]).substr(written[i]));
      }
      got[i] += client.Read(streams[i]);
      complete = complete && got[i].size() >= sent[i].size();
    }
    return complete;
  }));
  EXPECT_TRUE(got == sent);
  EXPECT_EQ(server.accepted().size(), kStreams);
}

TEST_P(StreamConformance, AddressesOfOtherTransportsAreRefused) {
  StreamSide side = OpenSide(transport());
  std::vector<Address> foreign = ForeignAddresses();
  foreign.push_back(Address());
  for (const Address& address : foreign) {
    EXPECT_EQ(side.port().Connect(address).status().code(), absl::StatusCode::kInvalidArgument)
        << address.ToString();
    EXPECT_EQ(side.port().Listen(address, 1).status().code(), absl::StatusCode::kInvalidArgument)
        << address.ToString();
  }
}

TEST_P(StreamConformance, AnAddressInUseIsRefused) {
  StreamSide first = OpenSide(transport());
  StreamSide second = OpenSide(transport());
  const Address address = *first.port().Listen(Local(0), 1);
  const absl::Status status = second.port().Listen(address, 1).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kAlreadyExists) << status;
}

TEST_P(StreamConformance, PortsLeaveNothingBehind) {
  { auto warm_up = Connect(); }
  const size_t files = OpenFiles();
  for (int i = 0; i < 20; ++i) {
    auto pair = Connect();
    ExpectTheyTalk(*pair);
    pair->client.port().Abort(pair->at_client);
    EXPECT_TRUE(UntilPolled(*pair, [&] { return pair->server[pair->at_server].closed; }));
  }
  EXPECT_EQ(OpenFiles(), files);
}

TEST_P(StreamConformance, NoWakeUpIsLost) {
  if (!transport().capabilities().can_wait) GTEST_SKIP() << "ports cannot be waited for";
  constexpr int kRounds = 1000;
  StreamSide server = OpenSide(transport());
  const Address address = *server.port().Listen(Local(0), 4);
  Transport& client_transport = transport(1);
  std::atomic<bool> failed{false};
  // Reads one byte, asleep until it is there.
  const auto read_one = [&](StreamSide& side,
                            const std::function<std::optional<StreamId>()>& stream) {
    for (;;) {
      side.Poll();
      const std::optional<StreamId> id = stream();
      if (id && side.Read(*id, 1).size() == 1) return true;
      if (failed.load() || !WaitFor(side.port())) {
        failed.store(true);
        return false;
      }
    }
  };
  std::thread client_thread([&] {
    StreamSide client = OpenSide(client_transport);
    const StreamId stream = ConnectTo(client, address);
    while (!client[stream].opened && !failed.load()) {
      client.Poll();
      if (!client[stream].opened && !WaitFor(client.port())) failed.store(true);
    }
    for (int i = 0; i < kRounds && !failed.load(); ++i) {
      EXPECT_EQ(client.Write(stream, "x"), 1u);
      if (!read_one(client, [&] { return stream; })) break;
    }
    client.port().Abort(stream);
    client.Poll();
  });
  const auto accepted = [&]() -> std::optional<StreamId> {
    if (server.accepted().empty()) return std::nullopt;
    return server.accepted()[0];
  };
  for (int i = 0; i < kRounds && read_one(server, accepted); ++i) {
    EXPECT_EQ(server.Write(*accepted(), "y"), 1u);
    server.Poll();
  }
  client_thread.join();
  EXPECT_FALSE(failed.load()) << "waited for nothing";
}

}  // namespace
}  // namespace weft
