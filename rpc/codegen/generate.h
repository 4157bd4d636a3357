// SPDX-License-Identifier: Apache-2.0
//
// The two files that are generated of a .proto, kv.weft.h and kv.weft.cc of kv.proto.
#ifndef WEFT_RPC_CODEGEN_GENERATE_H_
#define WEFT_RPC_CODEGEN_GENERATE_H_

#include <string>

#include "google/protobuf/descriptor.h"

namespace weft::rpc::codegen {

// `file` has passed CheckFile().
std::string GenerateHeader(const google::protobuf::FileDescriptor& file);
std::string GenerateSource(const google::protobuf::FileDescriptor& file);

}  // namespace weft::rpc::codegen

#endif  // WEFT_RPC_CODEGEN_GENERATE_H_
