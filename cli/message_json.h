// SPDX-License-Identifier: Apache-2.0
//
// Messages of types that are known only when the program runs, as JSON (protobuf's mapping:
// https://protobuf.dev/programming-guides/json/). weft.rpc.RawBytes, which travel as they are, are
// {"data": "<base64>"}.
#ifndef WEFT_CLI_MESSAGE_JSON_H_
#define WEFT_CLI_MESSAGE_JSON_H_

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "google/protobuf/descriptor.h"
#include "google/protobuf/dynamic_message.h"

namespace weft::cli {

enum class JsonStyle {
  kLine,      // all in one
  kIndented,  // for people
};

class MessageJson {
 public:
  // `type` must outlive what comes of it.
  using Type = google::protobuf::Descriptor;

  // The bytes that travel for the message that `json` describes. InvalidArgument if it is none of
  // the type.
  absl::StatusOr<std::string> Encode(const Type& type, const std::string& json);
  // The JSON of bytes that came. DataLoss if they are no message of the type.
  absl::StatusOr<std::string> Decode(const Type& type, const std::string& bytes, JsonStyle style);

 private:
  google::protobuf::DynamicMessageFactory factory_;
};

}  // namespace weft::cli

#endif  // WEFT_CLI_MESSAGE_JSON_H_
