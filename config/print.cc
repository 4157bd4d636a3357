// SPDX-License-Identifier: Apache-2.0

#include <google/protobuf/descriptor.h>
#include <google/protobuf/message.h>
#include <google/protobuf/text_format.h>
#include <google/protobuf/util/json_util.h>

#include <cassert>

#include "weft/config/loader.h"
#include "weft/config/settings.h"

namespace weft::config {
namespace {

using google::protobuf::FieldDescriptor;
using google::protobuf::Message;
using google::protobuf::Reflection;
using google::protobuf::TextFormat;

// Sets a field that is not present to its default.
void SetDefault(const FieldDescriptor& field, Message* message) {
  const Reflection& reflection = *message->GetReflection();
  switch (field.cpp_type()) {
    case FieldDescriptor::CPPTYPE_BOOL:
      return reflection.SetBool(message, &field, field.default_value_bool());
    case FieldDescriptor::CPPTYPE_UINT32:
      return reflection.SetUInt32(message, &field, field.default_value_uint32());
    case FieldDescriptor::CPPTYPE_UINT64:
      return reflection.SetUInt64(message, &field, field.default_value_uint64());
    case FieldDescriptor::CPPTYPE_DOUBLE:
      return reflection.SetDouble(message, &field, field.default_value_double());
    case FieldDescriptor::CPPTYPE_ENUM:
      return reflection.SetEnum(message, &field, field.default_value_enum());
    case FieldDescriptor::CPPTYPE_STRING:
      return reflection.SetString(message, &field, field.default_value_string());
    default:
      assert(false && "the schema uses a type that has no default here");
  }
}

// Whether its absence says something.
bool MeansMoreThanItsDefault(const FieldDescriptor& field) {
  const google::protobuf::Descriptor* const type = field.message_type();
  return field.containing_oneof() != nullptr || type == Netstack::descriptor() ||
         type == Security::descriptor() || type == Tracing::descriptor() ||
         type == Router::descriptor() || type == Balancer::descriptor();
}

// Whether the message has no other fields than those of its oneofs now.
bool HasOnlyChoices(const Message& message) {
  const auto* security = dynamic_cast<const Security*>(&message);
  return security != nullptr && security->has_plaintext();
}

// Fills a message and those within it. An Any has no defaults that are known here.
void FillDefaults(Message* message) {
  const Reflection& reflection = *message->GetReflection();
  for (int i = 0; i < message->GetDescriptor()->field_count(); ++i) {
    const FieldDescriptor& field = *message->GetDescriptor()->field(i);
    const bool is_message = field.cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE;
    if (field.is_repeated()) {
      for (int j = 0; is_message && j < reflection.FieldSize(*message, &field); ++j) {
        FillDefaults(reflection.MutableRepeatedMessage(message, &field, j));
      }
      continue;
    }
    const bool present = reflection.HasField(*message, &field);
    if (!present && (MeansMoreThanItsDefault(field) || HasOnlyChoices(*message))) continue;
    if (!is_message) {
      if (!present) SetDefault(field, message);
    } else if (field.message_type() != google::protobuf::Any::descriptor()) {
      FillDefaults(reflection.MutableMessage(message, &field));
    }
  }
}

}  // namespace

std::string Print(const Config& config, Format format) {
  Config effective = config;
  Transport* transport = effective.mutable_transport();
  SelectTransport(config.transport().name(), transport);
  const FieldDescriptor* settings = SettingsOf(transport->name());
  if (settings->message_type() != google::protobuf::Any::descriptor()) {
    transport->GetReflection()->MutableMessage(transport, settings);
  }
  FillDefaults(&effective);
  std::string text;
  if (format == Format::kJson) {
    google::protobuf::util::JsonPrintOptions options;
    options.add_whitespace = true;
    options.preserve_proto_field_names = true;
    const auto status = google::protobuf::util::MessageToJsonString(effective, &text, options);
    assert(status.ok());
    (void)status;
    return text;
  }
  TextFormat::Printer printer;
  printer.SetExpandAny(true);
  printer.PrintToString(effective, &text);
  return text;
}

}  // namespace weft::config
