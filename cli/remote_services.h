// SPDX-License-Identifier: Apache-2.0
//
// Which services a server has, as it says itself (rpc/service/reflection.proto), and how to talk
// with it.
//
//   RemoteServices services;
//   absl::Status status = Converse(endpoint, [&](rpc::Channel& channel) {
//     return services.Ask(channel);   // a coroutine that may go on with calls
//   });
#ifndef WEFT_CLI_REMOTE_SERVICES_H_
#define WEFT_CLI_REMOTE_SERVICES_H_

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "google/protobuf/descriptor.h"
#include "weft/cli/endpoint.h"
#include "weft/core/task.h"
#include "weft/rpc/service/channel.h"

namespace weft::cli {

// Runs `talk` with a channel to the server of `endpoint`, on a host of its own. Returns what `talk`
// does; Cancelled if a signal came first.
absl::Status Converse(Endpoint& endpoint,
                      const std::function<Task<absl::Status>(rpc::Channel& channel)>& talk);

class RemoteServices {
 public:
  // Asks the server of `channel`. FailedPrecondition for one that has no services, or does not
  // tell.
  Task<absl::Status> Ask(rpc::Channel& channel);

  // As the server was given them.
  const std::vector<std::string>& names() const { return names_; }
  // Null if the server has no description of it.
  const google::protobuf::ServiceDescriptor* Find(const std::string& service) const {
    return pool_->FindServiceByName(service);
  }
  // NotFound, with the name that was probably meant.
  absl::Status Check(absl::string_view service) const;
  // "package.Service/Method". NotFound likewise.
  absl::StatusOr<const google::protobuf::MethodDescriptor*> FindMethod(
      absl::string_view full_name) const;
  // A message type, null if no service has to do with it.
  const google::protobuf::Descriptor* FindType(absl::string_view full_name) const {
    return pool_->FindMessageTypeByName(std::string(full_name));
  }

 private:
  std::vector<std::string> names_;
  std::unique_ptr<google::protobuf::DescriptorPool> pool_ =
      std::make_unique<google::protobuf::DescriptorPool>();
};

// "package.Service/Method".
std::string FullName(const google::protobuf::MethodDescriptor& method);

}  // namespace weft::cli

#endif  // WEFT_CLI_REMOTE_SERVICES_H_
