// SPDX-License-Identifier: Apache-2.0

#include "weft/benchmarks/memory_workload.h"

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <future>
#include <memory>
#include <optional>
#include <thread>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "weft/benchmarks/endpoint.h"
#include "weft/config/config.h"
#include "weft/core/clock.h"
#include "weft/core/cpu.h"
#include "weft/core/histogram.h"
#include "weft/core/loop.h"
#include "weft/core/task.h"
#include "weft/core/task_group.h"
#include "weft/transports/decorators/open.h"
#include "weft/transports/remote_memory/memory_client.h"
#include "weft/transports/remote_memory/open.h"

namespace weft::benchmarks {
namespace {

using Kind = MemoryOperation::Kind;

constexpr size_t kRegionBytes = size_t{4} << 20;

// What the owner tells the user, in memory that both have.
struct Granted {
  Address owner;
  RemoteKey key;
};

absl::StatusOr<std::unique_ptr<RemoteMemory>> Open(Transport& transport,
                                                   const std::string& address) {
  absl::StatusOr<Address> local = Address::Parse(address);
  if (!local.ok()) return local.status();
  return OpenRemoteMemory(transport, {.local = *local}, {.beyond_machine = true});
}

// Has the memory, and keeps polling for those who use it.
class Owner {
 public:
  Owner(Transport& transport, const std::string& address)
      : transport_(transport), address_(address) {}

  // On a thread of its own, until Stop(). Sets what is granted to `user`, or why not.
  void Run(int core, std::shared_future<Address> user,
           std::promise<absl::StatusOr<Granted>> granted) {
    (void)PinThisThread(core);
    auto memory = Open(transport_, address_);
    if (!memory.ok()) return granted.set_value(memory.status());
    MemoryClient client(loop_, *std::move(memory));
    TaskGroup tasks;
    tasks.Spawn(Grant(client, user.get(), std::move(granted)));
    loop_.Run();
  }
  void Stop() { loop_.Stop(); }

 private:
  Task<void> Grant(MemoryClient& client, Address user,
                   std::promise<absl::StatusOr<Granted>> granted) {
    const auto region = client.memory().Allocate(kRegionBytes);
    const auto peer = client.memory().Resolve(user);
    if (!region.ok() || !peer.ok()) {
      granted.set_value(region.ok() ? peer.status() : region.status());
      co_return;
    }
    const auto key = co_await client.Grant(
        *peer, *region, 0, kRegionBytes,
        MemoryAccess::kRead | MemoryAccess::kWrite | MemoryAccess::kAtomic, kStartTimeout);
    if (key.ok()) {
      granted.set_value(Granted{client.memory().local_address(), *key});
    } else {
      granted.set_value(key.status());
    }
  }

  Transport& transport_;
  const std::string address_;
  Loop loop_{{.mode = LoopMode::kBusy}, RealClock()};
};

class User {
 public:
  User(MemoryClient& client, Kind kind, size_t bytes, int outstanding)
      : client_(client),
        clock_(client.loop().clock()),
        kind_(kind),
        bytes_(std::min(bytes, client.memory().capabilities().max_operation_bytes)),
        outstanding_(outstanding) {}

  // `granted` is waited for while the loop runs, as a connection is made meanwhile.
  Task<void> Run(std::future<absl::StatusOr<Granted>> granted, absl::Duration duration) {
    while (granted.wait_for(std::chrono::seconds(0)) != std::future_status::ready) {
      co_await client_.loop().Sleep(absl::Microseconds(100));
    }
    const absl::StatusOr<Granted> what = granted.get();
    status_ = what.status();
    if (status_.ok()) Prepare(*what);
    if (status_.ok()) co_await OperateFor(duration / 10);
    latency_.emplace();
    if (status_.ok()) co_await OperateFor(duration);
    client_.loop().Stop();
  }

  absl::StatusOr<MemoryResult> Result() const {
    if (!status_.ok()) return status_;
    return MemoryResult{.p50_us = static_cast<double>(latency_->Snapshot().Percentile(50)) / 1e3,
                        .bytes_per_s = static_cast<double>(operations_ * bytes_) * 1e9 /
                                       static_cast<double>(last_ns_ - begin_ns_)};
  }

 private:
  void Prepare(const Granted& granted) {
    key_ = granted.key;
    const auto peer = client_.memory().Resolve(granted.owner);
    const auto region = client_.memory().Allocate(bytes_ * static_cast<size_t>(outstanding_));
    status_ = peer.status();
    status_.Update(region.status());
    if (!status_.ok()) return;
    peer_ = *peer;
    room_ = region->bytes;
  }

  Task<void> OperateFor(absl::Duration duration) {
    operations_ = 0;
    begin_ns_ = clock_.NowNs();
    end_ns_ = begin_ns_ + absl::ToInt64Nanoseconds(duration);
    for (int i = 0; i < outstanding_; ++i) tasks_.Spawn(OperateInTurn(static_cast<size_t>(i)));
    while (tasks_.size() > 0) co_await client_.loop().Sleep(absl::Microseconds(200));
    last_ns_ = clock_.NowNs();
  }

  Task<void> OperateInTurn(size_t number) {
    const absl::Span<uint8_t> local = room_.subspan(number * bytes_, bytes_);
    // Through all of the region, so that no cache holds what long operations move.
    uint64_t offset = number * bytes_ % (kRegionBytes - bytes_ + 1) / 8 * 8;
    int64_t now_ns = clock_.NowNs();
    do {
      const int64_t posted_ns = now_ns;
      status_.Update(co_await Operate(offset, local));
      now_ns = clock_.NowNs();
      if (!status_.ok()) co_return;
      ++operations_;
      if (latency_.has_value()) latency_->Record(now_ns - posted_ns);
      offset += bytes_ / 8 * 8;
      if (offset + bytes_ > kRegionBytes) offset = 0;
    } while (now_ns < end_ns_);
  }

  Task<absl::Status> Operate(uint64_t offset, absl::Span<uint8_t> local) {
    switch (kind_) {
      case Kind::kRead:
        co_return co_await client_.Read(peer_, key_, offset, local);
      case Kind::kWrite:
        co_return co_await client_.Write(peer_, key_, offset, local);
      case Kind::kCompareSwap:
        co_return (co_await client_.CompareSwap(peer_, key_, offset, 0, 0)).status();
      case Kind::kFetchAdd:
        co_return (co_await client_.FetchAdd(peer_, key_, offset, 1)).status();
    }
    co_return absl::InternalError("no such operation");
  }

  MemoryClient& client_;
  const Clock& clock_;
  const Kind kind_;
  const size_t bytes_;
  const int outstanding_;
  RemoteKey key_;
  ::weft::Peer peer_;
  absl::Span<uint8_t> room_;
  absl::Status status_;
  std::optional<Histogram> latency_;  // none while it warms up
  uint64_t operations_ = 0;
  int64_t begin_ns_ = 0;
  int64_t end_ns_ = 0;
  int64_t last_ns_ = 0;
  TaskGroup tasks_;
};

struct Settings {
  MemoryWorkload workload;
  RpcOptions options;
};

// Opens the user's port and measures, while the owner runs on a thread of its own.
absl::StatusOr<MemoryResult> UseMemory(Transport& transport, const Settings& settings,
                                       std::promise<Address> user_address,
                                       std::future<absl::StatusOr<Granted>> granted) {
  const MemoryWorkload& workload = settings.workload;
  auto memory = Open(transport, workload.user_address);
  user_address.set_value(memory.ok() ? (*memory)->local_address() : Address());
  if (!memory.ok()) return memory.status();
  Loop loop({.mode = LoopMode::kBusy}, RealClock());
  MemoryClient client(loop, *std::move(memory));
  User user(client, workload.kind, workload.bytes, workload.outstanding);
  TaskGroup tasks;
  tasks.Spawn(user.Run(std::move(granted), settings.options.duration));
  loop.Run();
  return user.Result();
}

// Arguments: those of Settings, in the order of MeasureMemory(). Reports the fields of
// MemoryResult.
absl::Status Run(Peer& peer) {
  Settings settings;
  settings.workload = {.transport = peer.arguments()[0],
                       .owner_address = peer.arguments()[1],
                       .user_address = peer.arguments()[2],
                       .kind = static_cast<Kind>(peer.Number(3)),
                       .bytes = static_cast<size_t>(peer.Number(4)),
                       .outstanding = static_cast<int>(peer.Number(5))};
  settings.options.server_core = static_cast<int>(peer.Number(6));
  settings.options.duration = absl::Nanoseconds(peer.Number(7));
  config::Transport config;
  config.set_name(settings.workload.transport);
  auto transport = OpenTransport(config);
  if (!transport.ok()) return transport.status();

  std::promise<Address> user_address;
  std::promise<absl::StatusOr<Granted>> grant;
  std::future<absl::StatusOr<Granted>> granted = grant.get_future();
  Owner owner(**transport, settings.workload.owner_address);
  std::thread thread([&owner, &settings, user = user_address.get_future().share(),
                      grant = std::move(grant)]() mutable {
    owner.Run(settings.options.server_core, std::move(user), std::move(grant));
  });
  const absl::StatusOr<MemoryResult> result =
      UseMemory(**transport, settings, std::move(user_address), std::move(granted));
  owner.Stop();
  thread.join();
  if (!result.ok()) return result.status();
  peer.Report(result->p50_us);
  peer.Report(result->bytes_per_s);
  return absl::OkStatus();
}

constexpr PeerRole kRoles[] = {{"remote-memory", &Run}};

}  // namespace

absl::StatusOr<MemoryResult> MeasureMemory(const MemoryWorkload& workload,
                                           const RpcOptions& options) {
  if (absl::Status here = TransportIsHere(workload.transport); !here.ok()) return here;
  auto process = PeerProcess::Start(
      {.role = "remote-memory",
       .core = options.client_core,
       .arguments = {workload.transport, workload.owner_address, workload.user_address,
                     absl::StrCat(static_cast<int>(workload.kind)), absl::StrCat(workload.bytes),
                     absl::StrCat(workload.outstanding), absl::StrCat(options.server_core),
                     absl::StrCat(absl::ToInt64Nanoseconds(options.duration))},
       .lifetime = options.duration + 3 * kStartTimeout});
  if (!process.ok()) return process.status();
  MemoryResult result;
  for (double* value : {&result.p50_us, &result.bytes_per_s}) {
    absl::StatusOr<double> report = (*process)->AwaitReport(options.duration + 2 * kStartTimeout);
    if (!report.ok()) return report.status();
    *value = *report;
  }
  return result;
}

absl::Span<const PeerRole> MemoryRoles() { return kRoles; }

}  // namespace weft::benchmarks
