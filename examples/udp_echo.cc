// SPDX-License-Identifier: Apache-2.0
//
// Plain UDP without RPC: sends each datagram back to where it came from, over whatever transport
// the configuration names. With weft's own stack, or the kernel's, any UDP client talks to it.
//
//   udp_echo --listen 127.0.0.1:7007      and then:  nc -u 127.0.0.1 7007
//   udp_echo --config examples/configs/tap-server.textproto

#include <array>
#include <cstdio>
#include <memory>
#include <string>
#include <utility>

#include "absl/flags/flag.h"
#include "absl/flags/parse.h"
#include "absl/flags/usage.h"
#include "absl/status/status.h"
#include "absl/types/span.h"
#include "weft/config/flags.h"
#include "weft/host/host.h"
#include "weft/host/network.h"

ABSL_FLAG(std::string, listen, "",
          "address to listen at; without it, the configuration's rpc.listen, or else port 7000 of "
          "127.0.0.1 or of the first of netstack.addresses or, over shared memory, shm:echo");

namespace {

// A worker's port with what it does. The loop calls Poll() as long as there is work, and sleeps on
// the port's descriptor when there is none.
class Echo : public weft::Pollable {
 public:
  Echo(weft::Worker& worker, std::unique_ptr<weft::DatagramPort> port)
      : worker_(worker), port_(std::move(port)) {
    worker_.loop().Add(this);
  }
  ~Echo() override { worker_.loop().Remove(this); }

  const weft::DatagramPort& port() const { return *port_; }

  size_t Poll() override {
    // What the device had no room for goes first: until then, no more is received.
    if (begin_ == end_) {
      begin_ = 0;
      end_ = port_->Receive(absl::MakeSpan(burst_));
    }
    if (begin_ == end_) {
      if (!port_->status().ok()) worker_.Stop(port_->status());
      return 0;
    }
    // A datagram keeps the peer that it came from: sent again, it goes back there.
    const size_t sent = port_->Send(absl::MakeSpan(burst_).subspan(begin_, end_ - begin_));
    begin_ += sent;
    return sent;
  }
  int wait_fd() const override { return port_->wait_fd(); }
  bool Arm() override { return begin_ == end_ && port_->Arm(); }
  void Disarm() override { port_->Disarm(); }

 private:
  weft::Worker& worker_;
  const std::unique_ptr<weft::DatagramPort> port_;
  std::array<weft::Datagram, 32> burst_;
  size_t begin_ = 0;  // of burst_, what is still to be sent
  size_t end_ = 0;
};

std::string ListenAddress(const weft::config::Config& config) {
  if (std::string flag = absl::GetFlag(FLAGS_listen); !flag.empty()) return flag;
  return config.rpc().listen().empty() ? weft::DefaultAddress(config) : config.rpc().listen();
}

absl::StatusOr<std::shared_ptr<void>> Serve(weft::Worker& worker) {
  auto address = weft::Address::Parse(ListenAddress(worker.config()));
  if (!address.ok()) return address.status();
  auto port = worker.OpenDatagramPort(*address);
  if (!port.ok()) return port.status();
  auto echo = std::make_shared<Echo>(worker, *std::move(port));
  worker.Show(echo->port());
  std::printf("listening on %s (%s)\n", echo->port().local_address().ToString().c_str(),
              worker.config().transport().name().c_str());
  std::fflush(stdout);
  return echo;
}

absl::Status Run() {
  auto config = weft::config::FromFlags();
  if (!config.ok()) return config.status();
  auto host = weft::Host::Open(*config);
  if (!host.ok()) return host.status();
  if ((*host)->transport().virtual_time() != nullptr) {
    return absl::InvalidArgumentError("a simulated network lives within one process");
  }
  return (*host)->Run(&Serve);  // until SIGINT or SIGTERM
}

}  // namespace

int main(int argc, char** argv) {
  absl::SetProgramUsageMessage("Sends each datagram back to where it came from.");
  absl::ParseCommandLine(argc, argv);
  const absl::Status status = Run();
  if (status.ok()) return 0;
  std::fprintf(stderr, "udp_echo: %s\n", std::string(status.message()).c_str());
  return 1;
}
