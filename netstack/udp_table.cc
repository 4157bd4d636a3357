// SPDX-License-Identifier: Apache-2.0
#include "weft/netstack/udp_table.h"

#include <algorithm>
#include <cstdlib>
#include <new>

namespace weft::netstack {

void UdpTable::Unmap::operator()(uint16_t* heads) const { std::free(heads); }

void UdpTable::Add(const PortBinding& binding, UdpPort* port) {
  entries_.push_back({binding, port, 0});
  Rebuild();
}

void UdpTable::Remove(const UdpPort* port) {
  entries_.erase(std::remove_if(entries_.begin() + 1, entries_.end(),
                                [port](const Entry& entry) { return entry.port == port; }),
                 entries_.end());
  Rebuild();
}

void UdpTable::Rebuild() {
  last_ = nullptr;
  // Fresh zero pages: only those of ports in use are ever touched.
  heads_.reset(static_cast<uint16_t*>(std::calloc(65536, sizeof(uint16_t))));
  if (heads_ == nullptr) throw std::bad_alloc();
  for (uint16_t i = 1; i < entries_.size(); ++i) {
    uint16_t& head = heads_[entries_[i].binding.port];
    entries_[i].next = head;
    head = i;
  }
}

UdpPort* UdpTable::Search(const IpAddress& address, uint16_t port) const {
  if (heads_ == nullptr) return nullptr;
  UdpPort* general = nullptr;
  for (uint16_t i = heads_[port]; i != 0; i = entries_[i].next) {
    const Entry& entry = entries_[i];
    if (entry.binding.address == address) {
      last_ = &entry;
      return entry.port;
    }
    if (!entry.binding.Takes(address)) continue;
    if (general == nullptr || entry.binding.address.is_v4()) general = entry.port;
  }
  return general;
}

std::vector<UdpPort*> UdpTable::ports() const {
  std::vector<UdpPort*> ports;
  for (size_t i = 1; i < entries_.size(); ++i) ports.push_back(entries_[i].port);
  return ports;
}

}  // namespace weft::netstack
