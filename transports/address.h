// SPDX-License-Identifier: Apache-2.0
//
// Where a port listens or whom it talks to, in the terms of its transport.
//
// Text forms, each of which Parse() and ToString() round-trip:
//
//   10.0.0.1:8000          IPv4 and port; 0.0.0.0 means any local address
//   [2001:db8::1]:8000     IPv6 and port; [::] means any local address
//   [fe80::1%eth0]:8000    IPv6 with scope: the name or number of an interface, printed by name if
//   it has one shm:NAME               a rendezvous name on this machine sim:NAME               an
//   endpoint of a simulated network
//
// NAME is 1 to 64 of the characters A-Z a-z 0-9 _ . -, not beginning with a dot. `localhost:8000`
// is read as 127.0.0.1:8000. Port 0 asks for any free port when listening. Names are not looked up
// anywhere.
#ifndef WEFT_TRANSPORTS_ADDRESS_H_
#define WEFT_TRANSPORTS_ADDRESS_H_

#include <array>
#include <cstdint>
#include <string>
#include <utility>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace weft {

class Address {
 public:
  enum class Kind : uint8_t { kNone, kIpv4, kIpv6, kShm, kSim };
  using Ipv4Bytes = std::array<uint8_t, 4>;
  using Ipv6Bytes = std::array<uint8_t, 16>;

  Address() = default;
  static Address Ipv4(const Ipv4Bytes& ip, uint16_t port);
  static Address Ipv6(const Ipv6Bytes& ip, uint16_t port, uint32_t scope = 0);
  // `name` must be as described above.
  static Address Shm(absl::string_view name);
  static Address Sim(absl::string_view name);

  // InvalidArgument says what is wrong with `text` and what would be right.
  static absl::StatusOr<Address> Parse(absl::string_view text);
  std::string ToString() const;

  Kind kind() const { return kind_; }
  bool is_ip() const { return kind_ == Kind::kIpv4 || kind_ == Kind::kIpv6; }
  // Whether only this machine is reached by it: the kernel's loopback addresses, shared memory and
  // simulated networks. Of an address that a network stack of weft's own has, it says nothing.
  bool is_within_machine() const;
  // 0.0.0.0 or [::], which is where to listen and nowhere to send to.
  bool is_any() const { return is_ip() && ip_ == Ipv6Bytes{}; }

  // The parts of the kinds that have them.
  Ipv4Bytes ipv4() const { return {ip_[0], ip_[1], ip_[2], ip_[3]}; }
  const Ipv6Bytes& ipv6() const { return ip_; }
  uint16_t port() const { return port_; }
  uint32_t scope() const { return scope_; }
  const std::string& name() const { return name_; }

  friend bool operator==(const Address&, const Address&) = default;
  template <typename H>
  friend H AbslHashValue(H h, const Address& a) {
    return H::combine(std::move(h), a.kind_, a.ip_, a.port_, a.scope_, a.name_);
  }

 private:
  Kind kind_ = Kind::kNone;
  uint16_t port_ = 0;
  uint32_t scope_ = 0;
  Ipv6Bytes ip_ = {};
  std::string name_;
};

// The kind's name as a user knows it: "IPv4", "shm", ...
absl::string_view KindName(Address::Kind kind);

}  // namespace weft

#endif  // WEFT_TRANSPORTS_ADDRESS_H_
