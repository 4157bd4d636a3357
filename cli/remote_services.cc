// SPDX-License-Identifier: Apache-2.0
#include "weft/cli/remote_services.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "weft/core/suggest.h"
#include "weft/core/task_group.h"
#include "weft/host/host.h"
#include "weft/rpc/client.h"
#include "weft/rpc/options.h"
#include "weft/rpc/service/reflection.weft.h"

namespace weft::cli {
namespace {

using Talk = std::function<Task<absl::Status>(rpc::Channel& channel)>;

// What a worker has of a conversation.
class Conversation {
 public:
  Conversation(std::unique_ptr<rpc::Client> client, const Peer& server)
      : client_(std::move(client)), channel_(*client_, server) {}

  void Start(const Talk& talk, Worker& worker, std::optional<absl::Status>* outcome) {
    tasks_.Spawn(Hold(talk, channel_, worker, outcome));
  }

 private:
  static Task<void> Hold(const Talk& talk, rpc::Channel& channel, Worker& worker,
                         std::optional<absl::Status>* outcome) {
    *outcome = co_await talk(channel);
    worker.Stop();
  }

  const std::unique_ptr<rpc::Client> client_;
  rpc::Channel channel_;
  TaskGroup tasks_;  // last: what it runs uses the others
};

absl::StatusOr<std::shared_ptr<void>> Begin(Worker& worker, const Address& address,
                                            const Talk& talk,
                                            std::optional<absl::Status>* outcome) {
  const absl::StatusOr<rpc::ClientOptions> options = rpc::ClientOptions::From(worker.config());
  if (!options.ok()) return options.status();
  absl::StatusOr<std::unique_ptr<DatagramPort>> port = worker.OpenDatagramPort();
  if (!port.ok()) return port.status();
  auto client = rpc::Client::Create(worker.loop(), *std::move(port), *options);
  if (!client.ok()) return client.status();
  absl::StatusOr<Peer> server = (*client)->Resolve(address);
  // Nobody there is the answer to a command, not a mistake in it.
  if (absl::IsNotFound(server.status())) {
    return absl::UnavailableError(server.status().message());
  }
  if (!server.ok()) return server.status();
  auto conversation = std::make_shared<Conversation>(*std::move(client), *server);
  conversation->Start(talk, worker, outcome);
  return conversation;
}

}  // namespace

absl::Status Converse(Endpoint& endpoint, const Talk& talk) {
  endpoint.config.mutable_host()->set_workers(1);
  endpoint.config.clear_metrics();  // the file may be the server's, which listens there
  absl::StatusOr<std::unique_ptr<Host>> host = Host::Open(endpoint.config);
  if (!host.ok()) return host.status();
  std::optional<absl::Status> outcome;
  absl::Status status =
      (*host)->Run([&](Worker& worker) { return Begin(worker, endpoint.address, talk, &outcome); });
  if (!status.ok()) return status;
  return outcome.has_value() ? *outcome : absl::CancelledError("interrupted");
}

Task<absl::Status> RemoteServices::Ask(rpc::Channel& channel) {
  rpc::ReflectionClient reflection(channel);
  const rpc::ReflectionRequest all;
  rpc::ReflectionResponse response;
  const absl::Status status = co_await reflection.Describe(all, &response);
  if (absl::IsUnimplemented(status)) {
    co_return absl::FailedPreconditionError(
        "the server does not tell which services it has (its rpc.service.reflection is off)");
  }
  // Others answer in their own way, which is none of this protocol.
  if (absl::IsInternal(status) || (status.ok() && response.services().empty())) {
    co_return absl::FailedPreconditionError(
        "the server answers, but not as one of services: it takes plain requests only");
  }
  // A server that is protected says nothing to who is not, and the other way round.
  if (absl::IsDeadlineExceeded(status)) {
    co_return absl::DeadlineExceededError(absl::StrCat(
        status.message(), "; is a server there, and does `security` fit on both sides?"));
  }
  if (!status.ok()) co_return status;
  names_.assign(response.services().begin(), response.services().end());
  for (const google::protobuf::FileDescriptorProto& file : response.files().file()) {
    // A file that does not fit to the others is as good as none; protobuf's log says why.
    (void)pool_->BuildFile(file);
  }
  co_return absl::OkStatus();
}

absl::Status RemoteServices::Check(absl::string_view service) const {
  if (std::find(names_.begin(), names_.end(), service) != names_.end()) return absl::OkStatus();
  return absl::NotFoundError(
      absl::StrCat("the server has no service '", service, "'", Suggest(service, names_)));
}

absl::StatusOr<const google::protobuf::MethodDescriptor*> RemoteServices::FindMethod(
    absl::string_view full_name) const {
  std::vector<std::string> known;
  for (const std::string& name : names_) {
    const google::protobuf::ServiceDescriptor* const service = Find(name);
    for (int i = 0; service != nullptr && i < service->method_count(); ++i) {
      if (FullName(*service->method(i)) == full_name) return service->method(i);
      known.push_back(FullName(*service->method(i)));
    }
  }
  return absl::NotFoundError(
      absl::StrCat("the server has no method '", full_name, "'", Suggest(full_name, known)));
}

std::string FullName(const google::protobuf::MethodDescriptor& method) {
  return absl::StrCat(method.service()->full_name(), "/", method.name());
}

}  // namespace weft::cli
