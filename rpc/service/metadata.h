// SPDX-License-Identifier: Apache-2.0
//
// Small facts that travel beside a call's messages, in both directions: pairs of bytes, in order; a
// key may come more than once.
//
//   context.metadata().Add("tenant", "blue");                        // client
//   if (auto tenant = context.metadata().Find("tenant")) ...         // server
//
// How much a call may carry is limited (`rpc.service.metadata_bytes_max`). Clear() keeps memory.
#ifndef WEFT_RPC_SERVICE_METADATA_H_
#define WEFT_RPC_SERVICE_METADATA_H_

#include <cstddef>
#include <optional>

#include "absl/strings/string_view.h"
#include "weft/rpc/service/service.pb.h"

namespace weft::rpc {

class Metadata {
 public:
  void Add(absl::string_view key, absl::string_view value) {
    wire::Metadata::Entry& entry = *proto_.add_entries();
    entry.mutable_key()->assign(key.data(), key.size());
    entry.mutable_value()->assign(value.data(), value.size());
  }

  // The first value of `key`, until the metadata changes.
  std::optional<absl::string_view> Find(absl::string_view key) const {
    for (const wire::Metadata::Entry& entry : proto_.entries()) {
      if (key == entry.key()) return entry.value();
    }
    return std::nullopt;
  }

  // Calls `f(key, value)` with each pair.
  template <typename F>
  void ForEach(F f) const {
    for (const wire::Metadata::Entry& entry : proto_.entries()) {
      f(absl::string_view(entry.key()), absl::string_view(entry.value()));
    }
  }

  bool empty() const { return proto_.entries().empty(); }
  size_t size() const { return static_cast<size_t>(proto_.entries_size()); }
  void Clear() { proto_.Clear(); }

  // As it travels.
  const wire::Metadata& proto() const { return proto_; }
  wire::Metadata& proto() { return proto_; }

 private:
  wire::Metadata proto_;
};

}  // namespace weft::rpc

#endif  // WEFT_RPC_SERVICE_METADATA_H_
