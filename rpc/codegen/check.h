// SPDX-License-Identifier: Apache-2.0
//
// What a .proto may not have.
#ifndef WEFT_RPC_CODEGEN_CHECK_H_
#define WEFT_RPC_CODEGEN_CHECK_H_

#include "absl/status/status.h"
#include "google/protobuf/descriptor.h"

namespace weft::rpc::codegen {

// InvalidArgument with one sentence that says what is wrong and what to do:
//  - no service at all, or messages without descriptors (LITE_RUNTIME)
//  - names that clash in C++ although they do not in the .proto
//  - groups as requests or responses
absl::Status CheckFile(const google::protobuf::FileDescriptor& file);

}  // namespace weft::rpc::codegen

#endif  // WEFT_RPC_CODEGEN_CHECK_H_
