// SPDX-License-Identifier: Apache-2.0
//
// Two devices that see each other, for tests in the virtual machine: rxe0 and rxe1 of tools/vm.
#ifndef WEFT_TRANSPORTS_RDMA_VERBS_TEST_UTIL_H_
#define WEFT_TRANSPORTS_RDMA_VERBS_TEST_UTIL_H_

#include <gtest/gtest.h>
#include <poll.h>

#include <chrono>
#include <cstdlib>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "weft/core/buffer.h"
#include "weft/transports/rdma/nic.h"
#include "weft/transports/rdma/verbs_nic.h"

namespace weft::rdma {

// Addresses of the two ends: of the machine's, "10.77.0.1:0" and "10.77.0.2:0", if nobody names
// others.
inline std::string AddressOfEnd(size_t index) {
  const char* const given = std::getenv("WEFT_RDMA_ADDRESSES");  // NOLINT(concurrency-mt-unsafe)
  const std::vector<std::string> addresses =
      absl::StrSplit(given == nullptr ? "10.77.0.1 10.77.0.2" : given, ' ');
  return addresses[index % addresses.size()] + ":0";
}

// Whether `done` comes true before a generous deadline; asks again and again.
inline bool Eventually(const std::function<bool()>& done) {
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(20);
  while (!done()) {
    if (std::chrono::steady_clock::now() > deadline) return false;
  }
  return true;
}

inline bool Shell(const std::string& command) {
  return std::system(command.c_str()) == 0;  // NOLINT(concurrency-mt-unsafe)
}

inline bool IsReadable(int fd, int timeout_ms) {
  pollfd poller = {fd, POLLIN, 0};
  return poll(&poller, 1, timeout_ms) == 1;
}

// A device with memory that it knows, in the order in which they end.
struct End {
  std::unique_ptr<Nic> nic;
  BufferPool pool{{.count = 256, .bytes = 8192, .headroom = 128}};
  std::unique_ptr<Registration> memory;
  std::unique_ptr<CompletionQueue> completions;

  explicit End(absl::string_view address) {
    auto opened = OpenNic({}, *Address::Parse(address));
    if (!opened.ok()) {
      ADD_FAILURE() << opened.status();
      std::abort();
    }
    nic = *std::move(opened);
    memory = *nic->Register(pool.region(), /*windows=*/true);
    completions = *nic->OpenCompletionQueue();
  }

  Piece PieceOf(const Buffer& buffer) const {
    return {reinterpret_cast<uint64_t>(buffer.data()), static_cast<uint32_t>(buffer.size()),
            memory->local_key()};
  }
};

}  // namespace weft::rdma

#endif  // WEFT_TRANSPORTS_RDMA_VERBS_TEST_UTIL_H_
