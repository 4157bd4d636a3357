// SPDX-License-Identifier: Apache-2.0
//
// Two Connections on one loop, over each transport that has streams: what their tests share.
#ifndef WEFT_TCP_CONNECTIONS_FIXTURE_H_
#define WEFT_TCP_CONNECTIONS_FIXTURE_H_

#include <unistd.h>

#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "absl/functional/function_ref.h"
#include "absl/strings/str_cat.h"
#include "absl/types/span.h"
#include "gtest/gtest.h"
#include "weft/config/config.h"
#include "weft/core/clock.h"
#include "weft/core/loop.h"
#include "weft/core/temp_directory.h"
#include "weft/core/virtual_time.h"
#include "weft/tcp/connections.h"
#include "weft/transports/decorators/open.h"
#include "weft/transports/transport.h"

namespace weft::tcp {

// By the name of a transport.
class ConnectionsTest : public testing::TestWithParam<std::string> {
 public:
  void SetUp() override {
    config::Transport config;
    config.set_name(GetParam());
    if (GetParam() == "sim") {
      config.mutable_sim()->set_network("connections");
      config.mutable_sim()->set_loss(0.01);
    }
    if (GetParam() == "shm") config.mutable_shm()->set_directory(directory_.path());
    auto transport = OpenTransport(config);
    ASSERT_TRUE(transport.ok()) << transport.status();
    transport_ = *std::move(transport);
    time_ = transport_->virtual_time();
    const Clock& clock = time_ != nullptr ? static_cast<const Clock&>(*time_) : RealClock();
    loop_ = std::make_unique<Loop>(LoopOptions(), clock);
    server_ = Open();
    client_ = Open();
  }

  void TearDown() override {
    client_.reset();
    server_.reset();
    loop_.reset();
  }

  std::unique_ptr<Connections> Open(ConnectionsOptions options = {}) {
    auto port = transport_->OpenStreamPort({});
    EXPECT_TRUE(port.ok()) << port.status();
    return std::make_unique<Connections>(*loop_, *std::move(port), std::move(options));
  }

  // Another one each time, where there is no port number to be chosen.
  static Address AnyAddress() {
    static int n = 0;
    if (GetParam() == "linux") return Address::Ipv4({127, 0, 0, 1}, 0);
    const std::string name = absl::StrCat("connections-", getpid(), "-", ++n);
    return GetParam() == "sim" ? Address::Sim(name) : Address::Shm(name);
  }

  // Runs the loop until `done`; false when that does not come.
  bool Until(absl::FunctionRef<bool()> done) {
    if (time_ != nullptr) return RunVirtual(*time_, {loop_.get()}, done);
    const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(30);
    while (!done()) {
      loop_->RunOnce();
      if (std::chrono::steady_clock::now() > end) return false;
    }
    return true;
  }

  const TempDirectory directory_;
  std::unique_ptr<Transport> transport_;
  VirtualTime* time_ = nullptr;
  std::unique_ptr<Loop> loop_;
  std::unique_ptr<Connections> server_;
  std::unique_ptr<Connections> client_;
};

inline std::string TransportName(const testing::TestParamInfo<std::string>& info) {
  return info.param;
}

inline absl::Span<const uint8_t> BytesOf(absl::string_view text) {
  return {reinterpret_cast<const uint8_t*>(text.data()), text.size()};
}

inline std::string TextOf(absl::Span<const uint8_t> bytes) {
  return std::string(reinterpret_cast<const char*>(bytes.data()), bytes.size());
}

}  // namespace weft::tcp

#endif  // WEFT_TCP_CONNECTIONS_FIXTURE_H_
