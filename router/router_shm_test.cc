// SPDX-License-Identifier: Apache-2.0
//
// A router over shared memory, where a server that begins anew is another peer.
#include <cstring>
#include <memory>
#include <string>
#include <utility>

#include "absl/functional/function_ref.h"
#include "gtest/gtest.h"
#include "weft/core/clock.h"
#include "weft/core/loop.h"
#include "weft/core/temp_directory.h"
#include "weft/r2p2/route_wire.h"
#include "weft/router/router.h"
#include "weft/router/router_fixture.h"
#include "weft/transports/registry.h"

namespace weft::router {
namespace {

class RouterShmTest : public testing::Test {
 protected:
  RouterShmTest() {
    config::Transport config;
    config.set_name("shm");
    config.mutable_shm()->set_directory(directory_.path());
    transport_ = *OpenPlainTransport(config);
  }
  std::unique_ptr<DatagramPort> Open(const std::string& name) {
    return *transport_->OpenDatagramPort({.local = Address::Shm(name)});
  }
  void Start() {
    RouterOptions options;
    options.listen = options.control = Address::Shm("router");
    options.keepalive = absl::Milliseconds(10);
    options.servers = {{.address = Address::Shm("server")}};
    router_ = *Router::Create(loop_, Open("router"), nullptr, options);
  }
  // Everybody's turn, until `done` holds or it is hopeless.
  bool RunUntil(absl::FunctionRef<bool()> done) {
    const int64_t end_ns = RealClock().NowNs() + 20'000 * kMs;
    while (!done()) {
      if (RealClock().NowNs() > end_ns) return false;
      loop_.RunOnce();
      if (server_ != nullptr) Serve();
    }
    return true;
  }
  std::string State() const {
    std::string state;
    router_->ForEachMember([&](const Member& member) { state = NameOf(member.state); });
    return state;
  }
  void SendRequest() {
    if (client_ == nullptr) client_ = Open("client");
    Datagram datagram[1] = {
        {*client_->Resolve(Address::Shm("router")), client_->pool().Allocate()}};
    const Bytes bytes = OriginalRequest(next_++);
    std::memcpy(datagram[0].buffer.Append(bytes.size()), bytes.data(), bytes.size());
    ASSERT_EQ(client_->Send(absl::MakeSpan(datagram)), 1u);
  }

  TempDirectory directory_;
  std::unique_ptr<Transport> transport_;
  Loop loop_{{.mode = LoopMode::kBusy}, RealClock()};
  std::unique_ptr<DatagramPort> server_;
  std::unique_ptr<DatagramPort> client_;
  std::unique_ptr<Router> router_;
  size_t served_ = 0;

 private:
  // As servers of weft do: counts requests, and answers the router's questions.
  void Serve() {
    Datagram datagram[1];
    if (server_->Receive(absl::MakeSpan(datagram)) == 0) return;
    r2p2::ExtendedHeader question;
    if (!r2p2::ReadExtendedHeader(datagram[0].buffer.bytes(), &question)) {
      ++served_;
      return;
    }
    r2p2::WriteExtendedHeader({.type = r2p2::MessageType::kAck,
                               .first = true,
                               .last = true,
                               .session = question.from_session,
                               .key = question.key,
                               .kind = r2p2::ControlKind::kReset},
                              datagram[0].buffer.data());
    server_->Send(absl::MakeSpan(datagram));
  }

  uint16_t next_ = 1;
};

TEST_F(RouterShmTest, AServerThatRestartsIsUsedAgain) {
  server_ = Open("server");
  Start();
  SendRequest();
  EXPECT_TRUE(RunUntil([&] { return served_ == 1; }));
  server_.reset();
  EXPECT_TRUE(RunUntil([&] { return State() == "down"; }));
  server_ = Open("server");
  EXPECT_TRUE(RunUntil([&] { return State() == "up"; }));
  SendRequest();
  EXPECT_TRUE(RunUntil([&] { return served_ == 2; }));
}

}  // namespace
}  // namespace weft::router
