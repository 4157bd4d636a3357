// SPDX-License-Identifier: Apache-2.0
#include "weft/cli/message_json.h"

#include <memory>

#include "absl/strings/str_cat.h"
#include "google/protobuf/message.h"
#include "google/protobuf/util/json_util.h"

namespace weft::cli {
namespace {

using google::protobuf::FieldDescriptor;
using google::protobuf::Message;

// The field of RawBytes whose content is what travels; null for other types.
const FieldDescriptor* RawField(const MessageJson::Type& type) {
  return type.full_name() == "weft.rpc.RawBytes" ? type.FindFieldByName("data") : nullptr;
}

std::string MessageOf(const google::protobuf::util::Status& status) {
  return std::string(status.message().data(), status.message().size());
}

}  // namespace

absl::StatusOr<std::string> MessageJson::Encode(const Type& type, const std::string& json) {
  const std::unique_ptr<Message> message(factory_.GetPrototype(&type)->New());
  const google::protobuf::util::Status read =
      google::protobuf::util::JsonStringToMessage(json, message.get());
  if (!read.ok()) {
    return absl::InvalidArgumentError(
        absl::StrCat("this is no ", type.full_name(), ": ", MessageOf(read)));
  }
  if (!message->IsInitialized()) {
    return absl::InvalidArgumentError(
        absl::StrCat("this ", type.full_name(), " lacks ", message->InitializationErrorString()));
  }
  if (const FieldDescriptor* raw = RawField(type)) {
    return message->GetReflection()->GetString(*message, raw);
  }
  return message->SerializeAsString();
}

absl::StatusOr<std::string> MessageJson::Decode(const Type& type, const std::string& bytes,
                                                JsonStyle style) {
  const std::unique_ptr<Message> message(factory_.GetPrototype(&type)->New());
  if (const FieldDescriptor* raw = RawField(type)) {
    message->GetReflection()->SetString(message.get(), raw, bytes);
  } else if (!message->ParsePartialFromString(bytes)) {
    return absl::DataLossError(
        absl::StrCat("the ", bytes.size(), " bytes that came are no ", type.full_name()));
  }
  google::protobuf::util::JsonPrintOptions options;
  options.add_whitespace = style == JsonStyle::kIndented;
  std::string json;
  const google::protobuf::util::Status printed =
      google::protobuf::util::MessageToJsonString(*message, &json, options);
  if (!printed.ok()) {
    return absl::DataLossError(
        absl::StrCat("a ", type.full_name(), " that cannot be shown: ", MessageOf(printed)));
  }
  while (!json.empty() && json.back() == '\n') json.pop_back();
  return json;
}

}  // namespace weft::cli
