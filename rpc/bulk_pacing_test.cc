// SPDX-License-Identifier: Apache-2.0
//
// Short packets that cross a path full of long messages come late, and are not held against it:
// whoever asks for long replies would be made to ask slowly.
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <utility>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "gtest/gtest.h"
#include "weft/core/json_writer.h"
#include "weft/core/loop.h"
#include "weft/core/virtual_time.h"
#include "weft/rpc/client.h"
#include "weft/rpc/describe.h"
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
                                    if (begun_ < calls_) Begin(bytes);
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

  // Of the client's session, as congestion control has it.
  double Window() {
    JsonWriter json;
    Describe(*client_, /*sessions_max=*/1, json);
    const absl::string_view text = json.text();
    constexpr absl::string_view kName = "\"window\":";
    const size_t at = text.find(kName);
    return at == absl::string_view::npos ? 0 : std::strtod(&text[at + kName.size()], nullptr);
  }

  sim::Network network_{/*seed=*/1, {.latency_ns = 5'000}};
  Loop loop_{{}, network_};
  std::unique_ptr<Server> server_;
  std::unique_ptr<Client> client_;
  Peer peer_;
  int calls_ = kCalls;
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

// Once a message goes in packets, theirs is the way that it takes.
TEST_F(BulkPacingTest, ARequestThatCouldNotBeFetchedIsSlowedDownByTimeouts) {
  network_.bulk().faults = {.fail = 1};
  calls_ = 1;
  Begin(kBytes);
  RunVirtual(network_, {&loop_}, [&] { return client_->stats().bulk_failed == 1; });
  const double window = Window();
  ASSERT_GT(window, 0);
  ASSERT_TRUE(network_.Partition({{{*network_.AddNode("server")}}}).ok());
  const int64_t end_ns = network_.NowNs() + 100'000'000;
  bool over = false;
  network_.events().At(end_ns, [&over] { over = true; });
  RunVirtual(network_, {&loop_}, [&over] { return over; });
  EXPECT_LT(Window(), window / 4);
  network_.Heal();
  RunVirtual(network_, {&loop_}, [&] { return ended_ == 1; });
}

}  // namespace
}  // namespace weft::rpc
