// SPDX-License-Identifier: Apache-2.0
//
// Ports for tests of decorators: what is sent is kept as text, what is received comes from the
// test.
#ifndef WEFT_TRANSPORTS_DECORATORS_FAKE_PORT_H_
#define WEFT_TRANSPORTS_DECORATORS_FAKE_PORT_H_

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <deque>
#include <string>
#include <utility>
#include <vector>

#include "weft/transports/datagram_port.h"
#include "weft/transports/frame_port.h"

namespace weft {

inline Buffer TextBuffer(BufferPool& pool, const std::string& text) {
  Buffer buffer = pool.Allocate();
  std::memcpy(buffer.Append(text.size()), text.data(), text.size());
  return buffer;
}

inline std::string TextOf(const Buffer& buffer) {
  return {reinterpret_cast<const char*>(buffer.data()), buffer.size()};
}

// What both have in common.
struct FakeState {
  std::vector<std::string> sent;
  std::vector<uint64_t> sources;  // of those that were sent on
  size_t room = SIZE_MAX;         // messages that Send() still accepts
  int sends = 0;                  // calls
  std::deque<std::string> incoming;
  bool arm_result = true;
  int arms = 0;
  int disarms = 0;
  int binds = 0;
};

class FakeDatagramPort : public DatagramPort {
 public:
  explicit FakeDatagramPort(FakeState& state, const BufferPoolOptions& buffers = {})
      : DatagramPort(Offered(), buffers), state_(state) {}

  static Capabilities Offered() {
    return {.datagrams = true, .max_payload_bytes = 1400, .reliable = true, .ordered = true};
  }

  Address local_address() const override { return *Address::Parse(own_address); }
  int wait_fd() const override { return 42; }
  bool Arm() override { return ++state_.arms, state_.arm_result; }
  void Disarm() override { ++state_.disarms; }
  void BindToThisThread() override {
    ++state_.binds;
    DatagramPort::BindToThisThread();
  }

  // Peer n is 10.0.0.2:n, or what `address` says.
  absl::StatusOr<Peer> Resolve(const Address& address) override {
    return Peer{{address.port(), 0, 0}};
  }
  absl::StatusOr<Address> AddressOf(const Peer& peer) const override {
    ++address_lookups;
    if (peer.words[0] == 404) return absl::NotFoundError("gone");
    if (!address.empty()) return Address::Parse(address);
    return Address::Ipv4({10, 0, 0, 2}, static_cast<uint16_t>(peer.words[0]));
  }
  size_t Send(absl::Span<Datagram> burst) override {
    ++state_.sends;
    const size_t n = std::min(burst.size(), state_.room);
    for (Datagram& d : burst.first(n)) {
      state_.sent.push_back(TextOf(d.buffer));
      last_peer = d.peer;
      d.buffer.Reset();
      ++stats_.sent;
    }
    state_.room -= n;
    return n;
  }
  size_t Forward(absl::Span<Datagram> burst, absl::Span<const Peer> sources) override {
    const size_t n = Send(burst);
    for (const Peer& source : sources.first(n)) state_.sources.push_back(source.words[0]);
    return n;
  }
  size_t Receive(absl::Span<Datagram> burst) override {
    size_t n = 0;
    for (; n < burst.size() && !state_.incoming.empty(); ++n) {
      burst[n] = {Peer{{7, 0, 0}}, TextBuffer(pool_, state_.incoming.front())};
      state_.incoming.pop_front();
    }
    return n;
  }

  void AddEvent(const PortEvent& event) {
    event_ = event;
    has_events_ = true;
  }
  void Die() { status_ = absl::UnavailableError("unplugged"); }

  mutable int address_lookups = 0;
  std::string address;
  std::string own_address = "10.0.0.1:1000";  // as it is when the port is wrapped
  Peer last_peer;

 private:
  size_t DoTakeEvents(absl::Span<PortEvent> events) override {
    has_events_ = false;
    events[0] = event_;
    return 1;
  }

  FakeState& state_;
  PortEvent event_{};
};

class FakeFramePort : public FramePort {
 public:
  explicit FakeFramePort(FakeState& state, const BufferPoolOptions& buffers = {})
      : FramePort({.frames = true, .max_frame_bytes = 1514}, buffers), state_(state) {}

  Address local_address() const override { return Address::Sim("nic"); }
  MacAddress mac() const override { return {2, 0, 0, 0, 0, 9}; }
  bool link_up() const override { return false; }
  int wait_fd() const override { return 43; }
  bool Arm() override { return ++state_.arms, state_.arm_result; }
  void Disarm() override { ++state_.disarms; }
  size_t Send(absl::Span<Buffer> burst) override {
    ++state_.sends;
    const size_t n = std::min(burst.size(), state_.room);
    for (Buffer& frame : burst.first(n)) {
      state_.sent.push_back(TextOf(frame));
      frame.Reset();
    }
    state_.room -= n;
    return n;
  }
  size_t Receive(absl::Span<Buffer> burst) override {
    size_t n = 0;
    for (; n < burst.size() && !state_.incoming.empty(); ++n) {
      burst[n] = TextBuffer(pool_, state_.incoming.front());
      state_.incoming.pop_front();
    }
    return n;
  }

 private:
  FakeState& state_;
};

}  // namespace weft

#endif  // WEFT_TRANSPORTS_DECORATORS_FAKE_PORT_H_
