// SPDX-License-Identifier: Apache-2.0

#ifndef WEFT_CONFIG_SETTINGS_H_
#define WEFT_CONFIG_SETTINGS_H_

#include <google/protobuf/descriptor.h>

#include <string>

#include "weft/config/config.h"

namespace weft::config {

// The field of `Transport` that holds the settings of the transport `name`: the one of
// that name, or `plugin` if there is none. Never null.
const google::protobuf::FieldDescriptor* SettingsOf(const std::string& name);

// Names a transport, and drops settings that belong to another one.
void SelectTransport(const std::string& name, Transport* transport);

}  // namespace weft::config

#endif  // WEFT_CONFIG_SETTINGS_H_
