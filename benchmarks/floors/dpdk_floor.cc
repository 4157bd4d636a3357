// SPDX-License-Identifier: Apache-2.0

#include "weft/benchmarks/floors/dpdk_floor.h"

#include <rte_dev.h>
#include <rte_ethdev.h>
#include <rte_lcore.h>
#include <rte_mbuf.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <mutex>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/time/clock.h"
#include "weft/benchmarks/floors/closed_loop.h"
#include "weft/config/config.h"
#include "weft/transports/dpdk/eal.h"

namespace weft::benchmarks::floors {
namespace {

constexpr uint16_t kBurst = 32;
constexpr uint16_t kDescriptors = 1024;
constexpr uint32_t kMemoryMb = 128;
constexpr absl::Duration kDurationMax = absl::Seconds(10);

// One queue pair, used as DPDK's own examples do it: mbufs of a pool with a cache, on a thread that
// is registered and so has one.
class RawDevice {
 public:
  absl::Status Open(const std::string& text) {
    config::Dpdk config;
    const std::lock_guard<std::mutex> lock(dpdk::ControlMutex());
    absl::Status status = dpdk::StartEal(config, {}, kMemoryMb);
    if (!status.ok()) return status;
    if (rte_lcore_id() == LCORE_ID_ANY) rte_thread_register();
    const std::pair<std::string, std::string> parts = absl::StrSplit(text, absl::MaxSplits(',', 1));
    const dpdk::EalLog log;
    if (const int error = rte_eal_hotplug_add("vdev", parts.first.c_str(), parts.second.c_str());
        error != 0) {
      return log.Explain(parts.first, -error);
    }
    rte_eth_dev_get_port_by_name(parts.first.c_str(), &port_);
    if (const int error = Start(); error != 0) return log.Explain(parts.first, -error);
    return absl::OkStatus();
  }

  uint16_t Receive(rte_mbuf** burst, uint16_t n) { return rte_eth_rx_burst(port_, 0, burst, n); }
  uint16_t Send(rte_mbuf** burst, uint16_t n) { return rte_eth_tx_burst(port_, 0, burst, n); }

  rte_mbuf* NewFrame() {
    rte_mbuf* frame = rte_pktmbuf_alloc(pool_);
    if (frame == nullptr) return nullptr;
    std::memset(rte_pktmbuf_append(frame, kRequestBytes), 0xff, kRequestBytes);
    return frame;
  }

 private:
  int Start() {
    pool_ = rte_pktmbuf_pool_create("raw", 8191, 256, 0, RTE_MBUF_DEFAULT_BUF_SIZE, SOCKET_ID_ANY);
    if (pool_ == nullptr) return -ENOMEM;
    const rte_eth_conf conf = {};
    int error = rte_eth_dev_configure(port_, 1, 1, &conf);
    if (error == 0) {
      error = rte_eth_rx_queue_setup(port_, 0, kDescriptors, SOCKET_ID_ANY, nullptr, pool_);
    }
    if (error == 0) {
      error = rte_eth_tx_queue_setup(port_, 0, kDescriptors, SOCKET_ID_ANY, nullptr);
    }
    return error != 0 ? error : rte_eth_dev_start(port_);
  }

  uint16_t port_ = 0;
  rte_mempool* pool_ = nullptr;
};

absl::Status ServeDpdk(Peer& peer) {
  peer.Report(0);
  RawDevice device;
  if (absl::Status status = device.Open(peer.arguments()[0]); !status.ok()) return status;
  const bool echo = peer.Number(1) != 0;
  rte_mbuf* burst[kBurst];
  while (true) {
    uint16_t n = 0;
    if (echo) {
      n = device.Receive(burst, kBurst);
    } else {
      while (n < kBurst && (burst[n] = device.NewFrame()) != nullptr) ++n;
    }
    uint16_t sent = device.Send(burst, n);
    while (echo && sent < n) sent += device.Send(burst + sent, n - sent);
    rte_pktmbuf_free_bulk(burst + sent, n - sent);
  }
}

absl::Status AskDpdk(Peer& peer) {
  RawDevice device;
  absl::Status status = OpenWhenThere([&] { return device.Open(peer.arguments()[0]); });
  if (!status.ok()) return status;
  const bool round_trips = peer.Number(1) != 0;
  const int64_t duration_ns = peer.Number(2);
  rte_mbuf* burst[kBurst];
  absl::StatusOr<double> result;
  if (round_trips) {
    result = DpdkRoundTripNs(
        duration_ns,
        [&] {
          burst[0] = device.NewFrame();
          return device.Send(burst, 1) == 1;
        },
        [&] {
          const uint16_t n = device.Receive(burst, kBurst);
          rte_pktmbuf_free_bulk(burst, n);
          return n > 0;
        });
  } else {
    result = RepliesPerSecond(duration_ns, kBurst, [&](size_t) {
      const uint16_t n = device.Receive(burst, kBurst);
      rte_pktmbuf_free_bulk(burst, n);
      return size_t{n};
    });
  }
  if (result.ok()) peer.Report(*result);
  return result.status();
}

constexpr PeerRole kRoles[] = {{"floor-dpdk-server", &ServeDpdk}, {"floor-dpdk-client", &AskDpdk}};

}  // namespace

const char* Name(DpdkFloor floor) {
  switch (floor) {
    case DpdkFloor::kLatency:
      return "raw virtio-user, p50";
    case DpdkFloor::kToGuest:
      return "raw vhost to virtio-user";
    case DpdkFloor::kFromGuest:
      return "raw virtio-user to vhost";
  }
  return "";
}

absl::Status OpenWhenThere(absl::FunctionRef<absl::Status()> open) {
  const absl::Time end = absl::Now() + kStartTimeout;
  absl::Status status;
  while (!(status = open()).ok() && absl::Now() < end) absl::SleepFor(absl::Milliseconds(10));
  return status;
}

absl::StatusOr<double> RunDpdkPair(const DpdkPair& roles, DpdkFloor floor, const Options& options) {
  char directory[] = "/tmp/weft-floor-XXXXXX";
  if (mkdtemp(directory) == nullptr) return absl::ErrnoToStatus(errno, "cannot make a directory");
  const auto cleanup = absl::MakeCleanup([&] { std::filesystem::remove_all(directory); });
  // The server sends: of the two devices it has the one that is not to receive.
  std::string server = absl::StrCat("net_vhost0,iface=", directory, "/wire");
  std::string client = absl::StrCat("net_virtio_user0,path=", directory, "/wire");
  if (floor == DpdkFloor::kFromGuest) {
    std::swap(server, client);
    absl::StrAppend(&server, ",server=1");
    absl::StrAppend(&client, ",client=1");
  }
  const std::string latency = floor == DpdkFloor::kLatency ? "1" : "0";
  const absl::Duration duration = std::min(options.duration, kDurationMax);
  const absl::Duration lifetime = duration + 3 * kStartTimeout;
  std::vector<std::string> server_arguments = {server, latency};
  std::vector<std::string> client_arguments = {client, latency,
                                               absl::StrCat(absl::ToInt64Nanoseconds(duration))};
  for (auto* arguments : {&server_arguments, &client_arguments}) {
    arguments->insert(arguments->end(), roles.arguments.begin(), roles.arguments.end());
  }
  auto sender = PeerProcess::Start({.role = roles.server_role,
                                    .core = options.server_core,
                                    .arguments = std::move(server_arguments),
                                    .lifetime = lifetime});
  if (!sender.ok()) return sender.status();
  if (auto ready = (*sender)->AwaitReport(kStartTimeout); !ready.ok()) return ready;
  auto asker = PeerProcess::Start({.role = roles.client_role,
                                   .core = options.client_core,
                                   .arguments = std::move(client_arguments),
                                   .lifetime = lifetime});
  if (!asker.ok()) return asker.status();
  return (*asker)->AwaitReport(duration + 2 * kStartTimeout);
}

absl::StatusOr<Figure> MeasureDpdk(DpdkFloor floor, const Options& options) {
  const absl::StatusOr<double> value =
      RunDpdkPair({"floor-dpdk-server", "floor-dpdk-client"}, floor, options);
  if (!value.ok()) return value.status();
  const bool latency = floor == DpdkFloor::kLatency;
  return Figure{Name(floor), latency ? *value / 1e3 : *value, latency ? "us" : "frames/s", ""};
}

absl::Span<const PeerRole> DpdkRoles() { return kRoles; }

}  // namespace weft::benchmarks::floors
