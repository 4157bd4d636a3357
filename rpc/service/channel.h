// SPDX-License-Identifier: Apache-2.0
//
// One server, or several that do the same work, as the stubs of generated code see them.
//
//   rpc::Channel channel(*client, *client->Resolve(address));
//   kv::KeyValueClient store(channel);
//   rpc::Channel spread(**balancer);  // each call, and each stream, to a server that it picks
//
// A channel is light: it opens nothing by itself, and any number of them and of stubs may share a
// client. It must outlive its stubs and their calls, and client and balancer must outlive it; it
// may be a variable of the coroutine that calls. One thread: that of the client's loop.
#ifndef WEFT_RPC_SERVICE_CHANNEL_H_
#define WEFT_RPC_SERVICE_CHANNEL_H_

#include <cstddef>
#include <memory>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "weft/config/config.h"
#include "weft/rpc/balancer.h"
#include "weft/rpc/client.h"
#include "weft/rpc/service/call_observers.h"
#include "weft/rpc/service/client_context.h"
#include "weft/rpc/service/client_streams.h"
#include "weft/rpc/service/interceptor.h"
#include "weft/rpc/service/method.h"
#include "weft/rpc/service/observed_call.h"

namespace weft::rpc {

struct ChannelOptions {
  // Of calls whose context has none. Zero: the client's (`rpc.timeout_us`).
  absl::Duration timeout = absl::ZeroDuration();
  // Metadata of a request; one with more is refused with ResourceExhausted.
  size_t metadata_bytes_max = 8192;
  StreamOptions streams = {};
  // Not owned; they must outlive the channel.
  std::vector<ClientInterceptor*> interceptors = {};
  // Who counts and traces calls.
  CallObservers observers = {};

  static ChannelOptions From(const config::Rpc& config);
};

class Channel {
 public:
  Channel(Client& client, const Target& target, const ChannelOptions& options = {})
      : client_(client), target_(target), options_(options) {}
  explicit Channel(Balancer& balancer, const ChannelOptions& options = {})
      : client_(balancer.client()), balancer_(&balancer), target_(Peer()), options_(options) {}
  ~Channel();
  Channel(const Channel&) = delete;
  Channel& operator=(const Channel&) = delete;

  Client& client() { return client_; }
  Balancer* balancer() { return balancer_; }  // null: all goes to target()
  const Target& target() const { return target_; }
  const ChannelOptions& options() const { return options_; }
  Loop& loop() { return client_.loop(); }

  // --- For calls.

  // What all that a call needs to know of its method comes from; `descriptor` lives as long as the
  // program.
  struct BoundMethod {
    const Method* method;
    ObservedMethod observed;
  };
  // The methods of a service, in the order of the descriptor, for the life of the channel.
  const BoundMethod* Bind(const ServiceDescriptor& descriptor);

  // As those of the client or the balancer.
  absl::StatusOr<CallId> Call(Payload&& request, Callback&& callback, const CallOptions& options) {
    if (balancer_ != nullptr) [[unlikely]]
      return balancer_->Call(std::move(request), std::move(callback), options);
    return client_.Call(target_, std::move(request), std::move(callback), options);
  }
  void Cancel(CallId id) { balancer_ != nullptr ? balancer_->Cancel(id) : client_.Cancel(id); }
  // The call is traced.
  void Observe(CallId id, Span& span);

  // Of methods with streams; null for a channel over a session, as they need sessions of their own,
  // and over a balancer, where each server has its own.
  ClientStreams* streams() {
    if (streams_ == nullptr && !target_.session && balancer_ == nullptr) [[unlikely]]
      streams_ = std::make_unique<ClientStreams>(client_, target_.server, options_.streams);
    return streams_.get();
  }
  // Where a stream goes to, and with a balancer the server that it has until EndStream().
  absl::StatusOr<ClientStreams*> BeginStream(uint64_t affinity, Picked* picked);
  // `status`: how it ended; null: it was cancelled. Nothing happens if nothing was picked.
  void EndStream(Picked& picked, const absl::Status* status);

  // The server's address, for traces; empty if it is not known, or will be picked.
  absl::string_view peer_name();

  // A context for a call that was given none but has interceptors.
  std::unique_ptr<ClientContext> TakeContext();
  void ReturnContext(std::unique_ptr<ClientContext> context);

  bool intercepts() const { return !options_.interceptors.empty(); }
  // Asks the interceptors, the first one first. `*begun`: how many agreed.
  absl::Status BeginInterceptors(ClientContext& context, const Method& method, size_t* begun);
  // Tells the first `begun` of them.
  void EndInterceptors(ClientContext& context, const Method& method, size_t begun,
                       absl::Status& status);

 private:
  void Retire(std::unique_ptr<ClientStreams> streams);

  Client& client_;
  Balancer* const balancer_ = nullptr;
  const Target target_;
  const ChannelOptions options_;
  struct BoundService {
    const ServiceDescriptor* descriptor;
    std::unique_ptr<BoundMethod[]> methods;
  };
  std::vector<BoundService> services_;
  std::string peer_name_;  // when it was asked for
  std::vector<std::unique_ptr<ClientContext>> contexts_;
  std::unique_ptr<ClientStreams> streams_;  // made when it is first needed
  absl::flat_hash_map<Peer, std::unique_ptr<ClientStreams>> balanced_streams_;  // likewise
};

}  // namespace weft::rpc

#endif  // WEFT_RPC_SERVICE_CHANNEL_H_
