// SPDX-License-Identifier: Apache-2.0
//
// What the tests of the transport "dpdk" share.
#ifndef WEFT_TRANSPORTS_DPDK_DPDK_TEST_UTIL_H_
#define WEFT_TRANSPORTS_DPDK_DPDK_TEST_UTIL_H_

#include <unistd.h>

#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <functional>
#include <iostream>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "google/protobuf/text_format.h"
#include "weft/config/config.h"
#include "weft/transports/registry.h"

namespace weft::dpdk {

constexpr auto kPatience = std::chrono::seconds(60);
constexpr size_t kHeaderBytes = 14;
constexpr MacAddress kBroadcast = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff};

template <typename T>
T ValueOrDie(absl::StatusOr<T> value) {
  if (!value.ok()) {
    std::cerr << value.status() << std::endl;
    std::abort();
  }
  return *std::move(value);
}

// `settings`: of config::Dpdk, as text. `rest`: of config::Transport.
inline config::Transport Config(const std::string& settings, const std::string& rest = "") {
  config::Transport config;
  if (!google::protobuf::TextFormat::ParseFromString(
          "name: 'dpdk' dpdk { huge_pages: NEVER " + settings + " } " + rest, &config)) {
    std::abort();
  }
  return config;
}

inline absl::StatusOr<std::unique_ptr<Transport>> TryOpen(const std::string& settings,
                                                          const std::string& rest = "") {
  return OpenPlainTransport(Config(settings, rest));
}

inline std::unique_ptr<Transport> OpenDpdk(const std::string& settings,
                                           const std::string& rest = "") {
  return ValueOrDie(TryOpen(settings, rest));
}

inline std::unique_ptr<FramePort> OpenPort(Transport& transport, int queue = 0, int queues = 1) {
  return ValueOrDie(transport.OpenFramePort({.queue = queue, .queues = queues}));
}

// Polls until `done` or patience ends; false then.
inline bool Until(const std::function<bool()>& done) {
  const auto end = std::chrono::steady_clock::now() + kPatience;
  while (!done()) {
    if (std::chrono::steady_clock::now() > end) return false;
    std::this_thread::yield();
  }
  return true;
}

inline Buffer Frame(BufferPool& pool, const MacAddress& to, const MacAddress& from,
                    const std::string& payload) {
  Buffer frame = pool.Allocate();
  if (!frame) std::abort();
  std::memcpy(frame.Append(6), to.data(), 6);
  std::memcpy(frame.Append(6), from.data(), 6);
  std::memcpy(frame.Append(2), "\x88\xb5", 2);  // for local experiments
  if (!payload.empty()) std::memcpy(frame.Append(payload.size()), payload.data(), payload.size());
  return frame;
}

inline std::string PayloadOf(const Buffer& frame) {
  return {reinterpret_cast<const char*>(frame.data()) + kHeaderBytes, frame.size() - kHeaderBytes};
}

inline bool Send(FramePort& port, Buffer frame) {
  Buffer burst[] = {std::move(frame)};
  return Until([&] { return port.Send(absl::MakeSpan(burst)) == 1; });
}

// The next frame; null if none comes.
inline Buffer Receive(FramePort& port) {
  Buffer burst[1];
  Until([&] { return port.Receive(absl::MakeSpan(burst)) == 1; });
  return std::move(burst[0]);
}

// Waits until the link is as told; frames that arrive meanwhile are dropped.
inline bool AwaitLink(FramePort& port, bool up) {
  return Until([&] {
    Buffer dropped[8];
    port.Receive(absl::MakeSpan(dropped));
    return port.link_up() == up;
  });
}

// A directory for as long as it lives; its name is short, as those of sockets must be.
class TemporaryDirectory {
 public:
  TemporaryDirectory() {
    char path[] = "/tmp/weft-dpdk-XXXXXX";
    if (mkdtemp(path) == nullptr) std::abort();
    path_ = path;
  }
  ~TemporaryDirectory() { std::filesystem::remove_all(path_); }
  TemporaryDirectory(const TemporaryDirectory&) = delete;
  TemporaryDirectory& operator=(const TemporaryDirectory&) = delete;
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

}  // namespace weft::dpdk

#endif  // WEFT_TRANSPORTS_DPDK_DPDK_TEST_UTIL_H_
