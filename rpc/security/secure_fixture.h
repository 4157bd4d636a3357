// SPDX-License-Identifier: Apache-2.0
//
// What tests of protected ports share: key files, and ports over a simulated network that are
// polled as a program would.
#ifndef WEFT_RPC_SECURITY_SECURE_FIXTURE_H_
#define WEFT_RPC_SECURITY_SECURE_FIXTURE_H_

#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "weft/core/loop.h"
#include "weft/core/virtual_time.h"
#include "weft/rpc/security/secure_port.h"
#include "weft/rpc/security/secure_wire.h"
#include "weft/rpc/security/security.h"
#include "weft/transports/sim/network.h"
#include "weft/transports/sim/sim_transport.h"

namespace weft::rpc {

// Files in a directory that goes with the object.
class TestFiles {
 public:
  TestFiles() {
    std::string name = testing::TempDir() + "/secure-XXXXXX";
    directory_ = mkdtemp(name.data());
  }
  ~TestFiles() { std::filesystem::remove_all(directory_); }

  const std::string& directory() const { return directory_; }
  std::string Path(const std::string& name) const { return directory_ + "/" + name; }
  std::string Write(const std::string& name, const std::string& text) const {
    std::ofstream(Path(name), std::ios::trunc) << text;
    return Path(name);
  }

 private:
  std::string directory_;
};

// 64 hexadecimal digits.
inline std::string TestKey(char digit) { return std::string(64, digit); }

inline config::Security PskConfig(const TestFiles& files, const std::string& identity,
                                  const std::string& key, const std::string& peers = "") {
  config::Security config;
  if (!identity.empty()) {
    config.mutable_psk()->set_identity(identity);
    config.mutable_psk()->set_key_file(files.Write(identity + ".key", key + "\n"));
  }
  if (!peers.empty()) config.mutable_psk()->set_peers_file(files.Write("peers", peers));
  return config;
}

inline config::Security X509Config(const TestFiles& files, const std::string& name) {
  config::Security config;
  config.mutable_x509()->set_certificate_file(files.Path(name + ".pem"));
  config.mutable_x509()->set_private_key_file(files.Path(name + ".key"));
  config.mutable_x509()->set_ca_file(files.Path("ca.pem"));
  return config;
}

inline std::shared_ptr<const Security> MustOpen(const config::Security& config) {
  auto security = Security::Open(config);
  EXPECT_TRUE(security.ok()) << security.status();
  return security.ok() ? *std::move(security) : nullptr;
}

// A port whose messages and events are kept.
class TestEnd : public Pollable {
 public:
  struct Message {
    Peer peer;
    std::string text;
    std::string identity;
  };

  TestEnd(Loop& loop, std::unique_ptr<DatagramPort> port) : loop_(loop), port_(std::move(port)) {
    loop_.Add(this);
  }
  ~TestEnd() override { loop_.Remove(this); }

  DatagramPort& port() { return *port_; }
  const SecureStats& counts() const { return *SecurePort::StatsOf(*port_); }
  uint64_t failed(Failure failure) const {
    return counts().handshakes_failed[static_cast<size_t>(failure)];
  }

  bool Send(const Peer& to, const std::string& text) {
    Datagram burst[] = {{to, port_->pool().Allocate()}};
    if (!text.empty()) std::memcpy(burst[0].buffer.Append(text.size()), text.data(), text.size());
    return port_->Send(absl::MakeSpan(burst)) == 1;
  }

  size_t Poll() override {
    PortEvent events[8];
    const size_t event_count = port_->TakeEvents(absl::MakeSpan(events));
    this->events.insert(this->events.end(), events, events + event_count);
    Datagram burst[16];
    const size_t n = port_->Receive(absl::MakeSpan(burst));
    for (const Datagram& datagram : absl::MakeSpan(burst).first(n)) {
      const auto bytes = datagram.buffer.bytes();
      messages.push_back({datagram.peer, std::string(bytes.begin(), bytes.end()),
                          std::string(port_->IdentityOf(datagram.peer))});
      if (on_message) on_message(messages.back());
    }
    return n + event_count;
  }
  int wait_fd() const override { return port_->wait_fd(); }
  bool Arm() override { return port_->Arm(); }
  void Disarm() override { port_->Disarm(); }

  std::vector<Message> messages;
  std::vector<PortEvent> events;
  std::function<void(const Message&)> on_message;

 private:
  Loop& loop_;
  std::unique_ptr<DatagramPort> port_;
};

class SecureTest : public testing::Test {
 protected:
  explicit SecureTest(uint64_t seed = 1, const sim::LinkOptions& link = {})
      : network_(seed, link) {}

  std::unique_ptr<DatagramPort> OpenPlain(const std::string& name) {
    auto port = transport_->OpenDatagramPort({.local = Address::Sim(name)});
    EXPECT_TRUE(port.ok()) << port.status();
    return *std::move(port);
  }
  std::unique_ptr<TestEnd> Open(const std::string& name, Role role,
                                const config::Security& config) {
    return OpenWith(name, role, MustOpen(config));
  }
  std::unique_ptr<TestEnd> OpenWith(const std::string& name, Role role,
                                    const std::shared_ptr<const Security>& security) {
    auto port = security->Protect(loop_, OpenPlain(name), role);
    EXPECT_TRUE(port.ok()) << port.status();
    return std::make_unique<TestEnd>(loop_, *std::move(port));
  }

  // Runs until `done`, or for so long.
  bool RunUntil(const std::function<bool()>& done, int64_t for_ns = 60'000'000'000) {
    return RunVirtual(network_, {&loop_}, done, network_.NowNs() + for_ns);
  }
  void RunFor(int64_t ns) {
    RunUntilOrFor([] { return false; }, ns);
  }
  // Runs until `done`, or until so much time has passed, even if nothing happens in it.
  void RunUntilOrFor(const std::function<bool()>& done, int64_t ns) {
    bool over = false;
    Timer timer([](void* flag, int64_t) { *static_cast<bool*>(flag) = true; }, &over);
    loop_.timers().Schedule(timer, network_.NowNs() + ns);
    RunVirtual(network_, {&loop_}, [&] { return over || done(); });
  }
  // Sends until it arrives; the message as the other side has it.
  TestEnd::Message Deliver(TestEnd& from, const Peer& to, TestEnd& at, const std::string& text) {
    const size_t before = at.messages.size();
    for (int tries = 0; tries < 50 && at.messages.size() == before; ++tries) {
      from.Send(to, text);
      RunUntilOrFor([&] { return at.messages.size() > before; }, 100'000'000);
    }
    EXPECT_GT(at.messages.size(), before);
    return at.messages.size() > before ? at.messages[before] : TestEnd::Message();
  }

  sim::Network network_;
  std::unique_ptr<Transport> transport_ = sim::OpenTransport(&network_);
  Loop loop_{{.mode = LoopMode::kBusy}, network_};
  TestFiles files_;
};

}  // namespace weft::rpc

#endif  // WEFT_RPC_SECURITY_SECURE_FIXTURE_H_
