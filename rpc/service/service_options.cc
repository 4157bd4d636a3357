// SPDX-License-Identifier: Apache-2.0
#include "weft/rpc/service/service_options.h"

#include "weft/rpc/service/channel.h"

namespace weft::rpc {

ServiceOptions ServiceOptions::From(const config::Rpc& config) {
  return {.metadata_bytes_max = config.service().metadata_bytes_max(),
          .reflection = config.service().reflection()};
}

ChannelOptions ChannelOptions::From(const config::Rpc& config) {
  return {.metadata_bytes_max = config.service().metadata_bytes_max()};
}

}  // namespace weft::rpc
