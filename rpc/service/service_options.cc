// SPDX-License-Identifier: Apache-2.0
#include "weft/rpc/service/service_options.h"

#include "weft/rpc/service/channel.h"

namespace weft::rpc {
namespace {

StreamOptions StreamsFrom(const config::Rpc& config) {
  return {.streams_max = config.service().streams_max(),
          .window = config.service().stream_window()};
}

}  // namespace

ServiceOptions ServiceOptions::From(const config::Rpc& config) {
  return {.metadata_bytes_max = config.service().metadata_bytes_max(),
          .streams = StreamsFrom(config),
          .reflection = config.service().reflection()};
}

ChannelOptions ChannelOptions::From(const config::Rpc& config) {
  return {.metadata_bytes_max = config.service().metadata_bytes_max(),
          .streams = StreamsFrom(config)};
}

}  // namespace weft::rpc
