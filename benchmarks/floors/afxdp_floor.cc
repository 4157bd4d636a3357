// SPDX-License-Identifier: Apache-2.0

#include "weft/benchmarks/floors/afxdp_floor.h"

#include <bpf/bpf.h>
#include <linux/bpf.h>
#include <linux/if_link.h>
#include <net/if.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <xdp/xsk.h>

#include <cerrno>
#include <cstdint>
#include <cstring>
#include <iterator>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "weft/benchmarks/floors/closed_loop.h"
#include "weft/benchmarks/veth_pair.h"

namespace weft::benchmarks::floors {
namespace {

constexpr size_t kFrameBytes = 64;
constexpr uint32_t kChunkBytes = 2048;
constexpr uint32_t kChunks = 1024;
constexpr uint32_t kRingSlots = 512;
constexpr int kBusyTries = 200;

// `return redirect_map(map, context->rx_queue_index, XDP_PASS)`.
int LoadRedirect(int map) {
  const bpf_insn program[] = {
      {.code = BPF_LDX | BPF_MEM | BPF_W,
       .dst_reg = 2,
       .src_reg = 1,
       .off = offsetof(xdp_md, rx_queue_index),
       .imm = 0},
      {.code = BPF_LD | BPF_DW | BPF_IMM,
       .dst_reg = 1,
       .src_reg = BPF_PSEUDO_MAP_FD,
       .off = 0,
       .imm = map},
      {.code = 0, .dst_reg = 0, .src_reg = 0, .off = 0, .imm = 0},
      {.code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = 3, .src_reg = 0, .off = 0, .imm = XDP_PASS},
      {.code = BPF_JMP | BPF_CALL,
       .dst_reg = 0,
       .src_reg = 0,
       .off = 0,
       .imm = BPF_FUNC_redirect_map},
      {.code = BPF_JMP | BPF_EXIT, .dst_reg = 0, .src_reg = 0, .off = 0, .imm = 0}};
  return bpf_prog_load(BPF_PROG_TYPE_XDP, "weft_floor", "GPL", program, std::size(program),
                       nullptr);
}

// A socket on queue 0 that gets everything. Never given back: its process ends with it.
class RawXdp {
 public:
  absl::Status Open(const std::string& interface, bool native) {
    memory_ = static_cast<uint8_t*>(mmap(nullptr, kChunks * kChunkBytes, PROT_READ | PROT_WRITE,
                                         MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    if (memory_ == MAP_FAILED) return absl::ErrnoToStatus(errno, "mmap");
    const xsk_umem_config umem_config = {.fill_size = kRingSlots,
                                         .comp_size = kRingSlots,
                                         .frame_size = kChunkBytes,
                                         .frame_headroom = 0,
                                         .flags = 0};
    xsk_umem* umem;
    int error = -xsk_umem__create(&umem, memory_, kChunks * kChunkBytes, &fill_, &completion_,
                                  &umem_config);
    if (error != 0) return absl::ErrnoToStatus(error, "cannot share memory with AF_XDP");
    xsk_socket_config config = {};
    config.rx_size = config.tx_size = kRingSlots;
    config.libxdp_flags = XSK_LIBXDP_FLAGS__INHIBIT_PROG_LOAD;
    config.bind_flags = XDP_USE_NEED_WAKEUP | XDP_COPY;
    xsk_socket* socket;
    // The kernel gives a queue back some time after its last user has gone.
    for (int tries = 0; tries < kBusyTries; ++tries) {
      error = -xsk_socket__create(&socket, interface.c_str(), 0, umem, &rx_, &tx_, &config);
      if (error != EBUSY) break;
      absl::SleepFor(absl::Milliseconds(10));
    }
    if (error != 0) return absl::ErrnoToStatus(error, "cannot bind an AF_XDP socket");
    fd_ = xsk_socket__fd(socket);
    for (uint32_t i = 0; i < kRingSlots; ++i) Provide(i * kChunkBytes);
    return Attach(interface, native);
  }

  // The address of a frame that has come; false if there is none.
  bool Receive(uint64_t* address) {
    uint32_t index;
    if (xsk_ring_cons__peek(&rx_, 1, &index) == 0) return false;
    *address = xsk_ring_cons__rx_desc(&rx_, index)->addr;
    xsk_ring_cons__release(&rx_, 1);
    return true;
  }
  void Send(uint64_t address) {
    uint32_t index;
    if (xsk_ring_prod__reserve(&tx_, 1, &index) == 0) return;
    *xsk_ring_prod__tx_desc(&tx_, index) = {.addr = address, .len = kFrameBytes, .options = 0};
    xsk_ring_prod__submit(&tx_, 1);
    sendto(fd_, nullptr, 0, MSG_DONTWAIT, nullptr, 0);
  }
  // Chunks that have been sent receive again.
  void Recycle() {
    uint32_t index;
    if (xsk_ring_cons__peek(&completion_, 1, &index) == 0) return;
    const uint64_t address = *xsk_ring_cons__comp_addr(&completion_, index);
    xsk_ring_cons__release(&completion_, 1);
    Provide(address);
  }
  void Provide(uint64_t address) {
    uint32_t index;
    if (xsk_ring_prod__reserve(&fill_, 1, &index) == 0) return;
    *xsk_ring_prod__fill_addr(&fill_, index) = address;
    xsk_ring_prod__submit(&fill_, 1);
  }
  uint8_t* At(uint64_t address) { return memory_ + address; }

 private:
  absl::Status Attach(const std::string& interface, bool native) {
    const int map = bpf_map_create(BPF_MAP_TYPE_XSKMAP, "weft_floor", 4, 4, 1, nullptr);
    const int program = map < 0 ? -1 : LoadRedirect(map);
    bpf_link_create_opts options = {};
    options.sz = sizeof(options);
    options.flags = native ? XDP_FLAGS_DRV_MODE : XDP_FLAGS_SKB_MODE;
    const auto index = static_cast<int>(if_nametoindex(interface.c_str()));
    const uint32_t queue = 0;
    if (program < 0 || bpf_map_update_elem(map, &queue, &fd_, BPF_ANY) != 0 ||
        bpf_link_create(program, index, BPF_XDP, &options) < 0) {
      return absl::ErrnoToStatus(errno, "cannot attach an XDP program");
    }
    return absl::OkStatus();
  }

  uint8_t* memory_ = nullptr;
  int fd_ = -1;
  xsk_ring_prod fill_ = {}, tx_ = {};
  xsk_ring_cons completion_ = {}, rx_ = {};
};

// Argument: 1 for native. Reports 0 when it is ready.
absl::Status ServeAfxdp(Peer& peer) {
  RawXdp xdp;
  if (absl::Status s = xdp.Open(VethPair::kServer, peer.Number(0) != 0); !s.ok()) return s;
  peer.Report(0);
  for (;;) {
    uint64_t address;
    if (xdp.Receive(&address)) xdp.Send(address);
    xdp.Recycle();
  }
}

// Arguments: 1 for native; the duration in nanoseconds. Reports the median round trip in
// nanoseconds.
absl::Status AskAfxdp(Peer& peer) {
  RawXdp xdp;
  if (absl::Status s = xdp.Open(VethPair::kClient, peer.Number(0) != 0); !s.ok()) return s;
  uint64_t next = uint64_t{kRingSlots} * kChunkBytes;  // of those not provided
  std::memset(xdp.At(next), 0xff, 12);                 // to all
  absl::StatusOr<double> result = MedianRoundTripNs(peer.Number(1), [&] {
    xdp.Send(next);
    const int64_t give_up_ns = RealClock().NowNs() + kPatienceNs;
    uint64_t address;
    for (uint32_t turn = 1; !xdp.Receive(&address); ++turn) {
      xdp.Recycle();
      if (turn % 1024 == 0 && RealClock().NowNs() > give_up_ns) return false;
    }
    next = address;
    return true;
  });
  if (result.ok()) peer.Report(*result);
  return result.status();
}

constexpr PeerRole kRoles[] = {{"floor-afxdp-server", &ServeAfxdp},
                               {"floor-afxdp-client", &AskAfxdp}};

}  // namespace

absl::Span<const PeerRole> AfxdpRoles() { return kRoles; }

absl::StatusOr<double> AfxdpRoundTripNs(const AfxdpFloorOptions& options) {
  const char* native = options.native ? "1" : "0";
  const absl::Duration lifetime = options.duration + 3 * kStartTimeout;
  auto server = PeerProcess::Start({.role = "floor-afxdp-server",
                                    .core = options.server_core,
                                    .arguments = {native},
                                    .lifetime = lifetime});
  if (!server.ok()) return server.status();
  if (absl::StatusOr<double> ready = (*server)->AwaitReport(kStartTimeout); !ready.ok()) {
    return ready;
  }
  auto client = PeerProcess::Start(
      {.role = "floor-afxdp-client",
       .core = options.client_core,
       .arguments = {native, absl::StrCat(absl::ToInt64Nanoseconds(options.duration))},
       .lifetime = lifetime});
  if (!client.ok()) return client.status();
  return (*client)->AwaitReport(options.duration + kStartTimeout);
}

}  // namespace weft::benchmarks::floors
