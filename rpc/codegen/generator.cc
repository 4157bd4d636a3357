// SPDX-License-Identifier: Apache-2.0
#include "weft/rpc/codegen/generator.h"

#include <memory>

#include "absl/strings/str_cat.h"
#include "google/protobuf/compiler/cpp/names.h"
#include "google/protobuf/io/printer.h"
#include "google/protobuf/io/zero_copy_stream.h"
#include "weft/rpc/codegen/check.h"
#include "weft/rpc/codegen/generate.h"

namespace weft::rpc::codegen {
namespace {

using google::protobuf::FileDescriptor;
using google::protobuf::compiler::GeneratorContext;

void Write(GeneratorContext& context, const std::string& name, const std::string& text) {
  const std::unique_ptr<google::protobuf::io::ZeroCopyOutputStream> output(context.Open(name));
  google::protobuf::io::Printer printer(output.get(), '$');
  printer.WriteRaw(text.data(), static_cast<int>(text.size()));
}

}  // namespace

bool Generator::Generate(const FileDescriptor* file, const std::string& parameter,
                         GeneratorContext* context, std::string* error) const {
  if (!parameter.empty()) {
    *error = absl::StrCat("protoc-gen-weft takes no parameters, but got \"", parameter, "\"");
    return false;
  }
  if (const absl::Status status = CheckFile(*file); !status.ok()) {
    *error = std::string(status.message());
    return false;
  }
  const std::string base = google::protobuf::compiler::cpp::StripProto(file->name());
  Write(*context, absl::StrCat(base, ".weft.h"), GenerateHeader(*file));
  Write(*context, absl::StrCat(base, ".weft.cc"), GenerateSource(*file));
  return true;
}

}  // namespace weft::rpc::codegen
