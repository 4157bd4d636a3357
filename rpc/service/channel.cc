// SPDX-License-Identifier: Apache-2.0
#include "weft/rpc/service/channel.h"

#include <utility>

namespace weft::rpc {
namespace {

constexpr size_t kKeptContexts = 256;

}  // namespace

Channel::~Channel() {
  if (streams_ == nullptr) return;
  streams_->Leave();
  // This may be the end of a coroutine that one of the streams has resumed, and goes on after.
  loop().Post([streams = std::move(streams_)] {});
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
  if (peer_name_.empty()) {
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
