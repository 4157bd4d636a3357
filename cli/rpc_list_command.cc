// SPDX-License-Identifier: Apache-2.0
//
// weft rpc list: the services of a running server, their methods and messages.

#include <cstdio>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "google/protobuf/descriptor.h"
#include "weft/cli/command.h"
#include "weft/cli/endpoint.h"
#include "weft/cli/flags.h"
#include "weft/cli/remote_services.h"
#include "weft/cli/table.h"
#include "weft/core/json_writer.h"

namespace weft::cli {
namespace {

using google::protobuf::Descriptor;
using google::protobuf::EnumDescriptor;
using google::protobuf::FieldDescriptor;
using google::protobuf::MethodDescriptor;
using google::protobuf::ServiceDescriptor;

struct ListOptions {
  EndpointOptions endpoint;
  std::string service;  // empty: all
  bool describe = false;
  bool as_json = false;
};

std::string TypeOf(const Descriptor& type, bool streams) {
  return absl::StrCat(streams ? "stream " : "", type.full_name());
}

void PrintMethods(const RemoteServices& services, const std::vector<std::string>& names) {
  std::vector<std::vector<std::string>> rows = {{"METHOD", "REQUEST", "RESPONSE"}};
  for (const std::string& name : names) {
    const ServiceDescriptor* const service = services.Find(name);
    if (service == nullptr) rows.push_back({absl::StrCat(name, "/?"), "?", "?"});
    for (int i = 0; service != nullptr && i < service->method_count(); ++i) {
      const MethodDescriptor& method = *service->method(i);
      rows.push_back({FullName(method), TypeOf(*method.input_type(), method.client_streaming()),
                      TypeOf(*method.output_type(), method.server_streaming())});
    }
  }
  PrintTable(rows);
}

// The messages and enumerations that methods have to do with: each once, those that are declared
// within another as a part of that.
class Types {
 public:
  void Add(const Descriptor* type) {
    while (type->containing_type() != nullptr) type = type->containing_type();
    if (!seen_.insert(type->full_name()).second) return;
    // Everybody knows them.
    if (absl::StartsWith(type->full_name(), "google.protobuf.")) return;
    texts_.push_back(absl::StrCat("// ", type->full_name(), "\n", type->DebugString()));
    AddFieldsOf(*type);
  }

  void Print() const {
    for (const std::string& text : texts_) std::printf("\n%s", text.c_str());
  }

 private:
  void AddFieldsOf(const Descriptor& type) {
    for (int i = 0; i < type.field_count(); ++i) {
      const FieldDescriptor& field = *type.field(i);
      if (field.message_type() != nullptr) Add(field.message_type());
      if (field.enum_type() != nullptr) Add(*field.enum_type());
    }
    for (int i = 0; i < type.nested_type_count(); ++i) AddFieldsOf(*type.nested_type(i));
  }
  void Add(const EnumDescriptor& type) {
    if (type.containing_type() != nullptr) return Add(type.containing_type());
    if (!seen_.insert(type.full_name()).second) return;
    texts_.push_back(absl::StrCat("// ", type.full_name(), "\n", type.DebugString()));
  }

  std::set<std::string> seen_;
  std::vector<std::string> texts_;
};

void PrintDefinitions(const RemoteServices& services, const std::vector<std::string>& names) {
  Types types;
  const char* separator = "";
  for (const std::string& name : names) {
    const ServiceDescriptor* const service = services.Find(name);
    std::printf("%s// %s\n", separator, name.c_str());
    separator = "\n";
    if (service == nullptr) {
      std::printf("// The server has no description of it.\n");
      continue;
    }
    std::printf("%s", service->DebugString().c_str());
    for (int i = 0; i < service->method_count(); ++i) {
      types.Add(service->method(i)->input_type());
      types.Add(service->method(i)->output_type());
    }
  }
  types.Print();
}

void PrintJson(const RemoteServices& services, const std::vector<std::string>& names) {
  JsonWriter json;
  json.BeginObject();
  json.Key("services").BeginArray();
  for (const std::string& name : names) {
    json.BeginObject();
    json.Field("name", name);
    json.Key("methods").BeginArray();
    const ServiceDescriptor* const service = services.Find(name);
    for (int i = 0; service != nullptr && i < service->method_count(); ++i) {
      const MethodDescriptor& method = *service->method(i);
      json.BeginObject();
      json.Field("name", FullName(method));
      json.Field("request", method.input_type()->full_name());
      json.Field("response", method.output_type()->full_name());
      json.Field("client_streams", method.client_streaming());
      json.Field("server_streams", method.server_streaming());
      json.EndObject();
    }
    json.EndArray();
    json.EndObject();
  }
  json.EndArray();
  json.EndObject();
  std::printf("%s\n", json.text().c_str());
}

absl::Status List(Endpoint& endpoint, const ListOptions& options) {
  RemoteServices services;
  absl::Status status =
      Converse(endpoint, [&services](rpc::Channel& channel) { return services.Ask(channel); });
  if (status.ok() && !options.service.empty()) status = services.Check(options.service);
  if (!status.ok()) return status;
  const std::vector<std::string> names =
      options.service.empty() ? services.names() : std::vector<std::string>{options.service};
  if (options.as_json) {
    PrintJson(services, names);
  } else if (options.describe) {
    PrintDefinitions(services, names);
  } else {
    PrintMethods(services, names);
  }
  return absl::OkStatus();
}

}  // namespace

int RpcList(Arguments arguments) {
  ListOptions options;
  Flags flags("rpc list",
              "Shows the services of a running server: their methods, what these take and give.");
  flags.Argument("ADDRESS", "of the server, such as 127.0.0.1:7000, [::1]:7000 or shm:store",
                 &options.endpoint.address);
  flags.OptionalArgument("SERVICE", "only this one, such as kv.KeyValue", &options.service);
  flags.Bool("describe", "definitions of the services and their messages, as in a .proto",
             &options.describe);
  flags.Bool("json", "the list for programs", &options.as_json);
  flags.Config(&options.endpoint.config, &options.endpoint.transport, &options.endpoint.plaintext);
  if (std::optional<int> status = flags.Parse(arguments)) return *status;
  if (options.describe && options.as_json) {
    return flags.UsageError("--describe and --json are two ways to print the same");
  }
  absl::StatusOr<Endpoint> endpoint = ChooseEndpoint(options.endpoint);
  const absl::Status status = endpoint.ok() ? List(*endpoint, options) : endpoint.status();
  if (status.ok()) return kExitOk;
  flags.Complain(status.message());
  return ExitStatus(status);
}

}  // namespace weft::cli
