// SPDX-License-Identifier: Apache-2.0
//
// protoc-gen-weft: a plugin of protoc that turns the services of a .proto into client stubs and
// server bases (docs/protocols/services.md has the wire, rpc/weft_rpc.bzl the rule).
//
//   protoc --plugin=protoc-gen-weft --weft_out=DIRECTORY kv.proto   # kv.weft.h, kv.weft.cc
//
// It takes no parameters.
#ifndef WEFT_RPC_CODEGEN_GENERATOR_H_
#define WEFT_RPC_CODEGEN_GENERATOR_H_

#include <cstdint>
#include <string>

#include "google/protobuf/compiler/code_generator.h"
#include "google/protobuf/descriptor.h"

namespace weft::rpc::codegen {

class Generator final : public google::protobuf::compiler::CodeGenerator {
 public:
  // False, with one sentence in `error`, for a file that CheckFile() refuses.
  bool Generate(const google::protobuf::FileDescriptor* file, const std::string& parameter,
                google::protobuf::compiler::GeneratorContext* context,
                std::string* error) const override;
  uint64_t GetSupportedFeatures() const override { return FEATURE_PROTO3_OPTIONAL; }
};

}  // namespace weft::rpc::codegen

#endif  // WEFT_RPC_CODEGEN_GENERATOR_H_
