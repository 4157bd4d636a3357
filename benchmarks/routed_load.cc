// SPDX-License-Identifier: Apache-2.0

#include "weft/benchmarks/routed_load.h"

#include <arpa/inet.h>
#include <sys/socket.h>
#include <time.h>

#include <algorithm>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "weft/benchmarks/floors/closed_loop.h"
#include "weft/benchmarks/floors/dpdk_floor.h"
#include "weft/benchmarks/routed_traffic.h"
#include "weft/core/clock.h"
#include "weft/core/histogram.h"
#include "weft/core/loop.h"
#include "weft/core/unique_fd.h"
#include "weft/netstack/netstack_transport.h"
#include "weft/router/router.h"
#include "weft/transports/registry.h"

namespace weft::benchmarks {
namespace {

constexpr size_t kBurst = kTrafficBurst;
constexpr size_t kOutstanding = 512;
constexpr uint32_t kSlots = kOutstanding;  // of each server: nothing has to wait
constexpr int64_t kPauseNs = 50'000;       // of the router, when it has nothing to do
constexpr int64_t kLostNs = 20'000'000;    // without an arrival: what was in flight is lost

using Places = TrafficPlaces;
constexpr size_t kPlaces = kTrafficPlaces;
constexpr size_t kServers = kTrafficServersMax;

Places PlacesOverDpdk() {
  Places places;
  for (const char* text :
       {"10.0.0.1:8000", "10.0.0.1:9000", "10.0.0.2:7000", "10.0.0.3:8000", "10.0.0.4:8000"}) {
    places.push_back(*Address::Parse(text));
  }
  return places;
}

// Ports that are free now; all are open at once, so that they differ.
absl::StatusOr<Places> PlacesOverUdp() {
  Places places;
  std::vector<UniqueFd> open;
  for (size_t i = 0; i < kPlaces; ++i) {
    UniqueFd fd(socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
    sockaddr_in name = {};
    name.sin_family = AF_INET;
    name.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t length = sizeof(name);
    auto* const generic = reinterpret_cast<sockaddr*>(&name);
    if (!fd || bind(fd.get(), generic, length) != 0 ||
        getsockname(fd.get(), generic, &length) != 0) {
      return absl::ErrnoToStatus(errno, "no free port");
    }
    places.push_back(Address::Ipv4({127, 0, 0, 1}, ntohs(name.sin_port)));
    open.push_back(std::move(fd));
  }
  return places;
}

std::string ToText(const Places& places) {
  return absl::StrJoin(places, ",", [](std::string* out, const Address& address) {
    absl::StrAppend(out, address.ToString());
  });
}

absl::StatusOr<Places> PlacesOf(const std::string& text) {
  Places places;
  for (const absl::string_view word : absl::StrSplit(text, ',')) {
    absl::StatusOr<Address> address = Address::Parse(word);
    if (!address.ok()) return address.status();
    places.push_back(*std::move(address));
  }
  if (places.size() != kPlaces) return absl::InvalidArgumentError("another number of places");
  return places;
}

// The router's. `device` is empty for kernel sockets.
absl::StatusOr<std::unique_ptr<Transport>> OpenNetwork(const std::string& device,
                                                       const Places& places) {
  config::Transport config;
  config.mutable_buffers()->set_count(8192);
  if (device.empty()) {
    config.set_name("linux");
    config.mutable_linux()->set_receive_buffer_bytes(4 << 20);
    return OpenPlainTransport(config);
  }
  config.set_name("dpdk");
  config.mutable_dpdk()->add_virtual_devices(device);
  auto frames = OpenPlainTransport(config);
  if (!frames.ok()) return frames.status();
  const auto ip_of = [](const Address& address) {
    const std::string text = address.ToString();
    return text.substr(0, text.rfind(':'));
  };
  config::Netstack netstack;
  netstack.add_addresses(absl::StrCat(ip_of(places[kListen]), "/24"));
  for (size_t i = kClient; i < kPlaces; ++i) {
    config::Neighbor& neighbor = *netstack.add_neighbors();
    neighbor.set_address(ip_of(places[i]));
    neighbor.set_mac(kTrafficMac);
  }
  auto stack = netstack::NetstackTransport::Open(*std::move(frames), netstack, /*workers=*/1);
  if (!stack.ok()) return stack.status();
  return std::unique_ptr<Transport>(*std::move(stack));
}

// --- The other process

absl::StatusOr<std::unique_ptr<RoutedTraffic>> OpenTraffic(const std::string& device,
                                                           const Places& places, size_t servers) {
  return device.empty() ? OpenUdpTraffic(places, servers)
                        : OpenFrameTraffic(device, places, servers);
}

absl::StatusOr<double> MeasureOneInFlight(RoutedTraffic& load, int64_t duration_ns) {
  const Clock& clock = RealClock();
  const auto one = [&](int64_t patience_ns) {
    const int64_t begin_ns = clock.NowNs();
    if (load.Send(1) == 0) {
      load.Receive();  // what tells where the router is
      return int64_t{-1};
    }
    for (uint32_t turn = 1; load.Receive() == 0; ++turn) {
      if (turn % 1024 == 0 && clock.NowNs() - begin_ns > patience_ns) return int64_t{-1};
    }
    return clock.NowNs() - begin_ns;
  };
  // What is behind the request is not part of its latency.
  const auto clean_up = [&] {
    load.SendFeedback();
    load.Discard();
  };
  const int64_t start_ns = clock.NowNs();
  for (; one(kLostNs) < 0; clean_up()) {  // the first may get lost, while the other end starts
    if (clock.NowNs() - start_ns > floors::kPatienceNs) return absl::UnavailableError("no request");
  }
  const auto histogram = std::make_unique<Histogram>();
  const int64_t end_ns = clock.NowNs() + duration_ns;
  do {
    clean_up();
    // On a machine that does other things too, one may get lost: it is not slow.
    if (const int64_t ns = one(kLostNs); ns >= 0) histogram->Record(ns);
  } while (clock.NowNs() < end_ns);
  if (histogram->Snapshot().count() == 0) return absl::UnavailableError("no request");
  return static_cast<double>(histogram->Snapshot().Percentile(50));
}

[[noreturn]] void LoadForEver(RoutedTraffic& load) {
  const Clock& clock = RealClock();
  size_t outstanding = 0;
  int64_t arrived_ns = clock.NowNs();
  for (uint32_t turn = 1;; ++turn) {
    if (outstanding + kBurst <= kOutstanding) outstanding += load.Send(kBurst);
    const size_t arrived = load.Receive();
    load.SendFeedback();
    outstanding -= std::min(arrived, outstanding);
    if (turn % 256 != 0) continue;
    load.Discard();
    const int64_t now_ns = clock.NowNs();
    if (arrived > 0) arrived_ns = now_ns;
    if (now_ns - arrived_ns < kLostNs) continue;
    outstanding = 0;
    arrived_ns = now_ns;
  }
}

// --- The router's process

absl::StatusOr<std::unique_ptr<router::Router>> OpenRouter(Loop& loop, Transport& network,
                                                           const Places& places, size_t servers) {
  router::RouterOptions options;
  options.listen = places[kListen];
  options.control = places[kControl];
  options.slots = kSlots;
  for (size_t i = 0; i < servers; ++i) {
    options.servers.push_back({.address = places[kFirstServer + i]});
  }
  auto listen = network.OpenDatagramPort({.local = options.listen});
  if (!listen.ok()) return listen.status();
  auto control = network.OpenDatagramPort({.local = options.control});
  if (!control.ok()) return control.status();
  return router::Router::Create(loop, *std::move(listen), *std::move(control), options);
}

int64_t ThreadCpuNs() {
  timespec now;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return int64_t{now.tv_sec} * 1'000'000'000 + now.tv_nsec;
}

// Turns the loop and finds out which part of its time it is at work. When there is nothing to do it
// pauses, so that it then finds as much at a time as a router that has no time left.
class Turns {
 public:
  explicit Turns(Loop& loop) : loop_(loop) {}

  // Until `forwarded` has grown by `count`, or the time is over.
  void Run(const Counter& forwarded, uint64_t count, int64_t duration_ns) {
    const uint64_t end = forwarded.value() + count;
    const int64_t begin_ns = clock_.NowNs();
    int64_t before_ns = begin_ns;
    busy_ns_ = 0;
    const int64_t cpu_begin_ns = ThreadCpuNs();
    do {
      const size_t work = loop_.RunOnce();
      const int64_t now_ns = clock_.NowNs();
      if (work > 0) busy_ns_ += now_ns - before_ns;
      before_ns = now_ns;
      while (work == 0 && before_ns < now_ns + kPauseNs) before_ns = clock_.NowNs();
    } while (before_ns - begin_ns < duration_ns && forwarded.value() < end);
    total_ns_ = before_ns - begin_ns;
    cpu_ns_ = ThreadCpuNs() - cpu_begin_ns;
  }

  double seconds() const { return static_cast<double>(total_ns_) / 1e9; }
  // On the core: what others have run there meanwhile does not count.
  double busy_core_seconds() const {
    return static_cast<double>(cpu_ns_) / 1e9 * static_cast<double>(busy_ns_) /
           static_cast<double>(total_ns_);
  }

 private:
  Loop& loop_;
  const Clock& clock_ = RealClock();
  int64_t busy_ns_ = 0;
  int64_t total_ns_ = 1;
  int64_t cpu_ns_ = 0;
};

absl::StatusOr<RoutedRate> MeasureRouter(Loop& loop, const router::Router& router,
                                         int64_t duration_ns) {
  const Counter& forwarded = router.dispatcher().stats().forwarded;
  Turns turns(loop);
  turns.Run(forwarded, 10'000, absl::ToInt64Nanoseconds(kStartTimeout));  // until there is load
  turns.Run(forwarded, UINT64_MAX / 2, duration_ns / 10);
  const uint64_t before = forwarded.value();
  turns.Run(forwarded, UINT64_MAX / 2, duration_ns);
  const auto count = static_cast<double>(forwarded.value() - before);
  if (count == 0) return absl::UnavailableError("no request came");
  return RoutedRate{.requests_per_s = count / turns.seconds(),
                    .requests_per_core_s = count / turns.busy_core_seconds()};
}

// --- Roles

// Arguments: device (empty: kernel sockets), 1, places. Routes for ever. Reports 0 when it is
// ready, or before it opens a device.
absl::Status Route(Peer& peer) {
  const std::string& device = peer.arguments()[0];
  if (!device.empty()) peer.Report(0);
  const auto places = PlacesOf(peer.arguments()[2]);
  if (!places.ok()) return places.status();
  auto network = OpenNetwork(device, *places);
  if (!network.ok()) return network.status();
  Loop loop({.mode = LoopMode::kBusy}, RealClock());
  auto router = OpenRouter(loop, **network, *places, 1);
  if (!router.ok()) return router.status();
  if (device.empty()) peer.Report(0);
  loop.Run();
  return absl::OkStatus();
}

// Arguments: device, 0, duration in nanoseconds, places. Reports requests for each second of its
// core, then requests a second.
absl::Status RouteAndMeasure(Peer& peer) {
  const auto places = PlacesOf(peer.arguments()[3]);
  if (!places.ok()) return places.status();
  std::unique_ptr<Transport> network;
  const auto open = [&]() -> absl::Status {
    auto opened = OpenNetwork(peer.arguments()[0], *places);
    if (opened.ok()) network = *std::move(opened);
    return opened.status();
  };
  if (absl::Status status = floors::OpenWhenThere(open); !status.ok()) return status;
  Loop loop({.mode = LoopMode::kBusy}, RealClock());
  auto router = OpenRouter(loop, *network, *places, kServers);
  if (!router.ok()) return router.status();
  const auto rate = MeasureRouter(loop, **router, peer.Number(2));
  if (!rate.ok()) return rate.status();
  peer.Report(rate->requests_per_core_s);
  peer.Report(rate->requests_per_s);
  return absl::OkStatus();
}

// Arguments: device, 0, places. Loads for ever; reports 0 first.
absl::Status LoadOnly(Peer& peer) {
  peer.Report(0);
  const auto places = PlacesOf(peer.arguments()[2]);
  if (!places.ok()) return places.status();
  auto load = OpenTraffic(peer.arguments()[0], *places, kServers);
  if (!load.ok()) return load.status();
  LoadForEver(**load);
}

// Arguments: device, 1, duration in nanoseconds, places. Reports nanoseconds.
absl::Status AskOneByOne(Peer& peer) {
  const auto places = PlacesOf(peer.arguments()[3]);
  if (!places.ok()) return places.status();
  std::unique_ptr<RoutedTraffic> load;
  const auto open = [&]() -> absl::Status {
    auto opened = OpenTraffic(peer.arguments()[0], *places, 1);
    if (opened.ok()) load = *std::move(opened);
    return opened.status();
  };
  if (absl::Status s = floors::OpenWhenThere(open); !s.ok()) return s;
  const absl::StatusOr<double> ns = MeasureOneInFlight(*load, peer.Number(2));
  if (ns.ok()) peer.Report(*ns);
  return ns.status();
}

constexpr char kRouteRole[] = "routed-router";
constexpr char kRouteAndMeasureRole[] = "routed-measuring-router";
constexpr char kLoadRole[] = "routed-load";
constexpr char kAskRole[] = "routed-asker";
constexpr PeerRole kRoles[] = {{kRouteRole, &Route},
                               {kRouteAndMeasureRole, &RouteAndMeasure},
                               {kLoadRole, &LoadOnly},
                               {kAskRole, &AskOneByOne}};

// Two processes over kernel sockets. `first` is up before `second` begins, whose reports are the
// result.
struct UdpPair {
  const char* first;
  int first_core;
  const char* second;
  int second_core;
};
absl::StatusOr<std::vector<double>> RunUdpPair(const UdpPair& pair, size_t reports,
                                               const floors::Options& options) {
  const auto places = PlacesOverUdp();
  if (!places.ok()) return places.status();
  const absl::Duration lifetime = options.duration + 3 * kStartTimeout;
  auto first = PeerProcess::Start({.role = pair.first,
                                   .core = pair.first_core,
                                   .arguments = {"", "1", ToText(*places)},
                                   .lifetime = lifetime});
  if (!first.ok()) return first.status();
  if (auto ready = (*first)->AwaitReport(kStartTimeout); !ready.ok()) return ready.status();
  auto second = PeerProcess::Start(
      {.role = pair.second,
       .core = pair.second_core,
       .arguments = {"", "1", absl::StrCat(absl::ToInt64Nanoseconds(options.duration)),
                     ToText(*places)},
       .lifetime = lifetime});
  if (!second.ok()) return second.status();
  std::vector<double> values;
  while (values.size() < reports) {
    const auto value = (*second)->AwaitReport(options.duration + 2 * kStartTimeout);
    if (!value.ok()) return value.status();
    values.push_back(*value);
  }
  return values;
}

}  // namespace

const char* Name(RoutedOver over) { return over == RoutedOver::kDpdk ? "dpdk" : "linux"; }

absl::StatusOr<double> MeasureRoutedLatency(RoutedOver over, const floors::Options& options) {
  if (over == RoutedOver::kDpdk) {
    const auto ns = floors::RunDpdkPair({kRouteRole, kAskRole, {ToText(PlacesOverDpdk())}},
                                        floors::DpdkFloor::kLatency, options);
    if (!ns.ok()) return ns;
    return *ns / 1e3;
  }
  const auto ns =
      RunUdpPair({kRouteRole, options.server_core, kAskRole, options.client_core}, 1, options);
  if (!ns.ok()) return ns.status();
  return ns->front() / 1e3;
}

absl::StatusOr<RoutedRate> MeasureRoutedRate(RoutedOver over, const floors::Options& options) {
  if (over == RoutedOver::kDpdk) {
    const auto rate =
        floors::RunDpdkPair({kLoadRole, kRouteAndMeasureRole, {ToText(PlacesOverDpdk())}},
                            floors::DpdkFloor::kToGuest, options);
    if (!rate.ok()) return rate.status();
    return RoutedRate{.requests_per_s = 0, .requests_per_core_s = *rate};
  }
  const auto rates = RunUdpPair(
      {kLoadRole, options.client_core, kRouteAndMeasureRole, options.server_core}, 2, options);
  if (!rates.ok()) return rates.status();
  return RoutedRate{.requests_per_s = (*rates)[1], .requests_per_core_s = (*rates)[0]};
}

absl::Span<const PeerRole> RoutedRoles() { return kRoles; }

}  // namespace weft::benchmarks
