// SPDX-License-Identifier: Apache-2.0
//
// In steady state, a request and its reply allocate no memory and take no lock, neither in this
// project's code nor in what it calls. (A simulated network is no data path.) "dpdk" is weft's own
// network stack over net_vhost and net_virtio_user.

#include <dlfcn.h>
#include <pthread.h>

#include <array>
#include <cerrno>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <mutex>
#include <string>
#include <tuple>
#include <utility>

#include "absl/functional/function_ref.h"
#include "gtest/gtest.h"
#include "weft/core/clock.h"
#include "weft/core/loop.h"
#include "weft/core/task.h"
#include "weft/core/task_group.h"
#include "weft/core/temp_directory.h"
#include "weft/netstack/netstack_transport.h"
#include "weft/rpc/client.h"
#include "weft/rpc/load_generator.h"
#include "weft/rpc/server.h"
#include "weft/transports/registry.h"

namespace {

thread_local int64_t allocations = 0;
thread_local int64_t locks = 0;

template <typename F>
F* Real(const char* name) {
  return reinterpret_cast<F*>(dlsym(RTLD_NEXT, name));
}

}  // namespace

// The C library lets a program replace these; operator new calls them. Its own remain reachable
// under other names.
extern "C" {
// NOLINTBEGIN(bugprone-reserved-identifier)
void* __libc_malloc(size_t size);
void* __libc_calloc(size_t count, size_t size);
void* __libc_realloc(void* memory, size_t size);
void* __libc_memalign(size_t alignment, size_t size);
// NOLINTEND(bugprone-reserved-identifier)

void* malloc(size_t size) {
  ++allocations;
  return __libc_malloc(size);
}
void* calloc(size_t count, size_t size) {
  ++allocations;
  return __libc_calloc(count, size);
}
void* realloc(void* memory, size_t size) {
  ++allocations;
  return __libc_realloc(memory, size);
}
void* aligned_alloc(size_t alignment, size_t size) {
  ++allocations;
  return __libc_memalign(alignment, size);
}
int posix_memalign(void** memory, size_t alignment, size_t size) {
  ++allocations;
  *memory = __libc_memalign(alignment, size);
  return *memory != nullptr ? 0 : ENOMEM;
}
int pthread_mutex_lock(pthread_mutex_t* mutex) {
  ++locks;
  static auto* const real = Real<int(pthread_mutex_t*)>("pthread_mutex_lock");
  return real(mutex);
}
int pthread_rwlock_rdlock(pthread_rwlock_t* lock) {
  ++locks;
  static auto* const real = Real<int(pthread_rwlock_t*)>("pthread_rwlock_rdlock");
  return real(lock);
}
int pthread_rwlock_wrlock(pthread_rwlock_t* lock) {
  ++locks;
  static auto* const real = Real<int(pthread_rwlock_t*)>("pthread_rwlock_wrlock");
  return real(lock);
}
}  // extern "C"

namespace weft::rpc {
namespace {

constexpr uint64_t kWarmUpReplies = 5000;
constexpr uint64_t kReplies = 5000;
constexpr int kAttempts = 5;

class AllocationTest : public testing::TestWithParam<std::tuple<std::string, Wire>> {
 protected:
  // A client and, behind `handler`, a server, both run by this thread.
  template <typename F>
  void Open(F handler) {
    ASSERT_NO_FATAL_FAILURE(OpenTransports());

    server_loop_ = std::make_unique<Loop>(LoopOptions{}, RealClock());
    client_loop_ = std::make_unique<Loop>(LoopOptions{}, RealClock());
    auto server_port = server_transport_->OpenDatagramPort({.local = ListenAddress()});
    ASSERT_TRUE(server_port.ok()) << server_port.status();
    auto server = Server::Create(*server_loop_, *std::move(server_port), {.security = Plaintext()},
                                 std::move(handler));
    ASSERT_TRUE(server.ok()) << server.status();
    server_ = *std::move(server);
    auto client_port = client_transport()->OpenDatagramPort({});
    ASSERT_TRUE(client_port.ok()) << client_port.status();
    // A stalled machine must not make a call fail.
    auto client = Client::Create(
        *client_loop_, *std::move(client_port),
        {.timeout = absl::Seconds(60), .wire = std::get<1>(GetParam()), .security = Plaintext()});
    ASSERT_TRUE(client.ok()) << client.status();
    client_ = *std::move(client);
    auto peer = client_->Resolve(server_->port().local_address());
    ASSERT_TRUE(peer.ok()) << peer.status();
    peer_ = *peer;
    AwaitServer();
  }

  static const std::string& transport_name() { return std::get<0>(GetParam()); }

  void OpenTransports() {
    if (transport_name() == "dpdk") {
      const std::string socket = directory_.path() + "/wire";
      OpenNetstack("net_vhost0,iface=" + socket, "10.0.0.1/24", &server_transport_);
      OpenNetstack("net_virtio_user0,path=" + socket, "10.0.0.2/24", &own_client_transport_);
      return;
    }
    config::Transport config;
    config.set_name(transport_name());
    if (transport_name() == "shm") config.mutable_shm()->set_directory(directory_.path());
    auto transport = OpenPlainTransport(config);
    ASSERT_TRUE(transport.ok()) << transport.status();
    server_transport_ = *std::move(transport);
  }

  static void OpenNetstack(const std::string& device, const std::string& address,
                           std::unique_ptr<Transport>* opened) {
    config::Transport config;
    config.set_name("dpdk");
    config.mutable_dpdk()->add_virtual_devices(device);
    config.mutable_dpdk()->set_huge_pages(config::Dpdk::NEVER);
    config.mutable_dpdk()->set_memory_mb(64);
    auto frames = OpenPlainTransport(config);
    ASSERT_TRUE(frames.ok()) << frames.status();
    config::Netstack netstack;
    netstack.add_addresses(address);
    auto transport = netstack::NetstackTransport::Open(*std::move(frames), netstack, 1);
    ASSERT_TRUE(transport.ok()) << transport.status();
    *opened = *std::move(transport);
  }

  Transport* client_transport() {
    return own_client_transport_ != nullptr ? own_client_transport_.get() : server_transport_.get();
  }

  // Until the two ends have met, requests are lost.
  void AwaitServer() {
    const std::array<uint8_t, 64> request = {};
    bool answered = false;
    while (!answered) {
      bool ended = false;
      const auto on_end = [&](absl::StatusOr<BufferChain> reply) {
        answered = reply.ok();
        ended = true;
      };
      ASSERT_TRUE(client_->Call(peer_, request, on_end, {.timeout = absl::Milliseconds(100)}).ok());
      RunUntil([&] { return ended; });
    }
  }

  void TearDown() override {
    client_.reset();
    server_.reset();
    own_client_transport_.reset();
    server_transport_.reset();
  }

  Address ListenAddress() const {
    if (transport_name() == "dpdk") return Address::Ipv4({10, 0, 0, 1}, 7000);
    if (transport_name() == "shm") return Address::Shm("server");
    return Address::Ipv4({127, 0, 0, 1}, 0);
  }

  void RunUntil(absl::FunctionRef<bool()> done) {
    while (!done()) {
      server_loop_->RunOnce();
      client_loop_->RunOnce();
    }
  }

  // Runs until `replies` has grown by kReplies after the warm-up, and looks at what that took. When
  // the machine stalls, more is in flight for a while than ever before, and memory for that is
  // allocated once and kept: then the next kReplies count.
  void ExpectNoneInSteadyState(absl::FunctionRef<uint64_t()> replies) {
    RunUntil([&] { return replies() >= kWarmUpReplies; });
    int64_t allocated = 0;
    int64_t locked = 0;
    for (int attempt = 0; attempt < kAttempts; ++attempt) {
      const uint64_t replies_before = replies();
      const int64_t allocations_before = allocations;
      const int64_t locks_before = locks;
      RunUntil([&] { return replies() >= replies_before + kReplies; });
      allocated = allocations - allocations_before;
      locked = locks - locks_before;
      if (allocated == 0 && locked == 0) return;
    }
    EXPECT_EQ(allocated, 0);
    EXPECT_EQ(locked, 0);
  }

  const TempDirectory directory_;
  std::unique_ptr<Transport> server_transport_;
  std::unique_ptr<Transport> own_client_transport_;  // null: it is the server's
  std::unique_ptr<Loop> server_loop_;
  std::unique_ptr<Loop> client_loop_;
  std::unique_ptr<Server> server_;
  std::unique_ptr<Client> client_;
  Peer peer_;
};

TEST_P(AllocationTest, Callbacks) {
  ASSERT_NO_FATAL_FAILURE(
      Open([](ServerCall call) { (void)call.Reply(std::move(call.request())); }));
  LoadGenerator load(*client_, peer_, {.outstanding_max = 32});
  load.Start(nullptr);
  ExpectNoneInSteadyState([&] { return load.stats().replies; });
  EXPECT_EQ(load.stats().unanswered(), 0u);
  EXPECT_EQ(load.stats().different, 0u);
  EXPECT_EQ(server_->stats().sessions.value(), std::get<1>(GetParam()) == Wire::kExtended ? 1 : 0);
  client_.reset();
}

Task<void> Echo(ServerCall call) {
  co_await call.loop().Sleep(absl::ZeroDuration());
  (void)call.Reply(std::move(call.request()));
}

Task<BufferChain> CallOnce(Client& client, Peer server) {
  const std::array<uint8_t, 64> request = {};
  absl::StatusOr<BufferChain> reply = co_await client.Call(server, request);
  EXPECT_TRUE(reply.ok()) << reply.status();
  co_return *std::move(reply);
}

Task<void> CallForever(Client& client, Peer server, uint64_t* replies) {
  while (true) {
    const BufferChain reply = co_await CallOnce(client, server);
    *replies += reply.size() == 64;
  }
}

TEST_P(AllocationTest, Coroutines) {
  ASSERT_NO_FATAL_FAILURE(Open(&Echo));
  uint64_t replies = 0;
  TaskGroup tasks;
  for (int i = 0; i < 16; ++i) tasks.Spawn(CallForever(*client_, peer_, &replies));
  ExpectNoneInSteadyState([&] { return replies; });
}

// The counters count.
TEST(AllocationCounterTest, SeesAllocationsAndLocks) {
  const int64_t allocations_before = allocations;
  const int64_t locks_before = locks;
  const auto memory = std::make_unique<std::array<char, 100>>();
  std::mutex mutex;
  const std::lock_guard<std::mutex> lock(mutex);
  EXPECT_NE(memory, nullptr);
  EXPECT_GT(allocations, allocations_before);
  EXPECT_GT(locks, locks_before);
}

INSTANTIATE_TEST_SUITE_P(Transports, AllocationTest,
                         testing::Combine(testing::Values("linux", "shm", "dpdk"),
                                          testing::Values(Wire::kOriginal, Wire::kExtended)),
                         [](const auto& info) {
                           const bool extended = std::get<1>(info.param) == Wire::kExtended;
                           return std::get<0>(info.param) + (extended ? "_extended" : "_original");
                         });

}  // namespace
}  // namespace weft::rpc
