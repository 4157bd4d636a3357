// SPDX-License-Identifier: Apache-2.0
#include "weft/rpc/rdma_fixture.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <iostream>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/time/clock.h"
#include "google/protobuf/text_format.h"
#include "weft/config/config.h"
#include "weft/transports/registry.h"

namespace weft::rpc {
namespace {

// An emulated machine has its own idea of time.
constexpr absl::Duration kPatience = absl::Seconds(40);

absl::Span<const uint8_t> Bytes(const std::string& text) {
  return {reinterpret_cast<const uint8_t*>(text.data()), text.size()};
}

// Queue pairs, completion queues, memory regions and the like that the kernel has for anybody. On
// a machine of others, nothing.
std::string ObjectsOfDevices() {
  if (std::getenv("WEFT_RDMA_NETWORK") == nullptr) return "";
  std::string text;
  FILE* const pipe = popen("rdma resource show 2>&1", "r");
  char part[256];
  while (std::fgets(part, sizeof(part), pipe) != nullptr) text += part;
  pclose(pipe);
  return text;
}

}  // namespace

std::string RequestOf(size_t bytes, uint32_t seed, char what) {
  std::string text(bytes, what);
  for (size_t i = 1; i < bytes; ++i) text[i] = static_cast<char>(i * 31 + (i >> 8) + seed);
  return text;
}

absl::StatusOr<std::unique_ptr<Transport>> OpenRdma(const std::string& settings) {
  config::Transport config;
  // Not as much memory as by default, which takes an emulated machine long to pin.
  const std::string text =
      absl::StrCat("name: 'rdma' rdma { send_slots: 128 bulk_count: 16 ", settings,
                   settings.find("receive_slots") == std::string::npos ? " receive_slots: 512" : "",
                   " } buffers { count: 1536 }");
  if (!google::protobuf::TextFormat::ParseFromString(text, &config)) {
    return absl::InvalidArgumentError(text);
  }
  return OpenPlainTransport(config);
}

int RunEchoServer(const std::string& address) {
  Loop loop({.mode = LoopMode::kBusy}, RealClock());
  auto transport = OpenRdma();
  if (!transport.ok()) return std::fprintf(stderr, "%s\n", transport.status().ToString().c_str());
  auto port = (*transport)->OpenDatagramPort({.local = Address::Parse(address).value()});
  if (!port.ok()) return std::fprintf(stderr, "%s\n", port.status().ToString().c_str());
  auto server =
      Server::Create(loop, *std::move(port), {.security = Plaintext()},
                     [](ServerCall call) { (void)call.Reply(std::move(call.request())); });
  if (!server.ok()) return std::fprintf(stderr, "%s\n", server.status().ToString().c_str());
  std::puts("ready");
  std::fflush(stdout);
  loop.Run();
  return 0;
}

ServerProcess::ServerProcess(const std::string& address) {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) std::abort();
  pid_ = fork();
  if (pid_ == 0) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    dup2(ends[1], STDOUT_FILENO);
    execl("/proc/self/exe", "server", "--server", address.c_str(), nullptr);
    _exit(127);
  }
  close(ends[1]);
  char ready[6];
  EXPECT_EQ(read(ends[0], ready, sizeof(ready)), 6) << "the server does not start";
  close(ends[0]);
}

void ServerProcess::Kill() {
  if (pid_ <= 0) return;
  kill(pid_, SIGKILL);
  waitpid(pid_, nullptr, 0);
  pid_ = -1;
}

void RdmaRpcTest::SetUp() {
  const char* const given = std::getenv("WEFT_RDMA_ADDRESSES");
  if (given == nullptr) GTEST_SKIP() << "WEFT_RDMA_ADDRESSES names no devices to test";
  const std::vector<std::string> ends = absl::StrSplit(given, ' ');
  ASSERT_EQ(ends.size(), 2u);
  near_ = ends[0];
  far_ = ends[1];
  objects_ = ObjectsOfDevices();
}

void RdmaRpcTest::TearDown() {
  if (network_changed_) Network("mend");
  for (const auto& client : clients_) EXPECT_EQ(client->outstanding(), 0u);
  if (HasFailure()) {
    for (const auto& [text, count] : texts_) std::cout << count << " ended: " << text << "\n";
  }
  clients_.clear();
  server_.reset();
  behind_.reset();
  transports_.clear();
  // The kernel has its own time for them.
  const absl::Time end = absl::Now() + kPatience;
  while (ObjectsOfDevices() != objects_ && absl::Now() < end)
    absl::SleepFor(absl::Milliseconds(50));
  EXPECT_EQ(ObjectsOfDevices(), objects_);
}

std::unique_ptr<Server> RdmaRpcTest::MakeServer(Loop& loop, const std::string& settings,
                                                const std::string& address) {
  auto transport = OpenRdma(settings);
  EXPECT_TRUE(transport.ok()) << transport.status();
  if (!transport.ok()) return nullptr;
  transports_.push_back(*std::move(transport));
  auto port = transports_.back()->OpenDatagramPort(
      {.local = Address::Parse(address.empty() ? far_address() : address).value()});
  EXPECT_TRUE(port.ok()) << port.status();
  if (!port.ok()) return nullptr;
  auto server = Server::Create(
      loop, *std::move(port), {.security = Plaintext()}, [this](ServerCall call) -> Task<void> {
        const std::string request = call.request().ToString();
        const char what = request.empty() ? kEcho : request[0];
        if (what == kAbandon) co_return;
        if (what == kForward && &call.loop() == &server_loop_) {
          auto reply = co_await to_behind_->Call(behind_peer_, Bytes(request),
                                                 {.deadline_ns = call.deadline_ns()});
          if (reply.ok()) (void)call.Reply(*std::move(reply));
        } else {
          (void)call.Reply(std::move(call.request()));
        }
      });
  EXPECT_TRUE(server.ok()) << server.status();
  return server.ok() ? *std::move(server) : nullptr;
}

Client& RdmaRpcTest::AddClient(Loop& loop, ClientOptions options) {
  options.security = Plaintext();
  // An emulated machine may take longer to say so than the client waits before it does without.
  options.wire = Wire::kExtended;
  auto transport = OpenRdma();
  EXPECT_TRUE(transport.ok()) << transport.status();
  transports_.push_back(*std::move(transport));
  auto port = transports_.back()->OpenDatagramPort({.local = Address::Parse(near_ + ":0").value()});
  EXPECT_TRUE(port.ok()) << port.status();
  clients_.push_back(*Client::Create(loop, *std::move(port), options));
  return *clients_.back();
}

void RdmaRpcTest::Begin(Client& client, const Target& server, size_t bytes, char what,
                        absl::Duration timeout) {
  std::string request = RequestOf(bytes, ++seed_, what);
  Payload payload = Payload::Copy(Bytes(request));
  if (Buffer buffer = client.Allocate(bytes)) {
    if (bytes > 0) std::memcpy(buffer.Append(bytes), request.data(), bytes);
    payload = std::move(buffer);
  }
  BeginWith(client, server, std::move(payload), std::move(request), timeout);
}

void RdmaRpcTest::BeginWith(Client& client, const Target& server, Payload payload,
                            std::string expected, absl::Duration timeout) {
  ++pending_;
  const auto on_end = [this, expected = std::move(expected)](absl::StatusOr<BufferChain> reply) {
    --pending_;
    CountEnd(reply.status());
    if (!reply.ok()) return;
    EXPECT_TRUE(reply->ToString() == expected) << expected.size() << " bytes";
  };
  const auto id = client.Call(server, std::move(payload), on_end, {.timeout = timeout});
  if (id.ok()) return;
  --pending_;
  CountEnd(id.status());
}

void RdmaRpcTest::CountEnd(const absl::Status& status) {
  ++ended_[status.code()];
  ++texts_[status.ToString()];
}

bool RdmaRpcTest::RunUntil(const std::function<bool()>& done) {
  const absl::Time end = absl::Now() + kPatience;
  while (!done()) {
    if (absl::Now() > end) return false;
    loop_.RunOnce();
    if (run_server_loop_) server_loop_.RunOnce();
  }
  return true;
}

bool RdmaRpcTest::ComesBack(Client& client, const Target& server) {
  const absl::Time end = absl::Now() + kPatience;
  while (absl::Now() < end) {
    const size_t before = ended(absl::StatusCode::kOk);
    Begin(client, server, 100, kEcho, absl::Seconds(2));
    if (!RunUntilEnded()) return false;
    if (ended(absl::StatusCode::kOk) > before) return true;
  }
  return false;
}

bool RdmaRpcTest::OwnsNetwork() { return std::getenv("WEFT_RDMA_NETWORK") != nullptr; }

void RdmaRpcTest::Network(const std::string& command) {
  const std::string line = absl::StrCat(std::getenv("WEFT_RDMA_NETWORK"), " ", command);
  EXPECT_EQ(std::system(line.c_str()), 0) << line;
  network_changed_ = true;
}

}  // namespace weft::rpc
