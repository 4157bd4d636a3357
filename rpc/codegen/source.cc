// SPDX-License-Identifier: Apache-2.0
//
// The source: tables of methods, and what stubs and bases do.
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "google/protobuf/compiler/cpp/names.h"
#include "weft/rpc/codegen/generate.h"
#include "weft/rpc/codegen/names.h"
#include "weft/rpc/codegen/signature.h"
#include "weft/rpc/codegen/text.h"

namespace weft::rpc::codegen {
namespace {

using google::protobuf::FileDescriptor;
using google::protobuf::MethodDescriptor;
using google::protobuf::ServiceDescriptor;

std::string Quoted(absl::string_view text) { return absl::StrCat("\"", text, "\""); }

std::string MethodsName(const ServiceDescriptor& service) {
  return absl::StrCat("k", service.name(), "Methods");
}
std::string DescriptorName(const ServiceDescriptor& service) {
  return absl::StrCat("k", service.name(), "Descriptor");
}
std::string HandlersName(const ServiceDescriptor& service) {
  return absl::StrCat("k", service.name(), "Handlers");
}

std::string MethodRow(const MethodDescriptor& method) {
  std::vector<std::string> fields = {Quoted(FullMethodName(method)),
                                     absl::StrCat("::weft::rpc::MethodKind::k", KindName(method))};
  const bool raw_request = IsRaw(*method.input_type());
  const bool raw_response = IsRaw(*method.output_type());
  if (raw_request || raw_response) {
    fields.push_back(absl::StrCat("/*raw_request=*/", raw_request ? "true" : "false"));
    fields.push_back(absl::StrCat("/*raw_response=*/", raw_response ? "true" : "false"));
  }
  return List(4, "{", fields, "},");
}

std::string HandlerRow(const MethodDescriptor& method) {
  const std::string service = ServiceName(*method.service());
  return List(4, absl::StrCat("&::weft::rpc::Make", KindName(method), "<"),
              {service, TypeName(*method.input_type(), *method.service()),
               TypeName(*method.output_type(), *method.service()),
               absl::StrCat("&", service, "::", MethodName(method))},
              ">,");
}

std::string Tables(const ServiceDescriptor& service) {
  if (service.method_count() == 0) {
    return absl::StrCat("constexpr ::weft::rpc::ServiceDescriptor ", DescriptorName(service),
                        " = {", Quoted(service.full_name()), ", {}};\n");
  }
  std::string text =
      absl::StrCat("constexpr ::weft::rpc::Method ", MethodsName(service), "[] = {\n");
  for (int i = 0; i < service.method_count(); ++i) {
    absl::StrAppend(&text, MethodRow(*service.method(i)));
  }
  absl::StrAppend(&text, "};\n",
                  List(0,
                       absl::StrCat("constexpr ::weft::rpc::ServiceDescriptor ",
                                    DescriptorName(service), " = {"),
                       {Quoted(service.full_name()), MethodsName(service)}, "};"));
  absl::StrAppend(&text, "constexpr ::weft::rpc::MakeHandler ", HandlersName(service), "[] = {\n");
  for (int i = 0; i < service.method_count(); ++i) {
    absl::StrAppend(&text, HandlerRow(*service.method(i)));
  }
  return absl::StrCat(text, "};\n");
}

std::string Client(const ServiceDescriptor& service) {
  const std::string name = ClientName(service);
  std::string text = absl::StrCat(name, "::", name, "(::weft::rpc::Channel& channel)\n",
                                  "    : channel_(channel), methods_(channel.Bind(",
                                  DescriptorName(service), ")) {}\n");
  for (int i = 0; i < service.method_count(); ++i) {
    const MethodDescriptor& method = *service.method(i);
    ClientSignature signature = ClientSignatureOf(method);
    absl::StrAppend(&text, "\n",
                    Function(0, absl::StrCat(signature.result, " ", name, "::", MethodName(method)),
                             signature.parameters, " {"));
    std::vector<std::string> arguments = {"channel_", absl::StrCat("methods_[", i, "]")};
    arguments.insert(arguments.end(), signature.arguments.begin(), signature.arguments.end());
    absl::StrAppend(&text, List(2, "return {", arguments, "};"), "}\n");
  }
  return text;
}

std::string Server(const ServiceDescriptor& service) {
  const std::string name = ServiceName(service);
  const std::string handlers = service.method_count() == 0
                                   ? "::absl::Span<const ::weft::rpc::MakeHandler>()"
                                   : HandlersName(service);
  std::string text =
      absl::StrCat(name, "::", name, "()\n",
                   List(4, ": ::weft::rpc::Service(", {DescriptorName(service), handlers}, ") {}"));
  for (int i = 0; i < service.method_count(); ++i) {
    const MethodDescriptor& method = *service.method(i);
    absl::StrAppend(
        &text, "\n",
        Function(0, absl::StrCat("::weft::Task<::absl::Status> ", name, "::", MethodName(method)),
                 ServerParameterTypes(method), " {"),
        "  return ::weft::rpc::Service::Unimplemented(", MethodsName(service), "[", i, "]);\n}\n");
  }
  return text;
}

}  // namespace

std::string GenerateSource(const FileDescriptor& file) {
  const Kinds kinds = KindsOf(file);
  std::string text = absl::StrCat(
      "// Generated by protoc-gen-weft from ", file.name(), ". Do not edit.\n#include \"",
      google::protobuf::compiler::cpp::StripProto(file.name()),
      ".weft.h\"\n\n#include <utility>\n\n", "#include \"absl/types/span.h\"\n",
      "#include \"weft/rpc/service/method.h\"\n");
  if (kinds.streams) absl::StrAppend(&text, "#include \"weft/rpc/service/stream_method.h\"\n");
  if (kinds.unary) absl::StrAppend(&text, "#include \"weft/rpc/service/unary_method.h\"\n");
  const std::string space = absl::StrJoin(NamespacesOf(file), "::");
  if (!space.empty()) absl::StrAppend(&text, "\nnamespace ", space, " {");
  absl::StrAppend(&text, "\nnamespace {\n");
  for (int i = 0; i < file.service_count(); ++i) {
    absl::StrAppend(&text, "\n", Tables(*file.service(i)));
  }
  absl::StrAppend(&text, "\n}  // namespace\n");
  for (int i = 0; i < file.service_count(); ++i) {
    absl::StrAppend(&text, "\n// --- ", file.service(i)->full_name(), "\n\n",
                    Client(*file.service(i)), "\n", Server(*file.service(i)));
  }
  if (!space.empty()) absl::StrAppend(&text, "\n}  // namespace ", space, "\n");
  return text;
}

}  // namespace weft::rpc::codegen
