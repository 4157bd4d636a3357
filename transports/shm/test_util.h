// SPDX-License-Identifier: Apache-2.0
//
// What the tests of this folder share.
#ifndef WEFT_TRANSPORTS_SHM_TEST_UTIL_H_
#define WEFT_TRANSPORTS_SHM_TEST_UTIL_H_

#include <gtest/gtest.h>

#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/types/span.h"
#include "weft/config/config.h"
#include "weft/core/temp_directory.h"
#include "weft/transports/datagram_port.h"
#include "weft/transports/registry.h"

namespace weft::shm {

inline size_t OpenDescriptors() {
  const std::filesystem::directory_iterator all("/proc/self/fd");
  return static_cast<size_t>(std::distance(begin(all), end(all)));
}

inline config::Transport Config(const std::string& directory) {
  config::Transport config;
  config.set_name("shm");
  config.mutable_shm()->set_directory(directory);
  return config;
}

inline std::unique_ptr<Transport> OpenShm(const config::Transport& config) {
  auto transport = OpenPlainTransport(config);
  if (!transport.ok()) {
    ADD_FAILURE() << transport.status();
    std::abort();
  }
  return *std::move(transport);
}

inline std::unique_ptr<DatagramPort> OpenPort(Transport& transport, const std::string& name = "") {
  PortOptions options;
  if (!name.empty()) options.local = Address::Shm(name);
  auto port = transport.OpenDatagramPort(options);
  if (!port.ok()) {
    ADD_FAILURE() << port.status();
    std::abort();
  }
  return *std::move(port);
}

inline Datagram Message(DatagramPort& port, const Peer& to, absl::Span<const uint8_t> bytes) {
  Datagram datagram = {to, port.pool().Allocate()};
  if (datagram.buffer && !bytes.empty()) {
    std::memcpy(datagram.buffer.Append(bytes.size()), bytes.data(), bytes.size());
  }
  return datagram;
}

inline Datagram Message(DatagramPort& port, const Peer& to, const std::string& text) {
  return Message(port, to, {reinterpret_cast<const uint8_t*>(text.data()), text.size()});
}

// Whether it was taken.
inline bool SendText(DatagramPort& port, const Peer& to, const std::string& text) {
  Datagram burst[1] = {Message(port, to, text)};
  return port.Send(absl::MakeSpan(burst)) == 1;
}

inline std::string Text(const Buffer& buffer) {
  return std::string(reinterpret_cast<const char*>(buffer.data()), buffer.size());
}

// Polls until a message arrives; hangs the test if none does.
inline Datagram ReceiveOne(DatagramPort& port) {
  Datagram burst[1];
  while (port.Receive(absl::MakeSpan(burst)) == 0) {
  }
  return std::move(burst[0]);
}

// Polls until an event arrives. Messages are dropped.
inline PortEvent NextEvent(DatagramPort& port) {
  Datagram burst[32];
  PortEvent event[1];
  while (port.TakeEvents(absl::MakeSpan(event)) == 0) port.Receive(absl::MakeSpan(burst));
  return event[0];
}

}  // namespace weft::shm

#endif  // WEFT_TRANSPORTS_SHM_TEST_UTIL_H_
