// SPDX-License-Identifier: Apache-2.0
//
// One call of a method by its name, with JSON for its messages. Outlives the channel.
//
//   DynamicCall call("kv.KeyValue/Get", R"({"key": "apple"})", {}, &PrintLine);
//   absl::Status status = Converse(endpoint, [&](rpc::Channel& c) { return call.Run(c); });
//   if (status.ok() && call.outcome().ok()) ...
#ifndef WEFT_CLI_DYNAMIC_CALL_H_
#define WEFT_CLI_DYNAMIC_CALL_H_

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "google/protobuf/descriptor.h"
#include "weft/cli/json_lines.h"
#include "weft/cli/message_json.h"
#include "weft/cli/remote_services.h"
#include "weft/core/buffer_chain.h"
#include "weft/core/loop.h"
#include "weft/core/task.h"
#include "weft/rpc/service/channel.h"
#include "weft/rpc/service/client_context.h"
#include "weft/rpc/service/method.h"

namespace weft::cli {

struct DynamicCallOptions {
  std::vector<std::pair<std::string, std::string>> metadata = {};
  absl::Duration timeout = absl::ZeroDuration();  // zero: the default
  std::optional<rpc::TraceParent> trace = std::nullopt;
};

class DynamicCall {
 public:
  // `json`: the request, of a method that takes a stream a message a line; "-": what standard input
  // has; empty: an empty message, or a stream of none. `print` gets the JSON of each response.
  DynamicCall(std::string method, std::string json, DynamicCallOptions options,
              std::function<void(const std::string& json)> print);

  // Asks the server for its services and calls the method. An error if that did not come to it: no
  // services, no such method (NotFound), a request that is none of its type (InvalidArgument).
  // Otherwise outcome() has what the call ended with.
  Task<absl::Status> Run(rpc::Channel& channel);

  const absl::Status& outcome() const { return outcome_; }
  // Code, message and details, a line each.
  std::string DescribeOutcome();

 private:
  using Method = google::protobuf::MethodDescriptor;

  // The method as a channel wants it described. Stays where it is.
  struct Described {
    explicit Described(const Method& described);
    const std::string full_name;
    const std::string service;
    const rpc::Method method;
    const rpc::ServiceDescriptor descriptor;
  };

  // One for each kind of method. An error: the call did not begin, or was given up.
  Task<absl::Status> RunUnary(rpc::Channel& channel, const rpc::Channel::BoundMethod& bound);
  Task<absl::Status> RunServerStreaming(rpc::Channel& channel,
                                        const rpc::Channel::BoundMethod& bound);
  Task<absl::Status> RunClientStreaming(rpc::Channel& channel,
                                        const rpc::Channel::BoundMethod& bound);
  Task<absl::Status> RunBidirectional(rpc::Channel& channel,
                                      const rpc::Channel::BoundMethod& bound);

  // The bytes of the one request.
  Task<absl::StatusOr<std::string>> OneRequest(Loop& loop);
  // Sends all requests; what is wrong with one of them is in request_error_.
  template <typename Stream>
  Task<void> WriteAll(Loop& loop, Stream& stream);
  // Prints all responses; what is wrong with one of them is the result.
  template <typename Stream>
  Task<absl::Status> ReadAll(Stream& stream);
  absl::Status Print(const BufferChain& response, JsonStyle style);
  std::string DescribeDetail(absl::string_view type_url, const std::string& bytes);

  const std::string name_;
  JsonLines requests_;
  const DynamicCallOptions options_;
  const std::function<void(const std::string& json)> print_;

  RemoteServices services_;
  MessageJson json_;
  const Method* method_ = nullptr;
  std::unique_ptr<Described> described_;  // once method_ is known
  rpc::ClientContext context_;
  absl::Status request_error_;
  absl::Status outcome_;
};

}  // namespace weft::cli

#endif  // WEFT_CLI_DYNAMIC_CALL_H_
