// SPDX-License-Identifier: Apache-2.0
//
// What the tests of the transport "afxdp" share: two network namespaces joined by a veth pair, and
// frames.
#ifndef WEFT_TRANSPORTS_AFXDP_AFXDP_TEST_UTIL_H_
#define WEFT_TRANSPORTS_AFXDP_AFXDP_TEST_UTIL_H_

#include <poll.h>

#include <chrono>
#include <cstdlib>
#include <cstring>
#include <iostream>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "google/protobuf/text_format.h"
#include "gtest/gtest.h"
#include "weft/config/config.h"
#include "weft/tools/testnet/testnet.h"
#include "weft/transports/frame_port.h"
#include "weft/transports/registry.h"

namespace weft::afxdp {

constexpr int kPatienceMs = 20'000;

// `near0` here and `far0` there, made anew for each test; the thread is here.
class VethTest : public testing::Test {
 protected:
  void MakePair(const testnet::LinkOptions& options = {}) {
    const TransportPlugin* plugin = FindTransport("afxdp");
    ASSERT_NE(plugin, nullptr);
    if (absl::Status status = plugin->probe(); !status.ok()) GTEST_SKIP() << status;
    there_ = testnet::Namespace::Make();
    if (there_.ok()) here_ = testnet::Namespace::Make();
    if (!here_.ok() || !there_.ok()) GTEST_SKIP() << there_.status() << here_.status();
    const absl::Status made = testnet::MakeVeth(*here_, "near0", *there_, "far0", options);
    ASSERT_TRUE(made.ok()) << made;
  }

  bool Shell(const std::string& command) { return here_->Run(command).ok(); }
  bool ShellThere(const std::string& command) { return there_->Run(command).ok(); }
  std::string Link(const std::string& name) { return here_->Run("ip link show " + name).output; }

  template <typename F>
  auto There(F f) {
    const testnet::ScopedNamespace there(*there_);
    return f();
  }

  absl::StatusOr<testnet::Namespace> there_ = absl::UnknownError("not made");
  absl::StatusOr<testnet::Namespace> here_ = absl::UnknownError("not made");
};

// `settings` of config::Transport besides its name, as text.
inline absl::StatusOr<std::unique_ptr<Transport>> OpenAfxdp(const std::string& settings) {
  config::Transport config;
  if (!google::protobuf::TextFormat::ParseFromString("name: 'afxdp' " + settings, &config)) {
    std::abort();
  }
  return OpenPlainTransport(config);
}

template <typename T>
T ValueOrDie(absl::StatusOr<T> value) {
  if (!value.ok()) {
    std::cerr << value.status() << std::endl;
    std::abort();
  }
  return *std::move(value);
}

// A transport with its ports, one a queue.
struct End {
  std::unique_ptr<Transport> transport;
  std::vector<std::unique_ptr<FramePort>> ports;
  FramePort& port() { return *ports[0]; }
  void Close() {
    ports.clear();  // first, as the transport outlives them
    transport.reset();
  }
};

// `afxdp`: settings of the transport besides the interface.
inline End OpenEnd(const std::string& interface, const std::string& afxdp = "",
                   const std::string& buffers = "", int queues = 1) {
  End end;
  end.transport = ValueOrDie(
      OpenAfxdp(absl::StrCat("afxdp { interface: '", interface, "' ", afxdp, " } ", buffers)));
  for (int q = 0; q < queues; ++q) {
    end.ports.push_back(
        ValueOrDie(end.transport->OpenFramePort({.local = {}, .queue = q, .queues = queues})));
  }
  return end;
}

constexpr MacAddress kBroadcast = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff};

inline std::string MacBytes(const MacAddress& mac) {
  return std::string(reinterpret_cast<const char*>(mac.data()), mac.size());
}

// An Ethernet header with a type for local experiments, unless it is another.
inline std::string EthernetHeader(const MacAddress& to, const MacAddress& from,
                                  uint16_t type = 0x88b5) {
  return MacBytes(to) + MacBytes(from) + static_cast<char>(type >> 8) + static_cast<char>(type);
}

inline Buffer Frame(BufferPool& pool, const std::string& bytes) {
  Buffer buffer = pool.Allocate();
  if (!buffer || buffer.tailroom() < bytes.size()) std::abort();
  std::memcpy(buffer.Append(bytes.size()), bytes.data(), bytes.size());
  return buffer;
}

inline std::string Text(const Buffer& buffer) {
  return std::string(reinterpret_cast<const char*>(buffer.data()), buffer.size());
}

inline bool SendAll(FramePort& port, absl::Span<Buffer> burst) {
  const auto end = std::chrono::steady_clock::now() + std::chrono::milliseconds(kPatienceMs);
  while (!burst.empty()) {
    burst.remove_prefix(port.Send(burst));
    if (std::chrono::steady_clock::now() > end) return false;
  }
  return true;
}

inline bool SendText(FramePort& port, const std::string& bytes) {
  Buffer burst[] = {Frame(port.pool(), bytes)};
  return SendAll(port, absl::MakeSpan(burst));
}

// Sleeps as a loop does until there is something to do; false when nothing came.
inline bool WaitFor(Port& port, int patience_ms = kPatienceMs) {
  if (!port.Arm()) return true;
  pollfd event = {port.wait_fd(), POLLIN, 0};
  const bool woken = poll(&event, 1, patience_ms) == 1;
  port.Disarm();
  return woken;
}

// The next frame, null if none comes.
inline Buffer ReceiveOne(FramePort& port, int patience_ms = kPatienceMs) {
  Buffer in[1];
  while (port.Receive(absl::MakeSpan(in)) == 0) {
    if (!WaitFor(port, patience_ms)) break;
  }
  return std::move(in[0]);
}

}  // namespace weft::afxdp

#endif  // WEFT_TRANSPORTS_AFXDP_AFXDP_TEST_UTIL_H_
