// SPDX-License-Identifier: Apache-2.0
//
// Memory of other processes by loads, stores and atomic instructions: what is granted is mapped by
// whom it is granted to, and operations have ended when Post() returns.
//
// Two ports that grant to each other may have connected twice, once from each side: a Remote has
// both sessions, and a key says which of them it was granted over.
#ifndef WEFT_TRANSPORTS_SHM_SHM_REMOTE_MEMORY_H_
#define WEFT_TRANSPORTS_SHM_SHM_REMOTE_MEMORY_H_

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "weft/transports/event_queue.h"
#include "weft/transports/memory_regions.h"
#include "weft/transports/remote_memory.h"
#include "weft/transports/shm/control.h"
#include "weft/transports/shm/grant_table.h"
#include "weft/transports/shm/memory_pages.h"
#include "weft/transports/shm/session.h"
#include "weft/transports/transport.h"

namespace weft::shm {

class ShmTransport;
struct Settings;

class ShmRemoteMemory final : public RemoteMemory, private ControlHandler {
 public:
  static constexpr size_t kMaxOperationBytes = 4 << 20;  // Revoke() may have to wait for one
  static constexpr size_t kMaxCompletions = 1024;        // ended and not taken
  // How long Revoke() waits for a peer that is within an operation, before it gives it up.
  static constexpr int64_t kPatienceNs = 1'000'000'000;

  static absl::StatusOr<std::unique_ptr<ShmRemoteMemory>> Open(ShmTransport* transport,
                                                               const Settings& settings,
                                                               const PortOptions& options);
  // Takes back all that was granted, and says good-bye to all peers.
  ~ShmRemoteMemory() override;

  Address local_address() const override { return Address::Shm(name_); }
  int wait_fd() const override { return control_->wait_fd(); }
  bool Arm() override { return done_count_ == 0 && !events_.KeepsAwake(); }
  void Disarm() override { control_->CheckSoon(); }

  absl::StatusOr<MemoryRegion> Allocate(size_t bytes) override;
  absl::StatusOr<MemoryRegion> Register(absl::Span<uint8_t> memory) override;
  void Deregister(const MemoryRegion& region) override;
  absl::StatusOr<Peer> Resolve(const Address& address) override;
  absl::StatusOr<Address> AddressOf(const Peer& peer) const override;
  absl::StatusOr<RemoteKey> Grant(const Peer& peer, const MemoryRegion& region, size_t offset,
                                  size_t bytes, MemoryAccess access) override;
  void Revoke(const RemoteKey& key) override;
  size_t Post(absl::Span<const MemoryOperation> operations) override;
  size_t Poll(absl::Span<MemoryCompletion> completions) override;

 private:
  // What the other side has handed over.
  struct Mapping {
    uint32_t number = 0;
    MappedPages pages;
  };
  // A session. Its place in links_ is used again.
  struct Link {
    Session session;
    Side side = Side::kConnector;  // ours
    uint32_t remote = 0;           // in remotes_
    bool open = false;
    // As the user of the other side's memory.
    uint64_t operations = 0;        // twice those done: our SideControl::produced
    std::vector<Mapping> mappings;  // by place
    // As an owner: the mappings of regions that were handed over, for reading and for writing too.
    GrantTable grants;
    std::map<uint32_t, uint32_t> handed[2];  // by region
    std::vector<uint32_t> free_mappings;     // the numbers that they will have
    std::vector<uint32_t> to_forget;         // the other side has not been told yet
    uint32_t mappings_used = 0;
  };
  // A peer. Its place in remotes_ is used again under the next generation.
  struct Remote {
    std::string name;
    Link* links[2] = {};      // by our side
    uint64_t generation = 0;  // Peer is {index + 1, generation}
    bool known() const { return links[0] != nullptr || links[1] != nullptr; }
  };

  explicit ShmRemoteMemory(const Settings& settings);
  absl::Status Start(ShmTransport* transport, const PortOptions& options);

  // Data path (shm_memory_datapath.cc).
  absl::StatusCode Perform(const MemoryOperation& operation, uint64_t* old_value);
  absl::StatusCode PerformOver(Link& link, const ShmKey& key, const MemoryOperation& operation,
                               uint64_t* old_value);
  Link* LinkFor(const Remote& remote, const ShmKey& key);
  static const MappedPages* PagesOf(const Link& link, uint32_t mapping);
  bool ReceivePages(Link& link, uint32_t mapping);

  // Peers come and go.
  const Remote* Find(const Peer& peer) const;
  Peer PeerOf(const Remote& remote) const;
  absl::StatusOr<Link*> AddLink(Session&& session, Side side);
  void End(Link& link, PortEvent::Kind kind, int error);
  absl::StatusOr<uint32_t> HandOver(Link& link, uint32_t region, bool writable);
  static bool TellToForget(Link& link);
  void WaitForOperations(Link& link);
  int OnSession(Session& session, const std::shared_ptr<Listener>& listener, int queue) override;
  void OnReadable(uint32_t index) override;
  bool OnNotice(Link& link, const Notice& notice, UniqueFd descriptor);
  size_t DoTakeEvents(absl::Span<PortEvent> events) override {
    AssertOwner();
    return events_.Take(events);
  }

  const Directory directory_;
  const uint32_t max_peers_;
  std::string name_;
  std::unique_ptr<Control> control_;
  MemoryRegions regions_;
  std::map<uint32_t, OwnPages> pages_;  // by region
  uint64_t last_serial_;
  std::vector<std::unique_ptr<Link>> links_;
  size_t open_links_ = 0;
  bool wrote_ = false;  // since the last full fence
  std::vector<Remote> remotes_;
  std::vector<MemoryCompletion> done_{kMaxCompletions};  // a ring
  size_t done_begin_ = 0;
  size_t done_count_ = 0;
  PortEventQueue events_{&has_events_};
};

}  // namespace weft::shm

#endif  // WEFT_TRANSPORTS_SHM_SHM_REMOTE_MEMORY_H_
