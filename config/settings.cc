// SPDX-License-Identifier: Apache-2.0

#include "weft/config/settings.h"

#include <google/protobuf/message.h>

namespace weft::config {

using google::protobuf::Descriptor;
using google::protobuf::FieldDescriptor;

const FieldDescriptor* SettingsOf(const std::string& name) {
  const Descriptor& type = *Transport::descriptor();
  const FieldDescriptor* field = type.FindFieldByName(name);
  const FieldDescriptor* plugin = type.FindFieldByNumber(Transport::kPluginFieldNumber);
  return field != nullptr && field->containing_oneof() == plugin->containing_oneof() ? field
                                                                                     : plugin;
}

void SelectTransport(const std::string& name, Transport* transport) {
  const FieldDescriptor* settings = SettingsOf(name);
  // Two plugins share one field, so that only the name tells whose settings they are.
  const bool same = name == transport->name();
  if (!transport->GetReflection()->HasField(*transport, settings) ||
      (transport->has_plugin() && !same)) {
    transport->clear_settings();
  }
  transport->set_name(name);
}

}  // namespace weft::config
