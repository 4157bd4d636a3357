// SPDX-License-Identifier: Apache-2.0
//
// What stream_port.h promises of writers and buffers, addresses, options and information.
#include <algorithm>
#include <cstring>
#include <string>
#include <utility>
#include <vector>

#include "weft/transports/conformance/stream_conformance.h"

namespace weft {
namespace {

TEST_P(StreamConformance, AWriterFillsTheRoomInPlace) {
  auto pair = Connect();
  const std::string bytes = RandomBytes(3 << 20, 11);
  size_t written = 0;
  size_t calls = 0;
  std::string got;
  EXPECT_TRUE(UntilPolled(*pair, [&] {
    const size_t left = bytes.size() - written;
    const size_t before = written;
    const size_t sent =
        pair->client.port().Send(pair->at_client, left, [&](absl::Span<uint8_t> room) {
          EXPECT_FALSE(room.empty());
          EXPECT_LE(room.size(), bytes.size() - written);
          // Every third time it has less to write than there is room for.
          const size_t n = ++calls % 3 == 0 ? room.size() / 2 : room.size();
          std::memcpy(room.data(), bytes.data() + written, n);
          written += n;
          return n;
        });
    EXPECT_EQ(sent, written - before);
    got += pair->server.Read(pair->at_server);
    return got.size() >= bytes.size();
  }));
  EXPECT_TRUE(got == bytes) << got.size() << " of " << bytes.size();
}

TEST_P(StreamConformance, BuffersAreTakenOver) {
  auto pair = Connect();
  const std::string bytes = RandomBytes(2 << 20, 12);
  StreamPort& port = pair->client.port();
  const size_t before = port.pool().available();
  size_t filled = 0;
  Buffer buffer;
  bool blocked = false;
  std::string got;
  EXPECT_TRUE(UntilPolled(*pair, [&] {
    for (;;) {
      if (!buffer && filled < bytes.size()) {
        buffer = port.pool().Allocate();
        if (!buffer) break;
        const size_t n = std::min(bytes.size() - filled, buffer.tailroom());
        std::memcpy(buffer.Append(n), bytes.data() + filled, n);
        filled += n;
      }
      if (!buffer) break;
      if (!port.SendBuffer(pair->at_client, &buffer)) {
        EXPECT_TRUE(buffer);
        EXPECT_GT(buffer.size(), 0u);
        blocked = true;
        break;
      }
      EXPECT_FALSE(buffer);
    }
    got += pair->server.Read(pair->at_server, 50'000);
    return got.size() >= bytes.size();
  }));
  EXPECT_TRUE(got == bytes) << got.size() << " of " << bytes.size();
  if (blocked) {
    EXPECT_TRUE(UntilPolled(*pair, [&] { return pair->client[pair->at_client].writable; }));
  }
  // Every buffer comes back.
  const auto all_are_back = [&] {
    return port.pool().available() + GetParam().buffers_held >= before;
  };
  EXPECT_TRUE(UntilPolled(*pair, all_are_back))
      << port.pool().available() << " of " << before << " buffers";
}

TEST_P(StreamConformance, AddressesOfBothEnds) {
  auto pair = Connect();
  const absl::StatusOr<Address> local = pair->server.port().LocalAddress(pair->at_server);
  ASSERT_TRUE(local.ok()) << local.status();
  EXPECT_EQ(*local, pair->address);
  EXPECT_EQ(*pair->client.port().PeerAddress(pair->at_client), *local);
  const absl::StatusOr<Address> client = pair->client.port().LocalAddress(pair->at_client);
  ASSERT_TRUE(client.ok()) << client.status();
  EXPECT_EQ(*pair->server.port().PeerAddress(pair->at_server), *client);
}

TEST_P(StreamConformance, OptionsAreSetOrNamed) {
  auto pair = Connect();
  StreamPort& port = pair->client.port();
  const StreamId id = pair->at_client;
  EXPECT_EQ(port.SetOptions(id, {}), absl::OkStatus());
  for (const auto& [options, name] : std::vector<std::pair<StreamOptions, std::string>>{
           {{.keepalive_probes = 0}, "keepalive_probes"},
           {{.keepalive_idle_s = 40'000}, "keepalive_idle_s"},
           {{.user_timeout_ms = UINT32_MAX}, "user_timeout_ms"},
           {{.send_buffer_bytes = 0}, "send_buffer_bytes"},
           {{.dscp = 64}, "dscp"},
           {{.ttl = 0}, "ttl"}}) {
    const absl::Status status = port.SetOptions(id, options);
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << name;
    EXPECT_NE(status.message().find(name), std::string::npos) << status;
  }
  const StreamOptions all = {.no_delay = true,
                             .cork = false,
                             .keepalive = true,
                             .keepalive_idle_s = 30,
                             .keepalive_interval_s = 5,
                             .keepalive_probes = 3,
                             .user_timeout_ms = 20'000,
                             .send_buffer_bytes = 200'000,
                             .receive_buffer_bytes = 200'000,
                             .dscp = 10,
                             .ttl = 33};
  const absl::Status status = port.SetOptions(id, all);
  if (absl::IsUnimplemented(status)) {
    EXPECT_NE(status.message().find("no_delay"), std::string::npos) << status;
  } else {
    EXPECT_EQ(status, absl::OkStatus());
    EXPECT_EQ(port.SetOptions(id, {.congestion_control = "there-is-none"}).code(),
              absl::StatusCode::kNotFound);
  }
  ExpectTheyTalk(*pair);
}

TEST_P(StreamConformance, InfoTellsOfTheStream) {
  auto pair = Connect();
  ExpectTransfer(pair->client, pair->at_client, pair->server, pair->at_server,
                 RandomBytes(100'000, 21));
  const absl::StatusOr<StreamInfo> info = pair->client.port().Info(pair->at_client);
  if (absl::IsUnimplemented(info.status())) GTEST_SKIP() << info.status();
  ASSERT_TRUE(info.ok()) << info.status();
  EXPECT_EQ(StreamStateName(info->state), "ESTABLISHED");
  EXPECT_GE(info->bytes_sent, 100'000u);
  EXPECT_GT(info->send_mss_bytes, 0u);
  EXPECT_GT(info->cwnd_bytes, 0u);
  EXPECT_GT(info->rto_us, 0u);
  EXPECT_NE(info->congestion_control, "");
  EXPECT_GT(info->delivered_segments, 0u);
  EXPECT_GT(info->delivery_rate_bytes, 0u);
  EXPECT_EQ(info->unread_bytes, 0u);
  const absl::StatusOr<StreamInfo> other = pair->server.port().Info(pair->at_server);
  ASSERT_TRUE(other.ok()) << other.status();
  EXPECT_EQ(other->bytes_received, 100'000u);
}

}  // namespace
}  // namespace weft
