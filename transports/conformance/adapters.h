// SPDX-License-Identifier: Apache-2.0
//
// What the conformance suites must be told of each transport. The program that links them defines
// AllAdapters(); everything else a transport says itself, by its capabilities.
//
//   std::vector<ConformanceAdapter> weft::AllAdapters() {
//     ConformanceAdapter adapter = AdapterFor("shm", {&Capabilities::datagrams});
//     adapter.ends = {EndOf(config, Numbered(&Address::Shm))};
//     return {adapter};
//   }
#ifndef WEFT_TRANSPORTS_CONFORMANCE_ADAPTERS_H_
#define WEFT_TRANSPORTS_CONFORMANCE_ADAPTERS_H_

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <ostream>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "weft/config/config.h"
#include "weft/transports/address.h"
#include "weft/transports/capabilities.h"
#include "weft/transports/transport.h"

namespace weft {

// One device of those that a network joins; or the only one, whose ports reach each other.
struct ConformanceEnd {
  // Opens the transport anew; once for each test that needs this end.
  std::function<absl::StatusOr<std::unique_ptr<Transport>>(const config::Buffers&)> open;
  // Addresses that a port may be opened at, at least eight, or one with port 0. None where ports
  // have no addresses of their own, as those of frame devices.
  std::vector<Address> local;
};

struct ConformanceAdapter {
  // Of the test's name; that of the transport unless there are several settings to test.
  std::string name;
  // In the registry; empty for a transport that is not there, such as a stack over another.
  std::string transport;
  // The contracts to test. The transport may have more, of which another adapter takes care.
  std::vector<bool Capabilities::*> contracts;
  // Of addresses that its ports are reached at.
  std::vector<Address::Kind> address_kinds;
  bool decorated = false;

  // A test's n-th port is opened at the n-th end, beginning anew behind the last.
  std::vector<ConformanceEnd> ends;
  // The ends are each other's cable: there is no link before both are open.
  bool back_to_back = false;
  // Queues that several ports of one end may share; 1: only one port at a time.
  int queues = 1;

  // Makes what the ends need, before the first is opened; called by each test, on the main thread.
  // An error is why this machine or user cannot: the test is skipped with it.
  std::function<absl::Status()> prepare;
  // Does what must go on while a test waits for something else, as polling a stack whose port the
  // test does not poll at the moment. By the thread that uses the ports. May be null.
  std::function<void()> work;
  // Takes the link of an end down or up, as if by its cable. May be null.
  std::function<absl::Status(size_t end, bool up)> set_link;

  // Buffers that a device may keep after it has sent what is in them, until it sends again.
  size_t buffers_held = 0;

  // What its documentation promises: copies of a payload that are counted by the port that sends a
  // message, and by the one that receives it, when messages come one by one.
  uint64_t copies_per_send = 0;
  uint64_t copies_per_receive = 0;
};

void PrintTo(const ConformanceAdapter& adapter, std::ostream* out);

// One or more for each transport to test; defined by each test program.
std::vector<ConformanceAdapter> AllAdapters();
// Those with the contract.
std::vector<ConformanceAdapter> AdaptersWith(bool Capabilities::*contract);

// For AllAdapters().

// For the registered transport of that name: tests are skipped if probe() refuses.
ConformanceAdapter AdapterFor(absl::string_view transport,
                              std::vector<bool Capabilities::*> contracts);
// An end that OpenTransport() opens; its buffers are set by the suite.
ConformanceEnd EndOf(const config::Transport& config, std::vector<Address> local = {});
// "conformance-0" and so on, eight of them.
std::vector<Address> Numbered(Address (*make)(absl::string_view));
// A directory for as long as the program runs; short, as the paths of sockets must be.
const std::string& TemporaryDirectory();
// The same with decorators around it that change nothing, so that it must keep what the contracts
// promise; without streams, as they take none, and remote memory, which they pass on as it is.
ConformanceAdapter Decorated(ConformanceAdapter adapter);

}  // namespace weft

#endif  // WEFT_TRANSPORTS_CONFORMANCE_ADAPTERS_H_
