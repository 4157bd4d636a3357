// SPDX-License-Identifier: Apache-2.0
//
// "shm": datagrams, streams and remote memory between the processes of one machine, through memory
// that they share. README.md says what it promises and whom it trusts; docs/protocols/shm.md draws
// its bytes.
#ifndef WEFT_TRANSPORTS_SHM_SHM_TRANSPORT_H_
#define WEFT_TRANSPORTS_SHM_SHM_TRANSPORT_H_

#include <map>
#include <memory>
#include <mutex>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "weft/config/config.h"
#include "weft/core/buffer.h"
#include "weft/transports/shm/rendezvous.h"
#include "weft/transports/transport.h"

namespace weft::shm {

// What the ports of a transport have in common.
struct Settings {
  Directory directory;
  Capabilities capabilities;
  BufferPoolOptions buffers;
  uint32_t ring_bytes;
  uint32_t max_peers;
};

class ShmTransport final : public Transport {
 public:
  static absl::StatusOr<std::unique_ptr<ShmTransport>> Open(const config::Transport& config);

  absl::string_view name() const override { return "shm"; }
  const Capabilities& capabilities() const override { return settings_.capabilities; }
  absl::StatusOr<std::unique_ptr<DatagramPort>> OpenDatagramPort(
      const PortOptions& options) override;
  absl::StatusOr<std::unique_ptr<StreamPort>> OpenStreamPort(const PortOptions& options) override;
  absl::StatusOr<std::unique_ptr<RemoteMemory>> OpenRemoteMemory(
      const PortOptions& options) override;

  // The listener for `name`, shared by the ports that open its queues, with `queue` taken. Called
  // by ports, on any thread.
  absl::StatusOr<std::shared_ptr<Listener>> Listen(const std::string& name, Contract contract,
                                                   int backlog, int queue, int queues);

 private:
  explicit ShmTransport(Settings settings) : settings_(std::move(settings)) {}

  const Settings settings_;
  std::mutex mutex_;
  std::map<std::string, std::weak_ptr<Listener>> listeners_;  // by path; guarded by mutex_
};

}  // namespace weft::shm

#endif  // WEFT_TRANSPORTS_SHM_SHM_TRANSPORT_H_
