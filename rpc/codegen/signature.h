// SPDX-License-Identifier: Apache-2.0
//
// How a method looks in C++, on both sides.
#ifndef WEFT_RPC_CODEGEN_SIGNATURE_H_
#define WEFT_RPC_CODEGEN_SIGNATURE_H_

#include <string>
#include <vector>

#include "google/protobuf/descriptor.h"

namespace weft::rpc::codegen {

struct ClientSignature {
  std::string result;  // "::weft::rpc::UnaryCall<GetRequest, GetResponse>"
  std::vector<std::string> parameters;
  std::vector<std::string> parameters_with_default;
  std::vector<std::string> arguments;  // of the constructor of `result`, behind the method
};
ClientSignature ClientSignatureOf(const google::protobuf::MethodDescriptor& method);

std::vector<std::string> ServerParameters(const google::protobuf::MethodDescriptor& method);
// The same without names.
std::vector<std::string> ServerParameterTypes(const google::protobuf::MethodDescriptor& method);

// "Unary", "ServerStreaming", "ClientStreaming", "Bidirectional".
std::string KindName(const google::protobuf::MethodDescriptor& method);

// Of which kinds the methods of a file are.
struct Kinds {
  bool unary = false;
  bool streams = false;
};
Kinds KindsOf(const google::protobuf::FileDescriptor& file);

}  // namespace weft::rpc::codegen

#endif  // WEFT_RPC_CODEGEN_SIGNATURE_H_
