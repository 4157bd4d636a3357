// SPDX-License-Identifier: Apache-2.0
#include "weft/rpc/service/reflection.h"

#include <algorithm>
#include <set>

#include "absl/strings/str_cat.h"
#include "google/protobuf/descriptor.h"
#include "google/protobuf/descriptor.pb.h"
#include "weft/core/suggest.h"

namespace weft::rpc {
namespace {

using Files = google::protobuf::RepeatedPtrField<google::protobuf::FileDescriptorProto>;

// Files import no circle, as protobuf has no forward declarations.
void AddFile(const google::protobuf::FileDescriptor& file, std::set<std::string>* added,
             Files* files) {
  if (!added->insert(file.name()).second) return;
  for (int i = 0; i < file.dependency_count(); ++i) AddFile(*file.dependency(i), added, files);
  file.CopyTo(files->Add());
}

}  // namespace

Reflection::Reflection(absl::Span<Service* const> services) {
  for (const Service* const service : services) names_.emplace_back(service->descriptor().name);
  names_.emplace_back(descriptor().name);
}

Task<absl::Status> Reflection::Describe(ServerContext&, const ReflectionRequest& request,
                                        ReflectionResponse* response) {
  const bool all = request.service().empty();
  if (!all && std::find(names_.begin(), names_.end(), request.service()) == names_.end()) {
    co_return absl::NotFoundError(absl::StrCat("the server has no service '", request.service(),
                                               "'", Suggest(request.service(), names_)));
  }
  const auto& pool = *google::protobuf::DescriptorPool::generated_pool();
  std::set<std::string> added;
  for (const std::string& name : names_) {
    if (!all && name != request.service()) continue;
    response->add_services(name);
    const google::protobuf::ServiceDescriptor* const service = pool.FindServiceByName(name);
    if (service != nullptr) {
      AddFile(*service->file(), &added, response->mutable_files()->mutable_file());
    }
  }
  co_return absl::OkStatus();
}

}  // namespace weft::rpc
