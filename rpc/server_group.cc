// SPDX-License-Identifier: Apache-2.0
#include "weft/rpc/server_group.h"

#include "absl/random/random.h"

namespace weft::rpc {

std::shared_ptr<ServerGroup> ServerGroup::Of(const Address& address, std::optional<uint64_t> seed) {
  static std::mutex mutex;
  static auto& groups = *new absl::flat_hash_map<Address, std::weak_ptr<ServerGroup>>();
  const std::lock_guard<std::mutex> lock(mutex);
  std::weak_ptr<ServerGroup>& known = groups[address];
  std::shared_ptr<ServerGroup> group = known.lock();
  if (group == nullptr) {
    const uint64_t random = seed.has_value() ? r2p2::internal::Mix(*seed ^ ClientIdOf(address))
                                             : absl::Uniform<uint64_t>(absl::BitGen());
    group = std::make_shared<ServerGroup>(random);
    known = group;
  }
  absl::erase_if(groups, [](const auto& entry) { return entry.second.expired(); });
  return group;
}

uint64_t ServerGroup::Join() {
  const std::lock_guard<std::mutex> lock(mutex_);
  return incarnation_ | members_++;
}

uint32_t ServerGroup::NonceFor(const Address& router) const {
  return static_cast<uint32_t>(r2p2::internal::Mix(incarnation_ ^ ClientIdOf(router))) | 1;
}

void ServerGroup::Note(const Address& router, const Answer& answer) {
  const std::lock_guard<std::mutex> lock(mutex_);
  answers_[router] = answer;
}

ServerGroup::Answer ServerGroup::Last(const Address& router) const {
  const std::lock_guard<std::mutex> lock(mutex_);
  const auto it = answers_.find(router);
  return it != answers_.end() ? it->second : Answer();
}

}  // namespace weft::rpc
