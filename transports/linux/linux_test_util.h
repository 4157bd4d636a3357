// SPDX-License-Identifier: Apache-2.0
//
// What the tests of the transport "linux" share.
#ifndef WEFT_TRANSPORTS_LINUX_LINUX_TEST_UTIL_H_
#define WEFT_TRANSPORTS_LINUX_LINUX_TEST_UTIL_H_

#include <poll.h>

#include <algorithm>
#include <cstdlib>
#include <iostream>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "google/protobuf/text_format.h"
#include "weft/config/config.h"
#include "weft/transports/address.h"
#include "weft/transports/datagram_port.h"
#include "weft/transports/linux/socket.h"
#include "weft/transports/registry.h"

namespace weft::linux_transport {

constexpr int kPatienceMs = 20'000;

template <typename T>
T ValueOrDie(absl::StatusOr<T> value) {
  if (!value.ok()) {
    std::cerr << value.status() << std::endl;
    std::abort();
  }
  return *std::move(value);
}

// `settings`: of config::Transport, as text.
inline std::unique_ptr<Transport> OpenLinux(const std::string& settings = "") {
  config::Transport config;
  if (!google::protobuf::TextFormat::ParseFromString("name: 'linux' " + settings, &config))
    std::abort();
  return ValueOrDie(OpenPlainTransport(config));
}

inline Address At(const std::string& text) { return ValueOrDie(Address::Parse(text)); }

inline std::unique_ptr<DatagramPort> OpenAt(Transport& transport, const std::string& address,
                                            int queue = 0, int queues = 1) {
  return ValueOrDie(
      transport.OpenDatagramPort({.local = At(address), .queue = queue, .queues = queues}));
}

inline std::string Text(const Buffer& buffer) {
  return std::string(reinterpret_cast<const char*>(buffer.data()), buffer.size());
}

inline Datagram Message(DatagramPort& port, const Peer& to, const std::string& text) {
  Datagram datagram = {to, port.pool().Allocate()};
  if (!datagram.buffer) std::abort();
  text.copy(reinterpret_cast<char*>(datagram.buffer.Append(text.size())), text.size());
  return datagram;
}

// Sends all of it, however often that takes.
inline void SendAll(DatagramPort& port, const Peer& to, const std::vector<std::string>& texts) {
  std::vector<Datagram> burst;
  for (const std::string& text : texts) burst.push_back(Message(port, to, text));
  absl::Span<Datagram> rest = absl::MakeSpan(burst);
  while (!rest.empty()) rest.remove_prefix(port.Send(rest));
}

// Sleeps as a loop does until there is something to do; false when nothing came.
inline bool WaitFor(Port& port) {
  if (!port.Arm()) return true;
  pollfd event = {port.wait_fd(), POLLIN, 0};
  const bool woken = poll(&event, 1, kPatienceMs) == 1;
  port.Disarm();
  return woken;
}

struct Received {
  Peer peer;
  std::string text;
};

// The next `n` messages, fewer if they do not come; taken from the port `at_once` at a time.
inline std::vector<Received> ReceiveAll(DatagramPort& port, size_t n, size_t at_once = 32) {
  std::vector<Received> all;
  std::vector<Datagram> burst(at_once);
  while (all.size() < n) {
    const size_t got = port.Receive(absl::MakeSpan(burst).first(std::min(at_once, n - all.size())));
    for (size_t i = 0; i < got; ++i) all.push_back({burst[i].peer, Text(burst[i].buffer)});
    burst = std::vector<Datagram>(at_once);
    if (got == 0 && !WaitFor(port)) break;
  }
  return all;
}

inline std::vector<std::string> ReceiveTexts(DatagramPort& port, size_t n, size_t at_once = 32) {
  std::vector<std::string> texts;
  for (Received& message : ReceiveAll(port, n, at_once)) texts.push_back(std::move(message.text));
  return texts;
}

// The next event, waiting for it; an event of nobody if none comes.
inline PortEvent NextEvent(DatagramPort& port) {
  for (;;) {
    PortEvent event;
    if (port.TakeEvents({&event, 1}) == 1) return event;
    Datagram ignored;
    if (port.Receive({&ignored, 1}) == 0 && port.TakeEvents({&event, 1}) == 1) return event;
    if (!WaitFor(port)) return {};
  }
}

}  // namespace weft::linux_transport

#endif  // WEFT_TRANSPORTS_LINUX_LINUX_TEST_UTIL_H_
