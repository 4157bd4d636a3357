// SPDX-License-Identifier: Apache-2.0
//
// One server, as the stubs of generated code see it.
//
//   rpc::Channel channel(*client, *client->Resolve(address));
//   kv::KeyValueClient store(channel);
//
// A channel is light: it opens nothing by itself, and any number of them and of stubs may share a
// client. It must outlive its stubs and their calls, and the client must outlive it; it may be a
// variable of the coroutine that calls. One thread: that of the client's loop.
#ifndef WEFT_RPC_SERVICE_CHANNEL_H_
#define WEFT_RPC_SERVICE_CHANNEL_H_

#include <cstddef>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "weft/config/config.h"
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
  ~Channel();
  Channel(const Channel&) = delete;
  Channel& operator=(const Channel&) = delete;

  Client& client() { return client_; }
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

  // Of methods with streams; null for a channel over a session, as they need sessions of their own.
  ClientStreams* streams() {
    if (streams_ == nullptr && !target_.session) [[unlikely]]
      streams_ = std::make_unique<ClientStreams>(client_, target_.server, options_.streams);
    return streams_.get();
  }
  // The server's address, for traces; empty if it is not known.
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
  Client& client_;
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
};

}  // namespace weft::rpc

#endif  // WEFT_RPC_SERVICE_CHANNEL_H_
