// SPDX-License-Identifier: Apache-2.0
//
// What things of a .proto are called in C++, as protoc's own C++ generator calls them.
#ifndef WEFT_RPC_CODEGEN_NAMES_H_
#define WEFT_RPC_CODEGEN_NAMES_H_

#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "google/protobuf/descriptor.h"

namespace weft::rpc::codegen {

// `name`, with an underscore behind it if it is a keyword.
std::string Identifier(absl::string_view name);

// "a.b" is {"a", "b"}.
std::vector<std::string> NamespacesOf(const google::protobuf::FileDescriptor& file);

// A message type as seen from the classes of `service`: "Row", or "::other::Row" where that is
// needed.
std::string TypeName(const google::protobuf::Descriptor& type,
                     const google::protobuf::ServiceDescriptor& service);

// Whether it is weft.rpc.RawBytes.
bool IsRaw(const google::protobuf::Descriptor& type);

// Of service KeyValue: "KeyValueClient" and "KeyValueService".
std::string ClientName(const google::protobuf::ServiceDescriptor& service);
std::string ServiceName(const google::protobuf::ServiceDescriptor& service);

// Of a method, in either class.
std::string MethodName(const google::protobuf::MethodDescriptor& method);

// "kv.KeyValue/Get".
std::string FullMethodName(const google::protobuf::MethodDescriptor& method);

// "key_value" of "KeyValue": what a variable is called.
std::string VariableName(absl::string_view type);

}  // namespace weft::rpc::codegen

#endif  // WEFT_RPC_CODEGEN_NAMES_H_
