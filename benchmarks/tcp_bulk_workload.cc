// SPDX-License-Identifier: Apache-2.0

#include "weft/benchmarks/tcp_bulk_workload.h"

#include <unistd.h>

#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/str_cat.h"
#include "weft/benchmarks/tcp_bulk_ends.h"
#include "weft/config/config.h"
#include "weft/tools/testnet/testnet.h"

namespace weft::benchmarks {
namespace {

using testnet::Namespace;

constexpr char kReceiverIp[] = "10.9.8.1";
constexpr char kSenderIp[] = "10.9.8.2";
constexpr char kReceiverDevice[] = "weftbulk0";
constexpr char kSenderDevice[] = "weftbulk1";

// Of buffers for large segments: enough for the windows, in memory that caches hold.
constexpr uint32_t kLargeBufferBytes = 32768;
constexpr uint32_t kLargeBuffers = 1024;
constexpr uint32_t kLargeDescriptors = 128;

config::Transport FramesOver(BulkCable cable, const std::string& device, size_t buffer_bytes,
                             const std::string& kernel_ip) {
  config::Transport config;
  switch (cable) {
    case BulkCable::kLoopback:
    case BulkCable::kVethPlain:
      break;
    case BulkCable::kVhost:
      config.set_name("dpdk");
      config.mutable_dpdk()->add_virtual_devices(device);
      config.mutable_buffers()->set_bytes(
          static_cast<uint32_t>(buffer_bytes == 0 ? kLargeBufferBytes : buffer_bytes));
      if (buffer_bytes == 0) {
        config.mutable_buffers()->set_count(kLargeBuffers);
        config.mutable_dpdk()->set_receive_descriptors(kLargeDescriptors);
        config.mutable_dpdk()->set_send_descriptors(kLargeDescriptors);
      }
      break;
    case BulkCable::kTap:
      config.set_name("linux");
      config.mutable_linux()->mutable_tap()->set_interface(device);
      config.mutable_linux()->mutable_tap()->add_kernel_addresses(absl::StrCat(kernel_ip, "/24"));
      break;
    case BulkCable::kVeth:
      config.set_name("linux");
      config.mutable_linux()->mutable_packet()->set_interface(device);
      break;
    case BulkCable::kVethAfxdp:
      config.set_name("afxdp");
      config.mutable_afxdp()->set_interface(device);
      config.mutable_afxdp()->set_mode(config::Afxdp::NATIVE);
      break;
  }
  if (buffer_bytes != 0) config.mutable_buffers()->set_bytes(static_cast<uint32_t>(buffer_bytes));
  return config;
}

// Arguments: the cable, whether it is weft's, whether it sends, the device, the duration in
// nanoseconds, the size of buffers, whether to copy, own and peer's address.
absl::Status RunEnd(Peer& peer) {
  const auto cable = static_cast<BulkCable>(peer.Number(0));
  const BulkEnd end = {.sends = peer.Number(2) != 0,
                       .own_ip = peer.arguments()[7],
                       .peer_ip = peer.arguments()[8],
                       .duration_ns = peer.Number(4)};
  if (peer.Number(1) == 0) return RunKernelEnd(peer, end);
  const auto transport =
      FramesOver(cable, peer.arguments()[3], static_cast<size_t>(peer.Number(5)), end.peer_ip);
  return RunWeftEnd(peer, end, transport, peer.Number(6) != 0,
                    /*report_before_open=*/cable == BulkCable::kVhost);
}

constexpr char kRole[] = "tcp-bulk";
constexpr PeerRole kRoles[] = {{kRole, &RunEnd}};

// What an end has of the cable, and where it is.
struct Place {
  std::string device;
  std::string ip;
  const Namespace* in = nullptr;  // null: where the benchmark is
};

absl::StatusOr<std::unique_ptr<PeerProcess>> Start(const TcpBulkWorkload& workload, bool sends,
                                                   const Place& own, const Place& other,
                                                   const floors::Options& options) {
  const bool weft = sends ? workload.weft_sends : workload.weft_receives;
  std::optional<testnet::ScopedNamespace> place;
  if (own.in != nullptr) place.emplace(*own.in);
  const auto flag = [](bool value) { return std::string(value ? "1" : "0"); };
  return PeerProcess::Start(
      {.role = kRole,
       .core = sends ? options.client_core : options.server_core,
       .arguments = {absl::StrCat(static_cast<int>(workload.cable)), flag(weft), flag(sends),
                     own.device, absl::StrCat(absl::ToInt64Nanoseconds(options.duration)),
                     absl::StrCat(workload.buffer_bytes), flag(workload.copy), own.ip, other.ip},
       .lifetime = options.duration + 3 * kStartTimeout});
}

// The receiver is there first, unless the sender makes the device of both.
absl::StatusOr<double> RunPair(const TcpBulkWorkload& workload, const Place& sender,
                               const Place& receiver, const floors::Options& options) {
  const bool sender_first = workload.cable == BulkCable::kTap && workload.weft_sends;
  std::unique_ptr<PeerProcess> peers[2];
  for (const bool sends : {sender_first, !sender_first}) {
    auto peer =
        Start(workload, sends, sends ? sender : receiver, sends ? receiver : sender, options);
    if (!peer.ok()) return peer.status();
    peers[sends ? 0 : 1] = *std::move(peer);
    const bool weft = sends ? workload.weft_sends : workload.weft_receives;
    if (sends && !weft) continue;
    const auto ready = peers[sends ? 0 : 1]->AwaitReport(kStartTimeout);
    if (!ready.ok()) return ready.status();
  }
  double ns_per_byte = 0;
  for (const auto& peer : peers) {
    const auto cost = peer->AwaitReport(options.duration + 2 * kStartTimeout);
    if (!cost.ok()) return cost.status();
    ns_per_byte += *cost;
  }
  return 8 / ns_per_byte;
}

absl::StatusOr<double> RunOverVhost(const TcpBulkWorkload& workload,
                                    const floors::Options& options) {
  char directory[] = "/tmp/weft-bulk-XXXXXX";
  if (mkdtemp(directory) == nullptr) return absl::ErrnoToStatus(errno, "cannot make a directory");
  const auto cleanup = absl::MakeCleanup([&] { std::filesystem::remove_all(directory); });
  std::string vhost = absl::StrCat("net_vhost0,tso=1,iface=", directory, "/wire");
  std::string guest = absl::StrCat("net_virtio_user0,path=", directory, "/wire");
  Place sender = {.device = guest, .ip = kSenderIp};
  Place receiver = {.device = vhost, .ip = kReceiverIp};
  if (workload.to_guest) {
    // The receiver is there first, and makes the socket.
    sender.device = absl::StrCat(vhost, ",client=1");
    receiver.device = absl::StrCat(guest, ",server=1");
  }
  return RunPair(workload, sender, receiver, options);
}

// Two namespaces; the calling thread is in one of them from now on.
absl::StatusOr<double> RunOverVeth(const TcpBulkWorkload& workload,
                                   const floors::Options& options) {
  const auto far = Namespace::Make();
  if (!far.ok()) return absl::UnimplementedError(far.status().message());
  const auto near = Namespace::Make();
  if (!near.ok()) return absl::UnimplementedError(near.status().message());
  absl::Status status = testnet::MakeVeth(*near, kReceiverDevice, *far, kSenderDevice);
  const bool weft[] = {workload.weft_receives, workload.weft_sends};
  const Place places[] = {{kReceiverDevice, kReceiverIp, &*near},
                          {kSenderDevice, kSenderIp, &*far}};
  for (int i = 0; i < 2 && status.ok(); ++i) {
    const Place& place = places[i];
    if (!weft[i]) {
      status = place.in->Ip(absl::StrCat("addr add ", place.ip, "/24 dev ", place.device));
    }
    if (status.ok() && workload.cable != BulkCable::kVeth) {
      const auto off = place.in->Run(
          absl::StrCat("ethtool -K ", place.device, " tx off tso off gso off gro off"));
      if (!off.ok()) status = absl::UnimplementedError("needs ethtool");
    }
  }
  if (!status.ok()) return status;
  return RunPair(workload, places[1], places[0], options);
}

absl::StatusOr<double> RunOverTap(const TcpBulkWorkload& workload, const floors::Options& options) {
  const auto place = Namespace::Make();
  if (!place.ok()) return absl::UnimplementedError(place.status().message());
  return RunPair(workload, {kSenderDevice, kSenderIp, &*place},
                 {kReceiverDevice, kReceiverIp, &*place}, options);
}

}  // namespace

absl::StatusOr<double> MeasureTcpBulk(const TcpBulkWorkload& workload,
                                      const floors::Options& options) {
  switch (workload.cable) {
    case BulkCable::kLoopback:
      return RunPair(workload, {"", "127.0.0.1"}, {"", "127.0.0.1"}, options);
    case BulkCable::kVhost:
      return RunOverVhost(workload, options);
    case BulkCable::kTap:
      return RunOverTap(workload, options);
    default:
      return RunOverVeth(workload, options);
  }
}

absl::Span<const PeerRole> TcpBulkRoles() { return kRoles; }

}  // namespace weft::benchmarks
