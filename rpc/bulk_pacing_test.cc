// SPDX-License-Identifier: Apache-2.0
//
// Short packets that cross a path full of long messages come late, and are not held against it:
// whoever asks for long replies would be made to ask slowly.
#include <cstdint>
#include <cstring>
#include <memory>
#include <utility>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "gtest/gtest.h"
#include "weft/core/loop.h"
#include "weft/core/virtual_time.h"
#include "weft/rpc/client.h"
#include "weft/rpc/server.h"
#include "weft/transports/sim/network.h"
#include "weft/transports/sim/sim_bulk.h"
#include "weft/transports/sim/sim_transport.h"

namespace weft::rpc {
namespace {

constexpr size_t kBytes = 1 << 20;
constexpr int kOutstanding = 8;
constexpr int kCalls = 200;

class BulkPacingTest : public testing::Test {
 protected:
  BulkPacingTest() {
    server_ = *Server::Create(loop_, Open("server"), {.key_seed = 1}, [](ServerCall call) {
      // As long as the request is short.
      if (call.request().size() > 1) {
        (void)call.Reply(absl::Span<const uint8_t>());
      } else {
        Buffer reply = call.Allocate(kBytes);
        std::memset(reply.Append(kBytes), 'x', kBytes);
        (void)call.Reply(std::move(reply));
      }
    });
    client_ = *Client::Create(
        loop_, Open("client"),
        {.timeout = absl::Seconds(10), .request_id_seed = 1, .wire = Wire::kExtended});
    peer_ = *client_->Resolve(Address::Sim("server"));
  }

  std::unique_ptr<DatagramPort> Open(const char* name) {
    const auto transport = sim::OpenTransport(&network_, {.count = 4096},
                                              {.count = 64, .bytes = kBytes, .min_bytes = 16'384});
    return *transport->OpenDatagramPort({.local = Address::Sim(name)});
  }

  void Begin(size_t bytes) {
    ++begun_;
    Buffer request = bytes > 1 ? client_->Allocate(bytes) : client_->port().pool().Allocate();
    ASSERT_TRUE(request);
    std::memset(request.Append(bytes), 'x', bytes);
    const auto id = client_->Call(peer_, Payload(std::move(request)),
                                  [this, bytes](absl::StatusOr<BufferChain> reply) {
                                    ASSERT_TRUE(reply.ok()) << reply.status();
                                    ++ended_;
                                    reply->Clear();
                                    if (begun_ < kCalls) Begin(bytes);
                                  });
    ASSERT_TRUE(id.ok()) << id.status();
  }

  // While a message is fetched, packets wait behind it.
  void FillPath() {
    const bool full = Fetches(client_->port()) || Fetches(server_->port());
    if (std::exchange(full_, full) == full) return;
    const sim::LinkOptions link = {.latency_ns = full ? 1'000'000 : 5'000};
    const sim::NodeId client = *network_.AddNode("client");
    const sim::NodeId server = *network_.AddNode("server");
    network_.SetLink(client, server, link);
    network_.SetLink(server, client, link);
  }
  static bool Fetches(DatagramPort& port) {
    return static_cast<sim::SimBulk&>(*port.bulk()).fetching() > 0;
  }

  // How long kCalls take whose requests have so many bytes.
  int64_t TimeOf(size_t bytes) {
    begun_ = ended_ = 0;
    const int64_t begin_ns = network_.NowNs();
    for (int i = 0; i < kOutstanding; ++i) Begin(bytes);
    RunVirtual(network_, {&loop_}, [&] {
      FillPath();
      return ended_ == kCalls;
    });
    return network_.NowNs() - begin_ns;
  }

  sim::Network network_{/*seed=*/1, {.latency_ns = 5'000}};
  Loop loop_{{}, network_};
  std::unique_ptr<Server> server_;
  std::unique_ptr<Client> client_;
  Peer peer_;
  int begun_ = 0;
  int ended_ = 0;
  bool full_ = false;
};

TEST_F(BulkPacingTest, LongRepliesAreAskedForAsFastAsLongRequestsAreMade) {
  const int64_t requests_ns = TimeOf(kBytes);
  const int64_t replies_ns = TimeOf(1);
  EXPECT_EQ(client_->stats().bulk_sent, uint64_t{kCalls});
  EXPECT_EQ(client_->stats().bulk_received, uint64_t{kCalls});
  EXPECT_LE(replies_ns, requests_ns * 5 / 4);
}

}  // namespace
}  // namespace weft::rpc
