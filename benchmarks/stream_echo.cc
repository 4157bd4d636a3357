// SPDX-License-Identifier: Apache-2.0

#include "weft/benchmarks/stream_echo.h"

#include <cstring>
#include <memory>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "weft/benchmarks/floors/closed_loop.h"
#include "weft/benchmarks/floors/dpdk_floor.h"
#include "weft/benchmarks/virtio_end.h"
#include "weft/core/clock.h"
#include "weft/tcp/connections.h"

namespace weft::benchmarks {
namespace {

constexpr char kServerIp[] = "10.0.0.1";
constexpr char kClientIp[] = "10.0.0.2";
constexpr uint16_t kPort = 7000;

class Echo final : public tcp::ConnectionHandler {
 public:
  void OnData(tcp::Connection& connection) override {
    for (auto in = connection.ReadView(); !in.empty(); in = connection.ReadView()) {
      const size_t sent = connection.Send(in);
      connection.Consume(sent);
      if (sent < in.size()) return;
    }
  }
  void OnWritable(tcp::Connection& connection) override { OnData(connection); }
};

// Arguments: the device. Reports 0 before it opens it.
absl::Status Serve(Peer& peer) {
  peer.Report(0);
  VirtioEnd end;
  if (absl::Status s = end.Open(peer.arguments()[0], kServerIp); !s.ok()) return s;
  const auto bound = end.connections->Listen(
      *Address::Parse(absl::StrCat(kServerIp, ":", kPort)), /*backlog=*/8,
      [](tcp::Connection connection) { std::move(connection).Serve(std::make_unique<Echo>()); });
  if (!bound.ok()) return bound.status();
  end.loop.Run();
  return absl::OkStatus();
}

// What the client has of its connection, once there is one.
class Pinger final : public tcp::ConnectionHandler {
 public:
  explicit Pinger(tcp::Connection** connection) : connection_(connection) {}
  void OnConnected(tcp::Connection& connection) override { *connection_ = &connection; }
  void OnData(tcp::Connection&) override {}  // Ask() looks for itself

 private:
  tcp::Connection** const connection_;
};

// Arguments: the device, a number that says nothing here, the duration in nanoseconds. Reports the
// median in nanoseconds.
absl::Status Ask(Peer& peer) {
  VirtioEnd end;
  const auto open = [&] { return end.Open(peer.arguments()[0], kClientIp); };
  if (absl::Status s = floors::OpenWhenThere(open); !s.ok()) return s;
  tcp::Connection* connection = nullptr;
  absl::Status begun = end.connections->Connect(
      *Address::Parse(absl::StrCat(kServerIp, ":", kPort)), std::make_unique<Pinger>(&connection));
  if (!begun.ok()) return begun;
  const Clock& clock = RealClock();
  const int64_t give_up_ns = clock.NowNs() + floors::kPatienceNs;
  while (connection == nullptr && clock.NowNs() < give_up_ns) end.loop.RunOnce();
  if (connection == nullptr) return absl::UnavailableError("nobody answers");
  uint8_t message[floors::kRequestBytes];
  std::memset(message, 0xff, sizeof(message));
  const absl::StatusOr<double> ns = floors::MedianRoundTripNs(peer.Number(2), [&] {
    if (connection->Send(message) < sizeof(message)) return false;
    size_t left = sizeof(message);
    for (uint32_t turn = 1; left > 0; ++turn) {
      end.loop.RunOnce();
      const size_t n = connection->ReadView().size();
      connection->Consume(n);
      left -= n;
      if (turn % (1 << 24) == 0) return false;
    }
    return true;
  });
  if (ns.ok()) peer.Report(*ns);
  return ns.status();
}

constexpr char kServerRole[] = "stream-echo-server";
constexpr char kClientRole[] = "stream-echo-client";
constexpr PeerRole kRoles[] = {{kServerRole, &Serve}, {kClientRole, &Ask}};

}  // namespace

absl::StatusOr<double> MeasureStreamEcho(const floors::Options& options) {
  absl::StatusOr<double> value =
      floors::RunDpdkPair({kServerRole, kClientRole}, floors::DpdkFloor::kLatency, options);
  if (value.ok()) *value /= 1e3;
  return value;
}

absl::Span<const PeerRole> StreamEchoRoles() { return kRoles; }

}  // namespace weft::benchmarks
