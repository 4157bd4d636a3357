// SPDX-License-Identifier: Apache-2.0
#include "weft/transports/remote_memory/memory_table.h"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "absl/strings/str_cat.h"
#include "weft/core/bytes.h"

namespace weft::emulated {
namespace {

MemoryAccess AccessFor(Action action) {
  switch (action) {
    case Action::kRead:
      return MemoryAccess::kRead;
    case Action::kWrite:
      return MemoryAccess::kWrite;
    default:
      return MemoryAccess::kAtomic;
  }
}

RemoteKey KeyOf(const KeyName& name, uint64_t length, MemoryAccess access) {
  RemoteKey key;
  StoreBig32(key.bytes.data(), name.index);
  key.bytes[4] = static_cast<uint8_t>(access);
  StoreBig64(key.bytes.data() + 8, length);
  StoreBig64(key.bytes.data() + 16, name.secret[0]);
  StoreBig64(key.bytes.data() + 24, name.secret[1]);
  return key;
}

// Takes as long whatever differs.
bool SameSecret(const KeyName& a, const KeyName& b) {
  return ((a.secret[0] ^ b.secret[0]) | (a.secret[1] ^ b.secret[1])) == 0;
}

}  // namespace

uint64_t Secrets::Next() {
  while (true) {
    const uint64_t words[] = {++count_};
    if (const uint64_t next = SipHash24(key_, words); next != 0) return next;
  }
}

KeyShape ShapeOf(const RemoteKey& key) {
  const uint8_t* const p = key.bytes.data();
  return {.name = {.index = LoadBig32(p), .secret = {LoadBig64(p + 16), LoadBig64(p + 24)}},
          .length = LoadBig64(p + 8),
          .access = static_cast<MemoryAccess>(p[4])};
}

MemoryTable::~MemoryTable() {
  for (const auto& [id, region] : regions_) {
    if (region.mapped > 0) munmap(region.bytes.data(), region.mapped);
  }
}

absl::Status MemoryTable::CheckRoom() const {
  if (regions_.size() < regions_max_) return absl::OkStatus();
  return absl::ResourceExhaustedError(
      absl::StrCat("all ", regions_max_,
                   " memory regions of the port are in use; deregister some, "
                   "or make few large ones (EmulatedMemoryOptions::regions_max)"));
}

absl::StatusOr<MemoryRegion> MemoryTable::Allocate(size_t bytes) {
  if (bytes == 0) return absl::InvalidArgumentError("a memory region has at least one byte");
  if (absl::Status room = CheckRoom(); !room.ok()) return room;
  const auto page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
  const size_t mapped = bytes > SIZE_MAX - page ? 0 : (bytes + page - 1) / page * page;
  void* const pages = mapped == 0 ? MAP_FAILED
                                  : mmap(nullptr, mapped, PROT_READ | PROT_WRITE,
                                         MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (pages == MAP_FAILED) {
    return absl::ResourceExhaustedError(
        absl::StrCat("no ", bytes,
                     " bytes of memory: the limit of the address space (ulimit -v) or "
                     "the machine's (vm.overcommit_memory) is reached"));
  }
  return Add({static_cast<uint8_t*>(pages), bytes}, mapped);
}

absl::StatusOr<MemoryRegion> MemoryTable::Register(absl::Span<uint8_t> memory) {
  if (memory.empty()) return absl::InvalidArgumentError("a memory region has at least one byte");
  if (absl::Status room = CheckRoom(); !room.ok()) return room;
  return Add(memory, 0);
}

absl::StatusOr<MemoryRegion> MemoryTable::Add(absl::Span<uint8_t> bytes, size_t mapped) {
  while (++last_region_ == 0 || regions_.contains(last_region_)) {
  }
  regions_[last_region_] = {.bytes = bytes, .mapped = mapped};
  extents_.emplace(reinterpret_cast<uintptr_t>(bytes.data()), bytes.size());
  extent_max_ = std::max(extent_max_, bytes.size());
  return MemoryRegion{.id = last_region_, .bytes = bytes};
}

void MemoryTable::Deregister(const MemoryRegion& region) {
  const auto found = regions_.find(region.id);
  if (found == regions_.end() || found->second.bytes.data() != region.bytes.data()) return;
  for (Key& key : keys_) {
    if (key.region == region.id) Free(&key);
  }
  const absl::Span<uint8_t> bytes = found->second.bytes;
  const auto [first, last] = extents_.equal_range(reinterpret_cast<uintptr_t>(bytes.data()));
  for (auto it = first; it != last; ++it) {
    if (it->second != bytes.size()) continue;
    extents_.erase(it);
    break;
  }
  last_covered_ = {};
  if (found->second.mapped > 0) munmap(bytes.data(), found->second.mapped);
  regions_.erase(found);
}

absl::StatusOr<RemoteKey> MemoryTable::Grant(uint32_t peer, const MemoryRegion& region,
                                             size_t offset, size_t bytes, MemoryAccess access) {
  const auto found = regions_.find(region.id);
  if (found == regions_.end()) return absl::InvalidArgumentError("no such memory region");
  const absl::Span<uint8_t> whole = found->second.bytes;
  if (bytes == 0 || offset > whole.size() || bytes > whole.size() - offset) {
    return absl::InvalidArgumentError(absl::StrCat("bytes ", offset, " to ", offset, " + ", bytes,
                                                   " are not of the region, which has ",
                                                   whole.size()));
  }
  if (free_keys_.empty()) {
    if (keys_.size() >= keys_max_) {
      return absl::ResourceExhaustedError(
          absl::StrCat("all ", keys_max_,
                       " keys of the port are in use; revoke some, or grant "
                       "longer stretches (EmulatedMemoryOptions::keys_max)"));
    }
    free_keys_.push_back(static_cast<uint32_t>(keys_.size()));
    keys_.emplace_back();
  }
  const uint32_t index = free_keys_.back();
  free_keys_.pop_back();
  keys_[index] = {.name = {.index = index, .secret = {secrets_->Next(), secrets_->Next()}},
                  .peer = peer,
                  .region = region.id,
                  .address = whole.data() + offset,
                  .length = bytes,
                  .access = access};
  return KeyOf(keys_[index].name, bytes, access);
}

void MemoryTable::Free(Key* key) {
  free_keys_.push_back(key->name.index);
  *key = {};
}

void MemoryTable::Revoke(const RemoteKey& key) {
  const KeyName name = ShapeOf(key).name;
  if (name.index >= keys_.size() || keys_[name.index].region == 0) return;
  if (SameSecret(keys_[name.index].name, name)) Free(&keys_[name.index]);
}

void MemoryTable::RevokeAllOf(uint32_t peer) {
  for (Key& key : keys_) {
    if (key.region != 0 && key.peer == peer) Free(&key);
  }
}

bool MemoryTable::Covers(absl::Span<const uint8_t> bytes) const {
  const auto within = [&](absl::Span<const uint8_t> whole) {
    return !whole.empty() && bytes.data() >= whole.data() && bytes.size() <= whole.size() &&
           static_cast<size_t>(bytes.data() - whole.data()) <= whole.size() - bytes.size();
  };
  if (within(last_covered_)) return true;
  // Regions may overlap: backwards from the last that begins at or before the bytes, as far as one
  // could still reach them.
  const auto begin = reinterpret_cast<uintptr_t>(bytes.data());
  for (auto it = extents_.upper_bound(begin); it != extents_.begin();) {
    --it;
    if (begin - it->first >= extent_max_) return false;
    const absl::Span<const uint8_t> whole(reinterpret_cast<const uint8_t*>(it->first), it->second);
    if (!within(whole)) continue;
    last_covered_ = whole;
    return true;
  }
  return false;
}

MemoryTable::Target MemoryTable::Find(uint32_t peer, const Packet& request) const {
  if (request.key.index >= keys_.size()) return {};
  const Key& key = keys_[request.key.index];
  const MemoryAccess access = AccessFor(request.action);
  if (key.region == 0 || key.peer != peer || !SameSecret(key.name, request.key) ||
      !Includes(key.access, access) || request.offset > key.length ||
      request.bytes > key.length - request.offset) {
    return {};
  }
  uint8_t* const address = key.address + request.offset + request.piece_offset;
  if (access == MemoryAccess::kAtomic && reinterpret_cast<uintptr_t>(address) % 8 != 0) {
    return {.address = nullptr, .result = Result::kCrooked};
  }
  return {.address = address, .result = Result::kOk};
}

}  // namespace weft::emulated
