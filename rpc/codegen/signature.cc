// SPDX-License-Identifier: Apache-2.0
#include "weft/rpc/codegen/signature.h"

#include "absl/strings/str_cat.h"
#include "weft/rpc/codegen/names.h"

namespace weft::rpc::codegen {
namespace {

using google::protobuf::FileDescriptor;
using google::protobuf::MethodDescriptor;

// A type and the name of what has it.
struct Parameter {
  std::string type;
  std::string name;
};

std::vector<Parameter> ServerSide(const MethodDescriptor& method) {
  const std::string request = TypeName(*method.input_type(), *method.service());
  const std::string response = TypeName(*method.output_type(), *method.service());
  std::vector<Parameter> parameters = {{"::weft::rpc::ServerContext&", "context"}};
  const bool both = method.client_streaming() && method.server_streaming();
  if (both) {
    parameters.push_back(
        {absl::StrCat("::weft::rpc::ServerReaderWriter<", request, ", ", response, ">&"),
         "stream"});
    return parameters;
  }
  if (method.client_streaming()) {
    parameters.push_back({absl::StrCat("::weft::rpc::ServerReader<", request, ">&"), "reader"});
  } else if (IsRaw(*method.input_type())) {
    parameters.push_back({"::weft::BufferChain&", "request"});
  } else {
    parameters.push_back({absl::StrCat("const ", request, "&"), "request"});
  }
  if (method.server_streaming()) {
    parameters.push_back({absl::StrCat("::weft::rpc::ServerWriter<", response, ">&"), "writer"});
  } else if (IsRaw(*method.output_type())) {
    parameters.push_back({"::weft::rpc::Payload*", "response"});
  } else {
    parameters.push_back({absl::StrCat(response, "*"), "response"});
  }
  return parameters;
}

}  // namespace

std::string KindName(const MethodDescriptor& method) {
  if (method.client_streaming() && method.server_streaming()) return "Bidirectional";
  if (method.client_streaming()) return "ClientStreaming";
  return method.server_streaming() ? "ServerStreaming" : "Unary";
}

ClientSignature ClientSignatureOf(const MethodDescriptor& method) {
  const std::string request = TypeName(*method.input_type(), *method.service());
  const std::string response = TypeName(*method.output_type(), *method.service());
  ClientSignature signature;
  if (!method.client_streaming()) {
    if (IsRaw(*method.input_type())) {
      signature.parameters.push_back("::weft::rpc::Payload request");
      signature.arguments.push_back("std::move(request)");
    } else {
      signature.parameters.push_back(absl::StrCat("const ", request, "& request"));
      signature.arguments.push_back("request");
    }
  }
  if (!method.server_streaming()) {
    signature.parameters.push_back(IsRaw(*method.output_type())
                                       ? "::weft::BufferChain* response"
                                       : absl::StrCat(response, "* response"));
    signature.arguments.push_back("response");
  }
  signature.parameters_with_default = signature.parameters;
  signature.parameters.push_back("::weft::rpc::ClientContext* context");
  signature.parameters_with_default.push_back("::weft::rpc::ClientContext* context = nullptr");
  signature.arguments.push_back("context");

  const std::string kind = KindName(method);
  if (kind == "Unary") {
    signature.result = absl::StrCat("::weft::rpc::UnaryCall<", request, ", ", response, ">");
  } else if (kind == "ServerStreaming") {
    signature.result = absl::StrCat("::weft::rpc::ClientReader<", response, ">");
  } else if (kind == "ClientStreaming") {
    signature.result = absl::StrCat("::weft::rpc::ClientWriter<", request, ">");
  } else {
    signature.result =
        absl::StrCat("::weft::rpc::ClientReaderWriter<", request, ", ", response, ">");
  }
  return signature;
}

std::vector<std::string> ServerParameters(const MethodDescriptor& method) {
  std::vector<std::string> parameters;
  for (const Parameter& parameter : ServerSide(method)) {
    parameters.push_back(absl::StrCat(parameter.type, " ", parameter.name));
  }
  return parameters;
}

std::vector<std::string> ServerParameterTypes(const MethodDescriptor& method) {
  std::vector<std::string> types;
  for (Parameter& parameter : ServerSide(method)) types.push_back(std::move(parameter.type));
  return types;
}

Kinds KindsOf(const FileDescriptor& file) {
  Kinds kinds;
  for (int i = 0; i < file.service_count(); ++i) {
    for (int j = 0; j < file.service(i)->method_count(); ++j) {
      (KindName(*file.service(i)->method(j)) == "Unary" ? kinds.unary : kinds.streams) = true;
    }
  }
  return kinds;
}

}  // namespace weft::rpc::codegen
