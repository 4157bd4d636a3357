// SPDX-License-Identifier: Apache-2.0
//
// What client and server both know of a method: generated code has a table of them a service.
//
//   constexpr rpc::Method kMethods[] = {
//       {"kv.KeyValue/Get", rpc::MethodKind::kUnary},
//       {"kv.KeyValue/Scan", rpc::MethodKind::kServerStreaming},
//   };
//   static_assert(kMethods[0].id == rpc::MethodId("kv.KeyValue/Get"));
#ifndef WEFT_RPC_SERVICE_METHOD_H_
#define WEFT_RPC_SERVICE_METHOD_H_

#include <cstdint>

#include "absl/strings/string_view.h"
#include "absl/types/span.h"

namespace weft::rpc {

// The number that stands for "package.Service/Method" on the wire: FNV-1a, 64 bits
// (http://www.isthe.com/chongo/tech/comp/fnv/).
constexpr uint64_t MethodId(absl::string_view full_name) {
  uint64_t hash = 0xCBF29CE484222325;
  for (const char c : full_name) {
    hash ^= static_cast<uint8_t>(c);
    hash *= 0x100000001B3;
  }
  return hash;
}

enum class MethodKind : uint8_t {
  kUnary = 0,
  kServerStreaming = 1,
  kClientStreaming = 2,
  kBidirectional = 3,
};

// A literal type; what it points to lives as long as the program.
struct Method {
  constexpr Method(absl::string_view full_name, MethodKind kind, bool raw_request = false,
                   bool raw_response = false)
      : full_name(full_name),
        id(MethodId(full_name)),
        kind(kind),
        raw_request(raw_request),
        raw_response(raw_response) {}

  // "kv.KeyValue" and "Get" of "kv.KeyValue/Get".
  absl::string_view service() const { return full_name.substr(0, full_name.find('/')); }
  absl::string_view name() const { return full_name.substr(full_name.find('/') + 1); }
  constexpr bool client_streams() const {
    return kind == MethodKind::kClientStreaming || kind == MethodKind::kBidirectional;
  }
  constexpr bool server_streams() const {
    return kind == MethodKind::kServerStreaming || kind == MethodKind::kBidirectional;
  }

  absl::string_view full_name;  // "kv.KeyValue/Get"
  uint64_t id;
  MethodKind kind;
  bool raw_request;   // weft.rpc.RawBytes: bytes as they are
  bool raw_response;  // likewise
};

// A service: its name ("kv.KeyValue") and methods, in the order of the .proto.
struct ServiceDescriptor {
  absl::string_view name;
  absl::Span<const Method> methods;
};

}  // namespace weft::rpc

#endif  // WEFT_RPC_SERVICE_METHOD_H_
