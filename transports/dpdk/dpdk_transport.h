// SPDX-License-Identifier: Apache-2.0
//
// The transport "dpdk": frames through poll-mode drivers of DPDK. See README.md.
#ifndef WEFT_TRANSPORTS_DPDK_DPDK_TRANSPORT_H_
#define WEFT_TRANSPORTS_DPDK_DPDK_TRANSPORT_H_

#include <memory>
#include <utility>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "weft/config/config.h"
#include "weft/transports/dpdk/device.h"
#include "weft/transports/transport.h"

namespace weft {

class DpdkTransport final : public Transport {
 public:
  static absl::StatusOr<std::unique_ptr<Transport>> Open(const config::Transport& config);

  absl::string_view name() const override { return "dpdk"; }
  const Capabilities& capabilities() const override { return device_->capabilities(); }
  absl::StatusOr<std::unique_ptr<FramePort>> OpenFramePort(const PortOptions& options) override;

 private:
  explicit DpdkTransport(std::unique_ptr<dpdk::Device> device) : device_(std::move(device)) {}

  const std::unique_ptr<dpdk::Device> device_;
};

}  // namespace weft

#endif  // WEFT_TRANSPORTS_DPDK_DPDK_TRANSPORT_H_
