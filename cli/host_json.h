// SPDX-License-Identifier: Apache-2.0
//
// What a running host tells over HTTP of its workers (host/worker_page.h), for commands that show
// it.
#ifndef WEFT_CLI_HOST_JSON_H_
#define WEFT_CLI_HOST_JSON_H_

#include <google/protobuf/struct.pb.h>

#include <functional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "weft/cli/command.h"
#include "weft/cli/flags.h"

namespace weft::cli {

// JSON as protobuf has it: objects, whose fields have no order, numbers, which are doubles.
using JsonObject = google::protobuf::Struct;

// A GET request to the host at `address`, whose answer is JSON. What the host refuses has its
// words: InvalidArgument for 400, Unavailable for 503, FailedPrecondition for others.
absl::StatusOr<std::string> Ask(const std::string& address, const std::string& target);
absl::StatusOr<google::protobuf::Value> ParseJson(const std::string& text);

// Fields of an object; empty or 0 where they are missing or of another type.
std::string TextOf(const JsonObject& object, const std::string& name);
double NumberOf(const JsonObject& object, const std::string& name);
const JsonObject& ObjectOf(const JsonObject& object, const std::string& name);
const google::protobuf::ListValue& ListOf(const JsonObject& object, const std::string& name);
// A whole number, without an exponent.
std::string Whole(double number);

// A command that asks a host for a page of its workers, and shows them: `target` gives the page
// when the command line has been read, `show` prints those workers that answered.
int ShowWorkers(Flags& flags, Arguments arguments, const std::function<std::string()>& target,
                const std::function<void(const std::vector<JsonObject>& workers)>& show);

}  // namespace weft::cli

#endif  // WEFT_CLI_HOST_JSON_H_
