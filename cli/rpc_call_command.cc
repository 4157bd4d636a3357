// SPDX-License-Identifier: Apache-2.0
//
// weft rpc call: one call of a method whose .proto this program has never seen. Requests and
// responses are JSON.

#include <cstdio>
#include <functional>
#include <optional>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "weft/cli/command.h"
#include "weft/cli/dynamic_call.h"
#include "weft/cli/endpoint.h"
#include "weft/cli/flags.h"
#include "weft/cli/remote_services.h"
#include "weft/core/bytes.h"
#include "weft/rpc/trace/trace_parent.h"

namespace weft::cli {
namespace {

struct CallCommand {
  EndpointOptions endpoint;
  std::string method;
  std::string json;
  std::vector<std::string> metadata;  // KEY=VALUE
  absl::Duration timeout;             // zero: the configuration's
  bool trace = false;
};

rpc::TraceParent RandomTrace() {
  std::random_device random;
  rpc::TraceParent trace{.trace_id = {}, .span_id = {}, .flags = rpc::kTraceSampled};
  for (size_t i = 0; i < 16; i += 4) StoreBig32(&trace.trace_id[i], random());
  for (size_t i = 0; i < 8; i += 4) StoreBig32(&trace.span_id[i], random());
  // All zeros would be no trace.
  trace.trace_id[0] |= 1;
  trace.span_id[0] |= 1;
  return trace;
}

absl::Status Prepare(const CallCommand& command, DynamicCallOptions* options) {
  for (const std::string& pair : command.metadata) {
    const size_t equals = pair.find('=');
    if (equals == std::string::npos || equals == 0) {
      return absl::InvalidArgumentError(absl::StrCat("--metadata: '", pair, "' is not KEY=VALUE"));
    }
    options->metadata.emplace_back(pair.substr(0, equals), pair.substr(equals + 1));
  }
  options->timeout = command.timeout;
  if (command.trace) {
    options->trace = RandomTrace();
    std::fprintf(stderr, "traceparent: %s\n", rpc::FormatTraceParent(*options->trace).c_str());
  }
  return absl::OkStatus();
}

void PrintLine(const std::string& json) {
  std::printf("%s\n", json.c_str());
  std::fflush(stdout);  // who reads a stream wants each message when it is there
}

}  // namespace

int RpcCall(Arguments arguments) {
  CallCommand command;
  Flags flags("rpc call",
              "Calls a method of a running server, which says itself what its messages are.\n"
              "Requests and responses are JSON; streams are a message a line, in both directions;\n"
              "bytes of weft.rpc.RawBytes are {\"data\": \"<base64>\"}.\n"
              "Exit status: 0 if the call was answered with OK, 1 if not, 2 if there is no such\n"
              "method or the request is none of its messages.");
  flags.Argument("ADDRESS", "of the server, such as 127.0.0.1:7000, [::1]:7000 or shm:store",
                 &command.endpoint.address);
  flags.Argument("METHOD", "such as kv.KeyValue/Get; 'weft rpc list' has them", &command.method);
  flags.OptionalArgument("JSON",
                         "the request; '-': read it from standard input; without it: an empty one",
                         &command.json);
  flags.Texts("metadata", "KEY=VALUE", "sent with the request; may be given several times",
              &command.metadata);
  flags.Duration("timeout",
                 "until the call is given up (rpc.timeout_us of the configuration: 1s; streams:\n"
                 "                         never)",
                 &command.timeout);
  flags.Bool("trace", "have the call traced, and print the trace's id to standard error",
             &command.trace);
  flags.Config(&command.endpoint.config, &command.endpoint.transport, &command.endpoint.plaintext);
  if (std::optional<int> status = flags.Parse(arguments)) return *status;

  DynamicCallOptions options;
  if (absl::Status status = Prepare(command, &options); !status.ok()) {
    return flags.UsageError(status.message());
  }
  absl::StatusOr<Endpoint> endpoint = ChooseEndpoint(command.endpoint);
  if (!endpoint.ok()) {
    flags.Complain(endpoint.status().message());
    return ExitStatus(endpoint.status());
  }
  DynamicCall call(command.method, command.json, options, &PrintLine);
  const absl::Status status =
      Converse(*endpoint, [&call](rpc::Channel& channel) { return call.Run(channel); });
  if (!status.ok()) {
    flags.Complain(status.message());
    return ExitStatus(status);
  }
  if (call.outcome().ok()) return kExitOk;
  flags.Complain(absl::StrCat(command.method, ": ", call.DescribeOutcome()));
  return kExitFailed;
}

}  // namespace weft::cli
