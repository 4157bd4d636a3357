// SPDX-License-Identifier: Apache-2.0
//
// Operations, which are done when they are posted.
#include <algorithm>
#include <atomic>
#include <cstring>

#include "weft/transports/shm/copy.h"
#include "weft/transports/shm/shm_remote_memory.h"

namespace weft::shm {
namespace {

using Kind = MemoryOperation::Kind;

MemoryAccess Needed(Kind kind) {
  if (kind == Kind::kRead) return MemoryAccess::kRead;
  return kind == Kind::kWrite ? MemoryAccess::kWrite : MemoryAccess::kAtomic;
}

template <typename Word>
bool IsWord(const uint8_t* shared, size_t size) {
  return size == sizeof(Word) && reinterpret_cast<uintptr_t>(shared) % sizeof(Word) == 0;
}

template <typename Word>
void StoreWord(uint8_t* shared, const uint8_t* from) {
  Word word;
  std::memcpy(&word, from, sizeof(word));
  std::atomic_ref(*reinterpret_cast<Word*>(shared)).store(word, std::memory_order_relaxed);
}

template <typename Word>
void LoadWord(uint8_t* to, uint8_t* shared) {
  const Word word =
      std::atomic_ref(*reinterpret_cast<Word*>(shared)).load(std::memory_order_relaxed);
  std::memcpy(to, &word, sizeof(word));
}

// Behind all stores of earlier operations.
void Store(uint8_t* shared, const uint8_t* from, size_t size) {
  std::atomic_thread_fence(std::memory_order_release);
  if (IsWord<uint64_t>(shared, size)) return StoreWord<uint64_t>(shared, from);
  if (IsWord<uint32_t>(shared, size)) return StoreWord<uint32_t>(shared, from);
  if (IsWord<uint16_t>(shared, size)) return StoreWord<uint16_t>(shared, from);
  CopyBytes(shared, from, size);
}

// Before all loads of later operations.
void Load(uint8_t* to, uint8_t* shared, size_t size) {
  if (IsWord<uint64_t>(shared, size)) {
    LoadWord<uint64_t>(to, shared);
  } else if (IsWord<uint32_t>(shared, size)) {
    LoadWord<uint32_t>(to, shared);
  } else if (IsWord<uint16_t>(shared, size)) {
    LoadWord<uint16_t>(to, shared);
  } else {
    CopyBytes(to, shared, size);
  }
  std::atomic_thread_fence(std::memory_order_acquire);
}

void Touch(const MemoryOperation& operation, uint8_t* shared, uint64_t* old_value) {
  switch (operation.kind) {
    case Kind::kRead:
      return Load(operation.local.data(), shared, operation.local.size());
    case Kind::kWrite:
      return Store(shared, operation.local.data(), operation.local.size());
    case Kind::kCompareSwap:
      *old_value = operation.compare;
      std::atomic_ref(*reinterpret_cast<uint64_t*>(shared))
          .compare_exchange_strong(*old_value, operation.operand);
      return;
    case Kind::kFetchAdd:
      *old_value =
          std::atomic_ref(*reinterpret_cast<uint64_t*>(shared)).fetch_add(operation.operand);
      return;
  }
}

}  // namespace

size_t ShmRemoteMemory::Post(absl::Span<const MemoryOperation> operations) {
  AssertOwner();
  const size_t taken = std::min(operations.size(), kMaxCompletions - done_count_);
  for (const MemoryOperation& operation : operations.first(taken)) {
    MemoryCompletion& end = done_[(done_begin_ + done_count_++) % kMaxCompletions];
    end.context = operation.context;
    end.old_value = 0;
    end.code = Perform(operation, &end.old_value);
    if (end.code != absl::StatusCode::kOk) {
      ++stats_.send_failed;
    } else if (operation.kind == Kind::kRead) {
      stats_.received_bytes += operation.local.size();
    } else {
      stats_.sent_bytes += operation.kind == Kind::kWrite ? operation.local.size() : 8;
    }
  }
  stats_.sent += taken;
  if (taken < operations.size()) ++stats_.send_blocked;
  return taken;
}

size_t ShmRemoteMemory::Poll(absl::Span<MemoryCompletion> completions) {
  AssertOwner();
  control_->MaybeCheck();
  const size_t n = std::min(completions.size(), done_count_);
  for (size_t i = 0; i < n; ++i) completions[i] = done_[(done_begin_ + i) % kMaxCompletions];
  done_begin_ = (done_begin_ + n) % kMaxCompletions;
  done_count_ -= n;
  return n;
}

absl::StatusCode ShmRemoteMemory::Perform(const MemoryOperation& operation, uint64_t* old_value) {
  const uint64_t index = operation.peer.words[0] - 1;
  if (index >= remotes_.size() || operation.peer.words[1] > remotes_[index].generation ||
      operation.peer.words[1] == 0 || operation.peer.words[2] != 0) [[unlikely]] {
    return absl::StatusCode::kInvalidArgument;
  }
  const absl::StatusCode valid = CheckOperation(operation, kMaxOperationBytes, regions_);
  if (valid != absl::StatusCode::kOk) [[unlikely]]
    return valid;
  // Copied: what is looked for may arrive only now, and move remotes_.
  if (Find(operation.peer) == nullptr) [[unlikely]]
    return absl::StatusCode::kUnavailable;
  const ShmKey key = Parse(operation.key);
  Link* link = LinkFor(remotes_[index], key);
  if (link == nullptr) [[unlikely]] {
    // It may be about to be accepted.
    control_->Check();
    if (Find(operation.peer) == nullptr) return absl::StatusCode::kUnavailable;
    link = LinkFor(remotes_[index], key);
    if (link == nullptr) return absl::StatusCode::kPermissionDenied;
  }
  return PerformOver(*link, key, operation, old_value);
}

// The one over which the key was granted; null if there is none.
ShmRemoteMemory::Link* ShmRemoteMemory::LinkFor(const Remote& remote, const ShmKey& key) {
  const auto owner_side = static_cast<uint8_t>(key.owner_side);
  return owner_side > 1 ? nullptr : remote.links[1 - owner_side];
}

// Everything in the other side's table is read once, and not believed further than its pages go.
absl::StatusCode ShmRemoteMemory::PerformOver(Link& link, const ShmKey& key,
                                              const MemoryOperation& operation,
                                              uint64_t* old_value) {
  if (key.entry >= kMaxGrants || key.serial == 0) [[unlikely]] {
    return absl::StatusCode::kPermissionDenied;
  }
  const auto& grant =
      reinterpret_cast<const SharedGrant*>(link.session.memory.their_ring())[key.entry];
  std::atomic<uint64_t>& produced = link.session.memory.mine().produced;
  absl::StatusCode code = absl::StatusCode::kPermissionDenied;
  for (bool looked_for = false;;) {
    produced.store(link.operations + 1, std::memory_order_relaxed);
    if (link.session.needs_fence) {
      std::atomic_thread_fence(std::memory_order_seq_cst);
    } else {
      std::atomic_signal_fence(std::memory_order_seq_cst);
    }
    const bool granted = grant.serial.load(std::memory_order_acquire) == key.serial;
    const uint32_t mapping = grant.mapping.load(std::memory_order_relaxed);
    const MappedPages* const pages = granted ? PagesOf(link, mapping) : nullptr;
    const bool missing = granted && pages == nullptr && !looked_for;
    if (pages != nullptr) [[likely]] {
      const uint64_t begin = grant.offset.load(std::memory_order_relaxed);
      const uint64_t granted_bytes = grant.bytes.load(std::memory_order_relaxed);
      const auto access = static_cast<MemoryAccess>(grant.access.load(std::memory_order_relaxed));
      const MemoryAccess needed = Needed(operation.kind);
      const uint64_t bytes = needed == MemoryAccess::kAtomic ? 8 : operation.local.size();
      if (Includes(access, needed) && (pages->writable() || needed == MemoryAccess::kRead) &&
          RangeFits(operation.offset, bytes, granted_bytes) &&
          RangeFits(begin, granted_bytes, pages->bytes()) &&
          (needed != MemoryAccess::kAtomic || begin % 8 == 0)) [[likely]] {
        // Processors let a load overtake the stores before it, but for this.
        if (operation.kind == Kind::kRead && wrote_) {
          std::atomic_thread_fence(std::memory_order_seq_cst);
          wrote_ = false;
        }
        wrote_ |= operation.kind == Kind::kWrite;
        Touch(operation, pages->base() + begin + operation.offset, old_value);
        code = absl::StatusCode::kOk;
      }
    }
    link.operations += 2;
    produced.store(link.operations, std::memory_order_release);
    if (!missing) [[likely]]
      return code;
    // The pages were handed over before the key was, and lie in the socket.
    looked_for = true;
    if (!ReceivePages(link, mapping)) return absl::StatusCode::kUnavailable;
  }
}

}  // namespace weft::shm
