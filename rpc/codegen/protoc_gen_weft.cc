// SPDX-License-Identifier: Apache-2.0
#include "google/protobuf/compiler/plugin.h"
#include "weft/rpc/codegen/generator.h"

int main(int argc, char* argv[]) {
  const weft::rpc::codegen::Generator generator;
  return google::protobuf::compiler::PluginMain(argc, argv, &generator);
}
