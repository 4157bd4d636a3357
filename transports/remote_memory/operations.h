// SPDX-License-Identifier: Apache-2.0
//
// The operations of an emulated port, from Post() to Poll(): a fixed number of them, each in one
// list at a time: those that are free, those of a session, those that have ended.
#ifndef WEFT_TRANSPORTS_REMOTE_MEMORY_OPERATIONS_H_
#define WEFT_TRANSPORTS_REMOTE_MEMORY_OPERATIONS_H_

#include <cstddef>
#include <cstdint>
#include <vector>

#include "absl/status/status.h"
#include "absl/types/span.h"
#include "weft/transports/remote_memory.h"
#include "weft/transports/remote_memory/wire.h"

namespace weft::emulated {

struct Operation {
  Operation* next = nullptr;
  Action action = Action::kNothing;
  KeyName key;
  uint64_t offset = 0;
  uint32_t bytes = 0;
  uint32_t cut = 0;         // of them, those that pieces were made of
  uint32_t unanswered = 0;  // pieces
  uint8_t* local = nullptr;
  uint64_t compare = 0;
  uint64_t operand = 0;
  MemoryCompletion completion;

  bool ended() const { return cut == bytes && unanswered == 0; }
};

// First in, first out.
class OperationList {
 public:
  bool empty() const { return first_ == nullptr; }
  Operation* first() const { return first_; }
  void Push(Operation* operation) {
    operation->next = nullptr;
    (first_ == nullptr ? first_ : last_->next) = operation;
    last_ = operation;
  }
  Operation* Pop() {
    Operation* const operation = first_;
    first_ = operation->next;
    return operation;
  }

 private:
  Operation* first_ = nullptr;
  Operation* last_ = nullptr;  // of a list that is not empty
};

class Operations {
 public:
  explicit Operations(size_t count) : all_(count) {
    for (Operation& operation : all_) free_.Push(&operation);
  }
  Operations(const Operations&) = delete;
  Operations& operator=(const Operations&) = delete;

  // Null: all are in use.
  Operation* Allocate() {
    if (free_.empty()) return nullptr;
    Operation* const operation = free_.Pop();
    *operation = {};
    ++used_;
    return operation;
  }
  void End(Operation* operation) { ended_.Push(operation); }
  bool has_ended() const { return !ended_.empty(); }
  size_t used() const { return used_; }

  size_t Take(absl::Span<MemoryCompletion> completions) {
    size_t taken = 0;
    for (; taken < completions.size() && !ended_.empty(); ++taken) {
      Operation* const operation = ended_.Pop();
      completions[taken] = operation->completion;
      free_.Push(operation);
      --used_;
    }
    return taken;
  }

 private:
  std::vector<Operation> all_;
  OperationList free_;
  OperationList ended_;
  size_t used_ = 0;
};

}  // namespace weft::emulated

#endif  // WEFT_TRANSPORTS_REMOTE_MEMORY_OPERATIONS_H_
