// SPDX-License-Identifier: Apache-2.0
//
// RPC over weft's stack over two NICs on a PCI bus, in a virtual machine (tools/vm/vm.bzl), bound
// to uio_pci_generic or to vfio-pci.
#include <cstdlib>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "google/protobuf/text_format.h"
#include "gtest/gtest.h"
#include "weft/config/config.h"
#include "weft/core/clock.h"
#include "weft/core/loop.h"
#include "weft/host/network.h"
#include "weft/rpc/client.h"
#include "weft/rpc/server.h"

namespace weft {
namespace {

std::vector<std::string> Nics() {
  const char* nics = std::getenv("WEFT_VM_NICS");
  if (nics == nullptr) return {};
  return absl::StrSplit(nics, ' ');
}

absl::StatusOr<Network> OpenOn(const std::string& nic, const std::string& addresses) {
  config::Config config;
  const std::string text = absl::StrCat("transport { name: 'dpdk' dpdk { device: '", nic,
                                        "' huge_pages: REQUIRED } } netstack { ", addresses, " }");
  if (!google::protobuf::TextFormat::ParseFromString(text, &config)) std::abort();
  return OpenNetwork(config);
}

TEST(VirtioVmTest, RequestsAndRepliesOfEverySizeCross) {
  const std::vector<std::string> nics = Nics();
  ASSERT_GE(nics.size(), 2u) << "this test runs within a virtual machine: tools/vm/vm.bzl";
  auto server_side = OpenOn(nics[0], "addresses: '10.0.0.1/24' addresses: 'fd00::1/64'");
  ASSERT_TRUE(server_side.ok()) << server_side.status();
  auto client_side = OpenOn(nics[1], "addresses: '10.0.0.2/24' addresses: 'fd00::2/64'");
  ASSERT_TRUE(client_side.ok()) << client_side.status();
  Loop loop({.mode = LoopMode::kBusy}, RealClock());

  for (const std::string listen : {"10.0.0.1:7000", "[fd00::1]:7000"}) {
    SCOPED_TRACE(listen);
    const Address address = *Address::Parse(listen);
    auto server_port = server_side->transport->OpenDatagramPort({.local = address});
    ASSERT_TRUE(server_port.ok()) << server_port.status();
    auto server = rpc::Server::Create(
        loop, *std::move(server_port), {.security = rpc::Plaintext()},
        [](rpc::ServerCall call) { (void)call.Reply(std::move(call.request())); });
    ASSERT_TRUE(server.ok()) << server.status();
    auto client_port = client_side->transport->OpenDatagramPort({});
    ASSERT_TRUE(client_port.ok()) << client_port.status();
    rpc::ClientOptions options = {.security = rpc::Plaintext()};
    options.timeout = absl::Seconds(20);  // emulation is slow, and a link takes its time
    auto client = rpc::Client::Create(loop, *std::move(client_port), options);
    ASSERT_TRUE(client.ok()) << client.status();
    auto peer = (*client)->Resolve(address);
    ASSERT_TRUE(peer.ok()) << peer.status();

    for (const size_t size : {0, 1, 64, 1400, 1464, 1465, 10000, 100000}) {
      std::string request(size, '\0');
      for (size_t i = 0; i < size; ++i) request[i] = static_cast<char>(i * 31 + size);
      absl::StatusOr<std::string> reply = absl::UnknownError("none");
      bool done = false;
      const auto on_reply = [&](absl::StatusOr<BufferChain> result) {
        if (result.ok()) {
          reply = result->ToString();
        } else {
          reply = result.status();
        }
        done = true;
      };
      const absl::Span<const uint8_t> bytes(reinterpret_cast<const uint8_t*>(request.data()), size);
      ASSERT_TRUE((*client)->Call(*peer, bytes, on_reply).ok());
      const absl::Time end = absl::Now() + absl::Seconds(40);
      while (!done && absl::Now() < end) loop.RunOnce();
      ASSERT_TRUE(done) << size;
      ASSERT_TRUE(reply.ok()) << size << ": " << reply.status();
      ASSERT_EQ(*reply, request);
    }
  }
}

}  // namespace
}  // namespace weft
