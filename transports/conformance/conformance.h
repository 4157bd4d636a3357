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
#include "weft/transports/transport.h"

namespace weft {

// How long a test waits for what must happen, before it says that it did not.
constexpr auto kConformancePatience = std::chrono::seconds(30);

class ConformanceTest : public testing::TestWithParam<ConformanceAdapter> {
 protected:
  void SetUp() override {
    const ConformanceAdapter& adapter = GetParam();
    ASSERT_FALSE(adapter.ends.empty());
    if (adapter.prepare) {
      if (absl::Status status = adapter.prepare(); !status.ok()) GTEST_SKIP() << status;
    }
    transports_.resize(adapter.ends.size());
    ASSERT_NE(&transport(), nullptr);
  }

  // Instead of the transports that the test has got; no port of theirs is left.
  void ReopenWithBuffers(uint32_t count) {
    buffers_.set_count(count);
    for (auto& transport : transports_) transport.reset();
    ASSERT_NE(&transport(), nullptr);
  }

  // That of the test's n-th port, opened when it is first asked for; by the main thread.
  Transport& transport(size_t n = 0) {
    std::unique_ptr<Transport>& transport = transports_[n % transports_.size()];
    if (transport == nullptr) {
      auto opened = GetParam().ends[n % transports_.size()].open(buffers_);
      EXPECT_TRUE(opened.ok()) << opened.status();
      if (opened.ok()) transport = *std::move(opened);
    }
    return *transport;
  }
  bool is_virtual() { return transport().virtual_time() != nullptr; }

  // Ends that ports may be opened at: as many as one likes when they are ports of one device.
  size_t max_ends() const { return transports_.size() == 1 ? SIZE_MAX : transports_.size(); }

  // Where the test's n-th port may be opened.
  Address Local(size_t n) const {
    const std::vector<Address>& local = GetParam().ends[n % transports_.size()].local;
    if (local.empty()) return {};
    return local.size() == 1 ? local[0] : local[n / transports_.size()];
  }

  // Polls `done` until it is true, while time passes. False when it has not become so: after a long
  // time, or when nothing is left to happen in virtual time.
  bool Until(absl::FunctionRef<bool()> done) {
    const auto end = std::chrono::steady_clock::now() + kConformancePatience;
    for (int idle = 0;;) {
      if (done()) return true;
      if (GetParam().work) GetParam().work();
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
    const auto& kinds = GetParam().address_kinds;
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
    VirtualTime& time = *transport().virtual_time();
    const int64_t next_ns = std::min(time.NextEventNs(), time.timers().NextDeadlineNs());
    if (next_ns == INT64_MAX) return false;
    time.AdvanceTo(std::max(next_ns, time.NowNs()));
    time.timers().Advance(time.NowNs());
    return true;
  }

  config::Buffers buffers_;
  std::vector<std::unique_ptr<Transport>> transports_;  // by end; null until they are needed
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
