// SPDX-License-Identifier: Apache-2.0
//
// Which port of a stack a UDP datagram is for.
#ifndef WEFT_NETSTACK_UDP_TABLE_H_
#define WEFT_NETSTACK_UDP_TABLE_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "weft/netstack/ip_address.h"
#include "weft/netstack/port_binding.h"

namespace weft::netstack {

class UdpPort;

// One thread.
class UdpTable {
 public:
  static constexpr size_t kPortsMax = 32768;

  // The bindings of one table do not overlap, unless one is more special than the other; at most
  // kPortsMax.
  void Add(const PortBinding& binding, UdpPort* port);
  void Remove(const UdpPort* port);

  // The port for datagrams to this address and port, the more special binding before the general
  // one (an address, "0.0.0.0", "::"); null: nobody's.
  UdpPort* Find(const IpAddress& address, uint16_t port) const {
    const Entry* const last = last_;
    if (last != nullptr && last->binding.port == port && last->binding.address == address) {
      return last->port;
    }
    return Search(address, port);
  }
  bool Has(uint16_t port) const { return heads_ != nullptr && heads_[port] != 0; }
  size_t size() const { return entries_.size() - 1; }
  std::vector<UdpPort*> ports() const;

 private:
  struct Entry {
    PortBinding binding;
    UdpPort* port = nullptr;
    uint16_t next = 0;  // of the same port number
  };

  UdpPort* Search(const IpAddress& address, uint16_t port) const;
  void Rebuild();

  std::vector<Entry> entries_{1};  // the first stands for the end of a list
  // Of each port number, its first entry. Pages that are not used stay untouched.
  struct Unmap {
    void operator()(uint16_t* heads) const;
  };
  std::unique_ptr<uint16_t[], Unmap> heads_;
  mutable const Entry* last_ = nullptr;  // the exact binding that was found last
};

}  // namespace weft::netstack

#endif  // WEFT_NETSTACK_UDP_TABLE_H_
