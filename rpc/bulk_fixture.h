// SPDX-License-Identifier: Apache-2.0
//
// Clients and servers whose long messages are fetched, over a simulated network. When a test ends,
// nothing of them may be left behind.
#ifndef WEFT_RPC_BULK_FIXTURE_H_
#define WEFT_RPC_BULK_FIXTURE_H_

#include <cstdint>
#include <cstring>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/functional/any_invocable.h"
#include "absl/functional/function_ref.h"
#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "weft/core/virtual_time.h"
#include "weft/rpc/client.h"
#include "weft/rpc/server.h"
#include "weft/transports/sim/network.h"
#include "weft/transports/sim/sim_bulk.h"
#include "weft/transports/sim/sim_transport.h"

namespace weft::rpc {

inline constexpr size_t kMegabyte = 1 << 20;
inline constexpr size_t kBuffers = 8;
inline constexpr int64_t kSessionTimeoutNs = 200'000'000;

inline absl::Span<const uint8_t> BytesOf(const std::string& text) {
  return {reinterpret_cast<const uint8_t*>(text.data()), text.size()};
}

inline std::string Text(size_t size, uint32_t state) {
  std::string text(size, '\0');
  for (char& c : text) c = static_cast<char>((state = state * 1664525 + 1013904223) >> 24);
  return text;
}

class BulkTest : public testing::Test {
 protected:
  using Handler = absl::AnyInvocable<void(ServerCall)>;

  struct Outcome {
    int ended = 0;
    absl::Status status;
    std::string reply;
    size_t pieces = 0;
    CallId id;
  };

  ~BulkTest() override {
    // Replies that nobody has asked for again go last.
    if (!HasFailure()) Run(3'000'000'000);
    held_.clear();
    for (const auto& client : clients_) {
      EXPECT_EQ(client->outstanding(), 0u);
      CheckPort(client->port());
    }
    for (const auto& server : servers_) {
      EXPECT_EQ(server->incomplete(), 0u);
      CheckPort(server->port());
    }
    EXPECT_EQ(network_.bulk().exposures.size(), 0u);
    EXPECT_EQ(network_.bulk().changed, 0u);
  }

  static sim::SimBulk& BulkOf(DatagramPort& port) {
    return static_cast<sim::SimBulk&>(*port.bulk());
  }
  static void CheckPort(DatagramPort& port) {
    EXPECT_EQ(port.pool().available(), port.pool().count());
    if (port.bulk() == nullptr) return;
    EXPECT_EQ(BulkOf(port).available(), BulkOf(port).options().count);
    EXPECT_EQ(BulkOf(port).fetching(), 0u);
  }

  std::unique_ptr<DatagramPort> Open(const std::string& name, size_t buffers = kBuffers) {
    const auto transport =
        sim::OpenTransport(&network_, {.count = packet_buffers_},
                           {.count = buffers, .bytes = kMegabyte, .min_bytes = 8192});
    return *transport->OpenDatagramPort({.local = Address::Sim(name)});
  }

  Server& StartServer(Handler handler, size_t buffers = kBuffers) {
    const std::string name = absl::StrCat("server", servers_.size());
    servers_.push_back(*Server::Create(
        loop_, Open(name, buffers),
        {.session = {.timeout = absl::Nanoseconds(kSessionTimeoutNs), .slots = 32}, .key_seed = 1},
        std::move(handler)));
    return *servers_.back();
  }
  Client& StartClient(size_t buffers = kBuffers, size_t message_bytes_max = 16 << 20,
                      Wire wire = Wire::kExtended) {
    const std::string name = absl::StrCat("client", clients_.size());
    clients_.push_back(*Client::Create(loop_, Open(name, buffers),
                                       {.timeout = absl::Seconds(2),
                                        .request_id_seed = clients_.size(),
                                        .wire = wire,
                                        .session = {.timeout = absl::Nanoseconds(kSessionTimeoutNs),
                                                    .slots = 32,
                                                    .message_bytes_max = message_bytes_max}}));
    return *clients_.back();
  }
  // A client with an open session to a server that echoes.
  void StartEcho(size_t client_buffers = kBuffers, size_t server_buffers = kBuffers) {
    StartServer(
        [this](ServerCall call) {
          ++executed_;
          pieces_ = call.request().pieces();
          (void)call.Reply(std::move(call.request()));
        },
        server_buffers);
    Client& client = StartClient(client_buffers);
    const size_t first = Begin(client, 0, Payload());
    RunUntil([&] { return outcomes_[first]->ended > 0; });
    ASSERT_TRUE(outcomes_[first]->status.ok());
    executed_ = 0;
  }

  // Returns the number of its outcome.
  size_t Begin(Client& client, size_t server, Payload request, const CallOptions& options = {}) {
    const Peer peer = *client.Resolve(Address::Sim(absl::StrCat("server", server)));
    outcomes_.push_back(std::make_unique<Outcome>());
    Outcome* const outcome = outcomes_.back().get();
    absl::StatusOr<CallId> id = client.Call(
        peer, std::move(request),
        [outcome](absl::StatusOr<BufferChain> reply) {
          ++outcome->ended;
          outcome->status = reply.status();
          if (!reply.ok()) return;
          outcome->reply = reply->ToString();
          outcome->pieces = reply->pieces();
        },
        options);
    EXPECT_TRUE(id.ok()) << id.status();
    if (id.ok()) outcome->id = *id;
    return outcomes_.size() - 1;
  }
  static Payload Filled(Client& client, const std::string& text) {
    Buffer buffer = client.Allocate(text.size());
    if (!buffer) return Payload::Copy(BytesOf(text));
    std::memcpy(buffer.Append(text.size()), text.data(), text.size());
    return Payload(std::move(buffer));
  }
  const Outcome& Await(size_t number) {
    RunUntil([&] { return outcomes_[number]->ended > 0; });
    return *outcomes_[number];
  }
  const Outcome& Echo(const std::string& text) {
    return Await(Begin(*clients_[0], 0, Filled(*clients_[0], text)));
  }

  void RunUntil(absl::FunctionRef<bool()> done) { RunVirtual(network_, {&loop_}, done); }
  void Run(int64_t time_ns) {
    bool over = false;
    network_.events().At(network_.NowNs() + time_ns, [&over] { over = true; });
    RunUntil([&over] { return over; });
  }

  sim::Network network_{/*seed=*/1, {.latency_ns = 5000}};
  Loop loop_{{}, network_};
  size_t packet_buffers_ = 4096;  // of ports to be opened
  std::vector<Buffer> held_;
  std::vector<std::unique_ptr<Outcome>> outcomes_;
  std::vector<std::unique_ptr<Server>> servers_;
  std::vector<std::unique_ptr<Client>> clients_;
  int executed_ = 0;
  size_t pieces_ = 0;
};

}  // namespace weft::rpc

#endif  // WEFT_RPC_BULK_FIXTURE_H_
