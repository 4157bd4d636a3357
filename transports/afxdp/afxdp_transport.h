// SPDX-License-Identifier: Apache-2.0
//
// The transport "afxdp": frames through AF_XDP sockets. See README.md.
#ifndef WEFT_TRANSPORTS_AFXDP_AFXDP_TRANSPORT_H_
#define WEFT_TRANSPORTS_AFXDP_AFXDP_TRANSPORT_H_

#include <memory>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "weft/config/config.h"
#include "weft/transports/afxdp/afxdp_frame_port.h"
#include "weft/transports/afxdp/filter.h"
#include "weft/transports/afxdp/interface.h"
#include "weft/transports/afxdp/shared_program.h"
#include "weft/transports/transport.h"

namespace weft::afxdp {

class AfxdpTransport final : public Transport {
 public:
  // The interface's MTU and queues are those of this moment.
  static absl::StatusOr<std::unique_ptr<Transport>> Open(const config::Transport& config);

  absl::string_view name() const override { return "afxdp"; }
  const Capabilities& capabilities() const override { return capabilities_; }

  // Queue q is bound to the interface's queue first_queue + q. An address in `options` says nothing
  // about frames and must be none, or of IP.
  absl::StatusOr<std::unique_ptr<FramePort>> OpenFramePort(const PortOptions& options) override;

 private:
  AfxdpTransport(const config::Transport& config, Interface interface, FrameLayout layout,
                 FilterConfig filter);
  absl::Status CheckOptions(const PortOptions& options) const;

  const config::Afxdp config_;
  const size_t buffers_;
  const Interface interface_;
  const FrameLayout layout_;
  const FilterConfig filter_;
  const Capabilities capabilities_;
  SharedProgram program_;
};

}  // namespace weft::afxdp

#endif  // WEFT_TRANSPORTS_AFXDP_AFXDP_TRANSPORT_H_
