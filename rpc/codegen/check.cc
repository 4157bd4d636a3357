// SPDX-License-Identifier: Apache-2.0
#include "weft/rpc/codegen/check.h"

#include <map>
#include <set>
#include <string>

#include "absl/strings/str_cat.h"
#include "google/protobuf/descriptor.pb.h"
#include "weft/rpc/codegen/names.h"

namespace weft::rpc::codegen {
namespace {

using google::protobuf::Descriptor;
using google::protobuf::FieldDescriptor;
using google::protobuf::FileDescriptor;
using google::protobuf::FileOptions;
using google::protobuf::MethodDescriptor;
using google::protobuf::ServiceDescriptor;

absl::Status Wrong(const FileDescriptor& file, absl::string_view what) {
  return absl::InvalidArgumentError(absl::StrCat(file.name(), ": ", what));
}

// A message that only exists because a field is a group.
bool IsGroup(const Descriptor& type) {
  const Descriptor* const outer = type.containing_type();
  if (outer == nullptr) return false;
  for (int i = 0; i < outer->field_count(); ++i) {
    const FieldDescriptor& field = *outer->field(i);
    if (field.type() == FieldDescriptor::TYPE_GROUP && field.message_type() == &type) return true;
  }
  return false;
}

absl::Status CheckType(const MethodDescriptor& method, const Descriptor& type) {
  const FileDescriptor& file = *method.file();
  if (IsGroup(type)) {
    return Wrong(file, absl::StrCat("method ", method.full_name(), " uses the group ",
                                    type.full_name(), "; make it a message of its own"));
  }
  return absl::OkStatus();
}

absl::Status CheckMethods(const ServiceDescriptor& service) {
  std::map<std::string, const MethodDescriptor*> by_name;
  for (int i = 0; i < service.method_count(); ++i) {
    const MethodDescriptor& method = *service.method(i);
    const auto [other, fresh] = by_name.emplace(MethodName(method), &method);
    if (!fresh) {
      return Wrong(*service.file(),
                   absl::StrCat("methods ", other->second->full_name(), " and ", method.full_name(),
                                " are both called ", MethodName(method), " in C++; rename one"));
    }
    absl::Status status = CheckType(method, *method.input_type());
    status.Update(CheckType(method, *method.output_type()));
    if (!status.ok()) return status;
  }
  return absl::OkStatus();
}

// The classes of services, against all else that has the package.
absl::Status CheckClassNames(const FileDescriptor& file) {
  std::set<std::string> taken;
  for (int i = 0; i < file.service_count(); ++i) {
    const ServiceDescriptor& service = *file.service(i);
    for (const std::string& name : {ClientName(service), ServiceName(service)}) {
      const std::string full_name =
          file.package().empty() ? name : absl::StrCat(file.package(), ".", name);
      const bool is_type = file.pool()->FindMessageTypeByName(full_name) != nullptr ||
                           file.pool()->FindEnumTypeByName(full_name) != nullptr;
      if (is_type || !taken.insert(name).second) {
        return Wrong(file, absl::StrCat("service ", service.full_name(), " needs the class ", name,
                                        ", but something else in the package has that name; "
                                        "rename one"));
      }
    }
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status CheckFile(const FileDescriptor& file) {
  if (file.service_count() == 0) {
    return Wrong(file, "there is no service in it; messages need a cc_proto_library only");
  }
  if (file.options().optimize_for() == FileOptions::LITE_RUNTIME) {
    return Wrong(file, "services need descriptors; remove optimize_for = LITE_RUNTIME");
  }
  if (absl::Status status = CheckClassNames(file); !status.ok()) return status;
  for (int i = 0; i < file.service_count(); ++i) {
    if (absl::Status status = CheckMethods(*file.service(i)); !status.ok()) return status;
  }
  return absl::OkStatus();
}

}  // namespace weft::rpc::codegen
