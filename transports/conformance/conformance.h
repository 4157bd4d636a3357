// SPDX-License-Identifier: Apache-2.0
//
// What the tests of all contracts share: a fresh transport, and time that passes, real or virtual.
#ifndef WEFT_TRANSPORTS_CONFORMANCE_CONFORMANCE_H_
#define WEFT_TRANSPORTS_CONFORMANCE_CONFORMANCE_H_

#include <poll.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <filesystem>
#include <iterator>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/types/span.h"
#include "gtest/gtest.h"
#include "weft/core/prng.h"
#include "weft/transports/conformance/adapters.h"
#include "weft/transports/decorators/open.h"
#include "weft/transports/registry.h"

namespace weft {

// How long a test waits for what must happen, before it says that it did not.
constexpr auto kConformancePatience = std::chrono::seconds(30);

class ConformanceTest : public testing::TestWithParam<ConformanceAdapter> {
 protected:
  void SetUp() override {
    const TransportPlugin* plugin = FindTransport(GetParam().config.name());
    ASSERT_NE(plugin, nullptr) << "not linked in";
    if (absl::Status status = plugin->probe(); !status.ok()) GTEST_SKIP() << status;
    transport_ = Open(config::Buffers());
    ASSERT_NE(transport_, nullptr);
  }

  std::unique_ptr<Transport> Open(const config::Buffers& buffers) {
    config::Transport config = GetParam().config;
    *config.mutable_buffers() = buffers;
    absl::StatusOr<std::unique_ptr<Transport>> transport = OpenTransport(config);
    EXPECT_TRUE(transport.ok()) << transport.status();
    return transport.ok() ? *std::move(transport) : nullptr;
  }
  // Instead of the transport that the test has got.
  void ReopenWithBuffers(uint32_t count) {
    config::Buffers buffers;
    buffers.set_count(count);
    transport_.reset();
    transport_ = Open(buffers);
    ASSERT_NE(transport_, nullptr);
  }

  Transport& transport() { return *transport_; }
  bool is_virtual() const { return transport_->virtual_time() != nullptr; }

  // The n-th address to listen at.
  Address Local(size_t n) const {
    const std::vector<Address>& local = GetParam().local;
    return local.size() == 1 ? local[0] : local[n];
  }

  // Polls `done` until it is true, while time passes. False when it has not become so: after a long
  // time, or when nothing is left to happen in virtual time.
  bool Until(absl::FunctionRef<bool()> done) {
    const auto end = std::chrono::steady_clock::now() + kConformancePatience;
    for (int idle = 0;;) {
      if (done()) return true;
      if (std::chrono::steady_clock::now() > end) return false;
      if (!is_virtual()) {
        std::this_thread::yield();
      } else if (!AdvanceVirtualTime() && ++idle == 3) {
        return false;
      }
    }
  }

  // Addresses of kinds that this transport has not.
  std::vector<Address> ForeignAddresses() const {
    std::vector<Address> foreign;
    const auto& kinds = FindTransport(GetParam().config.name())->address_kinds;
    for (const char* text : {"127.0.0.1:9", "[::1]:9", "shm:foreign", "sim:foreign"}) {
      const Address address = *Address::Parse(text);
      if (std::find(kinds.begin(), kinds.end(), address.kind()) == kinds.end()) {
        foreign.push_back(address);
      }
    }
    return foreign;
  }

  static size_t OpenFiles() {
    std::filesystem::directory_iterator files("/proc/self/fd");
    return static_cast<size_t>(std::distance(begin(files), end(files)));
  }

 private:
  bool AdvanceVirtualTime() {
    VirtualTime& time = *transport_->virtual_time();
    const int64_t next_ns = std::min(time.NextEventNs(), time.timers().NextDeadlineNs());
    if (next_ns == INT64_MAX) return false;
    time.AdvanceTo(std::max(next_ns, time.NowNs()));
    time.timers().Advance(time.NowNs());
    return true;
  }

  std::unique_ptr<Transport> transport_;
};

// Bytes that no two seeds have in common.
inline std::string RandomBytes(size_t size, uint64_t seed) {
  Prng prng(seed);
  std::string bytes(size, '\0');
  for (char& byte : bytes) byte = static_cast<char>(prng.Next());
  return bytes;
}

// Waits as a loop would; false when nothing happened for a long time.
inline bool WaitFor(Port& port) {
  if (!port.Arm()) return true;
  pollfd event = {port.wait_fd(), POLLIN, 0};
  const auto ms = std::chrono::milliseconds(kConformancePatience).count();
  const bool woken = ::poll(&event, 1, static_cast<int>(ms)) == 1;
  port.Disarm();
  return woken;
}

inline std::string AdapterName(const testing::TestParamInfo<ConformanceAdapter>& info) {
  return info.param.name;
}

}  // namespace weft

#endif  // WEFT_TRANSPORTS_CONFORMANCE_CONFORMANCE_H_
