// SPDX-License-Identifier: Apache-2.0
//
// RPC over RDMA devices (those of WEFT_RDMA_ADDRESSES; tools/vm/vm.bzl), a server on the second and
// clients on the first: in this process, or with the server in one that can be killed.
#ifndef WEFT_RPC_RDMA_FIXTURE_H_
#define WEFT_RPC_RDMA_FIXTURE_H_

#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "gtest/gtest.h"
#include "weft/core/clock.h"
#include "weft/core/loop.h"
#include "weft/rpc/client.h"
#include "weft/rpc/server.h"
#include "weft/transports/transport.h"

namespace weft::rpc {

// A request's first byte says what becomes of it: kAbandon ends without a reply, kForward goes on
// to the server behind the first one, all others come back as they are.
constexpr char kAbandon = 'A';
constexpr char kForward = 'F';
constexpr char kEcho = 'E';

// `bytes` of them, each of which depends on its place and on `seed`; the first is `what`.
std::string RequestOf(size_t bytes, uint32_t seed, char what = kEcho);

absl::StatusOr<std::unique_ptr<Transport>> OpenRdma(const std::string& settings = "");

// What the program does when it is started as a server: echoes at `address` until it is killed.
// Says "ready" on standard output.
int RunEchoServer(const std::string& address);

// A server in a process of its own.
class ServerProcess {
 public:
  explicit ServerProcess(const std::string& address);  // returns once it listens
  ~ServerProcess() { Kill(); }
  void Kill();  // at once, so that it says good-bye to nobody

 private:
  pid_t pid_ = -1;
};

class RdmaRpcTest : public testing::Test {
 protected:
  // Skips the test if there is no device.
  void SetUp() override;
  // Fails if objects of the devices are left.
  void TearDown() override;

  // Where a server is going to be; the port is fixed.
  std::string far_address() const { return far_ + ":7400"; }
  Address far() const { return Address::Parse(far_address()).value(); }

  std::unique_ptr<Server> MakeServer(Loop& loop, const std::string& settings = "",
                                     const std::string& address = "");
  Client& AddClient(Loop& loop, ClientOptions options = {});

  // Begins a call whose reply is checked. Its end is counted in ended_ by its code.
  void Begin(Client& client, const Target& server, size_t bytes, char what = kEcho,
             absl::Duration timeout = absl::Seconds(30));
  void BeginWith(Client& client, const Target& server, Payload payload, std::string expected,
                 absl::Duration timeout = absl::Seconds(30));
  size_t ended(absl::StatusCode code) const {
    const auto at = ended_.find(code);
    return at == ended_.end() ? 0 : at->second;
  }
  // Runs the loops until all calls have ended, or those that `done` wants.
  bool RunUntil(const std::function<bool()>& done);
  void CountEnd(const absl::Status& status);
  bool RunUntilEnded() {
    return RunUntil([this] { return pending_ == 0; });
  }
  // Calls until one succeeds, as after a failure of the network or the server.
  bool ComesBack(Client& client, const Target& server);

  // Breaks or mends the network: tools/vm/rdma_network; in the end it is mended. Skip the test
  // where it is not ours.
  static bool OwnsNetwork();
  void Network(const std::string& command);

  std::string near_, far_;
  bool network_changed_ = false;
  Loop loop_{{.mode = LoopMode::kBusy}, RealClock()};
  Loop server_loop_{{.mode = LoopMode::kBusy}, RealClock()};
  bool run_server_loop_ = true;
  std::vector<std::unique_ptr<Transport>> transports_;
  std::unique_ptr<Server> server_, behind_;
  std::vector<std::unique_ptr<Client>> clients_;
  Client* to_behind_ = nullptr;  // whom the server forwards by
  Peer behind_peer_;
  std::map<absl::StatusCode, size_t> ended_;
  std::map<std::string, size_t> texts_;  // for who reads why a test has failed
  size_t pending_ = 0;
  uint32_t seed_ = 0;
  std::string objects_;  // of the devices, before
};

}  // namespace weft::rpc

#endif  // WEFT_RPC_RDMA_FIXTURE_H_
