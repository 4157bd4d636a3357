// SPDX-License-Identifier: Apache-2.0
//
// For tests of services: a server and a client over a simulated network that behaves.
#ifndef WEFT_RPC_SERVICE_SERVICE_FIXTURE_H_
#define WEFT_RPC_SERVICE_SERVICE_FIXTURE_H_

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "gtest/gtest.h"
#include "weft/core/loop.h"
#include "weft/core/task_group.h"
#include "weft/core/timer_wheel.h"
#include "weft/core/virtual_time.h"
#include "weft/rpc/client.h"
#include "weft/rpc/service/channel.h"
#include "weft/rpc/service/service_server.h"
#include "weft/transports/sim/network.h"
#include "weft/transports/sim/sim_transport.h"

namespace weft::rpc {

inline absl::Span<const uint8_t> BytesOf(absl::string_view text) {
  return {reinterpret_cast<const uint8_t*>(text.data()), text.size()};
}

class ServiceFixture {
 public:
  // `bulk`: what ports have for long messages.
  explicit ServiceFixture(const sim::BulkOptions& bulk = {})
      : transport_(sim::OpenTransport(&network_, {}, bulk)) {}

  std::unique_ptr<DatagramPort> OpenPort(const std::string& name) {
    auto port = transport_->OpenDatagramPort({.local = Address::Sim(name)});
    EXPECT_TRUE(port.ok()) << port.status();
    return *std::move(port);
  }

  absl::StatusOr<std::unique_ptr<ServiceServer>> Serve(const std::string& name,
                                                       const std::vector<Service*>& services,
                                                       const ServiceOptions& options = {},
                                                       const ServerOptions& server_options = {}) {
    return ServiceServer::Create(loop_, OpenPort(name), server_options, options, services);
  }

  std::unique_ptr<Client> MakeClient(const std::string& name, const ClientOptions& options = {}) {
    auto client = Client::Create(loop_, OpenPort(name), options);
    EXPECT_TRUE(client.ok()) << client.status();
    return *std::move(client);
  }

  // Runs until `done`, or for a virtual minute.
  bool RunUntil(const std::function<bool()>& done) {
    return RunVirtual(network_, {&loop_}, done, network_.NowNs() + 60'000'000'000);
  }
  void RunFor(absl::Duration duration) {
    bool over = false;
    Timer timer([](void* flag, int64_t) { *static_cast<bool*>(flag) = true; }, &over);
    loop_.timers().Schedule(timer, network_.NowNs() + absl::ToInt64Nanoseconds(duration));
    RunVirtual(network_, {&loop_}, [&] { return over; });
  }
  // Runs `task` to its end.
  template <typename T>
  T Run(Task<T> task) {
    std::optional<T> result;
    TaskGroup tasks;
    tasks.Spawn(Store(std::move(task), &result));
    EXPECT_TRUE(RunUntil([&] { return result.has_value(); }));
    return *std::move(result);
  }

  Loop& loop() { return loop_; }
  sim::Network& network() { return network_; }

 private:
  template <typename T>
  static Task<void> Store(Task<T> task, std::optional<T>* result) {
    result->emplace(co_await std::move(task));
  }

  sim::Network network_{1};
  std::unique_ptr<Transport> transport_;
  Loop loop_{{}, network_};
};

}  // namespace weft::rpc

#endif  // WEFT_RPC_SERVICE_SERVICE_FIXTURE_H_
