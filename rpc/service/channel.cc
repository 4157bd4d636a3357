// SPDX-License-Identifier: Apache-2.0
#include "weft/rpc/service/channel.h"

#include <utility>

namespace weft::rpc {
namespace {

constexpr size_t kKeptContexts = 256;

}  // namespace

Channel::~Channel() {
  if (streams_ != nullptr) Retire(std::move(streams_));
  for (auto& [peer, streams] : balanced_streams_) Retire(std::move(streams));
}

void Channel::Retire(std::unique_ptr<ClientStreams> streams) {
  streams->Leave();
  // This may be the end of a coroutine that one of the streams has resumed, and goes on after.
  loop().Post([streams = std::move(streams)] {});
}

absl::StatusOr<ClientStreams*> Channel::BeginStream(uint64_t affinity, Picked* picked) {
  if (balancer_ == nullptr) {
    ClientStreams* const only = streams();
    if (only != nullptr) return only;
    return absl::FailedPreconditionError("a channel over a session has no streams");
  }
  absl::StatusOr<Picked> server = balancer_->Pick(affinity);
  if (!server.ok()) return server.status();
  *picked = *server;
  const Peer& peer = balancer_->PeerOf(*picked);
  std::unique_ptr<ClientStreams>& streams = balanced_streams_[peer];
  if (streams == nullptr) {
    streams = std::make_unique<ClientStreams>(client_, peer, options_.streams);
  }
  return streams.get();
}

void Channel::EndStream(Picked& picked, const absl::Status* status) {
  if (!picked) return;
  const Picked server = std::exchange(picked, Picked());
  if (status != nullptr) {
    balancer_->Done(server, *status);
  } else {
    balancer_->Cancelled(server);
  }
}

void Channel::Observe(CallId id, Span& span) {
  if (balancer_ == nullptr) return client_.CountResent(id, &span.retransmissions);
  balancer_->CountResent(id, &span.retransmissions);
  const Peer* const peer = balancer_->PeerOf(id);
  if (peer == nullptr) return;
  const absl::StatusOr<Address> address = client_.port().AddressOf(*peer);
  if (address.ok()) span.peer.Set(address->ToString());
}

const Channel::BoundMethod* Channel::Bind(const ServiceDescriptor& descriptor) {
  for (const BoundService& service : services_) {
    if (service.descriptor == &descriptor) return service.methods.get();
  }
  auto methods = std::make_unique<BoundMethod[]>(descriptor.methods.size());
  const CallObservers& observers = options_.observers;
  for (size_t i = 0; i < descriptor.methods.size(); ++i) {
    const Method& method = descriptor.methods[i];
    methods[i] = {&method, ObservedMethod(observers, Side::kClient, method.full_name)};
  }
  services_.push_back({&descriptor, std::move(methods)});
  return services_.back().methods.get();
}

absl::string_view Channel::peer_name() {
  if (peer_name_.empty() && balancer_ == nullptr) {
    const absl::StatusOr<Address> address = client_.port().AddressOf(target_.server);
    if (address.ok()) peer_name_ = address->ToString();
  }
  return peer_name_;
}

std::unique_ptr<ClientContext> Channel::TakeContext() {
  if (contexts_.empty()) return std::make_unique<ClientContext>();
  std::unique_ptr<ClientContext> context = std::move(contexts_.back());
  contexts_.pop_back();
  return context;
}

void Channel::ReturnContext(std::unique_ptr<ClientContext> context) {
  if (contexts_.size() >= kKeptContexts) return;
  context->Reset();
  contexts_.push_back(std::move(context));
}

absl::Status Channel::BeginInterceptors(ClientContext& context, const Method& method,
                                        size_t* begun) {
  for (*begun = 0; *begun < options_.interceptors.size(); ++*begun) {
    absl::Status status = options_.interceptors[*begun]->Begin(context, method);
    if (!status.ok()) return status;
  }
  return absl::OkStatus();
}

void Channel::EndInterceptors(ClientContext& context, const Method& method, size_t begun,
                              absl::Status& status) {
  while (begun > 0) options_.interceptors[--begun]->End(context, method, status);
}

}  // namespace weft::rpc
