// SPDX-License-Identifier: Apache-2.0
//
// Who names the memory of another machine is refused, and nobody else hears of it.
#include "weft/examples/rdma_kv/reachable.h"

#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "gtest/gtest.h"
#include "weft/core/clock.h"
#include "weft/core/loop.h"
#include "weft/core/task_group.h"
#include "weft/examples/rdma_kv/store_test_util.h"
#include "weft/transports/registry.h"
#include "weft/transports/remote_memory/open.h"

namespace rdma_kv {
namespace {

using weft::Address;

std::string Reached(const std::string& text, const std::string& machine) {
  const auto address = MemoryAddressOf(text, *Address::Parse(machine));
  if (address.ok()) return address->ToString();
  EXPECT_EQ(address.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(address.status().message().substr(0, 16), "memory_address: ") << address.status();
  return "refused";
}

TEST(ReachableTest, MemoryIsAtTheMachineOfWhoTellsIt) {
  EXPECT_EQ(Reached("10.0.0.2:7", "10.0.0.2:99"), "10.0.0.2:7");
  EXPECT_EQ(Reached("0.0.0.0:7", "10.0.0.2:99"), "10.0.0.2:7");
  EXPECT_EQ(Reached("[::]:7", "10.0.0.2:99"), "10.0.0.2:7");
  EXPECT_EQ(Reached("[fd00::2]:7", "[fd00::2]:99"), "[fd00::2]:7");
  EXPECT_EQ(Reached("shm:kv-memory", "shm:kv"), "shm:kv-memory");
  EXPECT_EQ(Reached("10.0.0.3:7", "10.0.0.2:99"), "refused");
  EXPECT_EQ(Reached("127.0.0.1:7", "10.0.0.2:99"), "refused");
  EXPECT_EQ(Reached("[fd00::3]:7", "[fd00::2]:99"), "refused");
  EXPECT_EQ(Reached("[fd00::2]:7", "10.0.0.2:99"), "refused");
  EXPECT_EQ(Reached("shm:kv-memory", "10.0.0.2:99"), "refused");
  EXPECT_EQ(Reached("10.0.0.2:7", "shm:kv"), "refused");
  EXPECT_EQ(Reached("somewhere", "10.0.0.2:99"), "refused");
  EXPECT_EQ(Reached("", "10.0.0.2:99"), "refused");
}

weft::Task<void> AttachAt(KeyValueClient& stub, std::string address,
                          std::optional<absl::Status>* end) {
  AttachRequest request;
  request.set_memory_address(address);
  AttachResponse response;
  end->emplace(co_await stub.Attach(request, &response));
}

TEST(ReachableTest, AStoreIsNotMadeToSendToOthers) {
  weft::config::Transport config;
  config.set_name("linux");
  const auto transport = *weft::OpenPlainTransport(config);
  const Address here = Address::Ipv4({127, 0, 0, 1}, 0);
  const auto open = [&](const Address& at) {
    auto port = transport->OpenDatagramPort({.local = at});
    EXPECT_TRUE(port.ok()) << port.status();
    return *std::move(port);
  };
  weft::Loop loop({}, weft::RealClock());
  auto port = open(here);
  const Address server = port->local_address();
  ServerSide side(loop, std::move(port), *weft::OpenRemoteMemory(*transport, {.local = here}, {}),
                  {.buckets = 2});
  ClientSide client(loop, open(here), nullptr, server);
  const auto victim = open(Address::Ipv4({127, 0, 0, 2}, 0));

  KeyValueClient stub(*client.channel);
  std::optional<absl::Status> end;
  weft::TaskGroup tasks;
  tasks.Spawn(AttachAt(stub, victim->local_address().ToString(), &end));
  while (!end.has_value()) loop.RunOnce();
  EXPECT_EQ(end->code(), absl::StatusCode::kInvalidArgument) << *end;
  EXPECT_NE(end->message().find(victim->local_address().ToString()), std::string::npos) << *end;
  weft::Datagram received[1];
  EXPECT_EQ(victim->Receive(absl::MakeSpan(received)), 0u);
  EXPECT_EQ(side.store->stats().attach_failed, 1u);
}

}  // namespace
}  // namespace rdma_kv
