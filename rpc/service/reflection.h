// SPDX-License-Identifier: Apache-2.0
//
// The service through which a server tells which services it has (reflection.proto). A
// ServiceServer has one by itself, unless ServiceOptions::reflection is false.
#ifndef WEFT_RPC_SERVICE_REFLECTION_H_
#define WEFT_RPC_SERVICE_REFLECTION_H_

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/types/span.h"
#include "weft/core/task.h"
#include "weft/rpc/service/reflection.weft.h"

namespace weft::rpc {

class Reflection final : public ReflectionService {
 public:
  // Tells of `services` and of itself. A service whose .proto is not linked into the program is
  // only named.
  explicit Reflection(absl::Span<Service* const> services);

  Task<absl::Status> Describe(ServerContext& context, const ReflectionRequest& request,
                              ReflectionResponse* response) override;

 private:
  std::vector<std::string> names_;
};

}  // namespace weft::rpc

#endif  // WEFT_RPC_SERVICE_REFLECTION_H_
