// SPDX-License-Identifier: Apache-2.0
#include "weft/tcp/tcp_transport.h"

#include <random>
#include <utility>

#include "absl/strings/str_cat.h"
#include "weft/tcp/congestion/congestion_control.h"
#include "weft/tcp/tcp_port.h"

namespace weft::tcp {
namespace {

uint64_t Secret() {
  std::random_device device;
  return uint64_t{device()} << 32 | device();
}

}  // namespace

absl::StatusOr<std::unique_ptr<TcpTransport>> TcpTransport::Open(
    std::unique_ptr<netstack::NetstackTransport> netstack, const config::Tcp& config) {
  auto options = Options::From(config);
  if (!options.ok()) return options.status();
  if (const auto found = FindCongestionAlgorithm(options->congestion_control); !found.ok()) {
    return absl::InvalidArgumentError(
        absl::StrCat("tcp.congestion_control: ", found.status().message()));
  }
  // A simulation is the same each time.
  const uint64_t secret = netstack->virtual_time() != nullptr ? 0 : Secret();
  return std::unique_ptr<TcpTransport>(
      new TcpTransport(std::move(netstack), *std::move(options), secret));
}

TcpTransport::TcpTransport(std::unique_ptr<netstack::NetstackTransport> netstack,
                           const Options& options, uint64_t secret)
    : netstack_(std::move(netstack)),
      options_(options),
      secret_(secret),
      capabilities_(netstack_->capabilities()) {
  capabilities_.streams = true;
}

absl::StatusOr<std::unique_ptr<StreamPort>> TcpTransport::OpenStreamPort(
    const PortOptions& options) {
  if (options.queues < 1 || options.queue < 0 || options.queue >= options.queues) {
    return absl::InvalidArgumentError(
        absl::StrCat("queue ", options.queue, " of ", options.queues, " does not exist"));
  }
  auto endpoint = OpenEndpoint();
  if (!endpoint.ok()) return endpoint.status();
  return TcpPort::Open(*std::move(endpoint), options, capabilities_);
}

absl::StatusOr<std::shared_ptr<Endpoint>> TcpTransport::OpenEndpoint() {
  if (auto endpoint = EndpointOfThisThread(); endpoint != nullptr) return endpoint;
  auto stack = netstack_->OpenStack();
  if (!stack.ok()) return stack.status();
  const auto queue = static_cast<size_t>((*stack)->queue());
  const std::lock_guard<std::mutex> lock(mutex_);
  if (queues_.size() <= queue) queues_.resize(queue + 1);
  OfQueue& here = queues_[queue];
  if (here.stats == nullptr) here.stats = std::make_unique<TcpStats>();
  auto endpoint = Endpoint::Open(*std::move(stack), options_, secret_, here.stats.get());
  if (endpoint.ok()) here.endpoint = *endpoint;
  return endpoint;
}

std::shared_ptr<Endpoint> TcpTransport::EndpointOfThisThread() {
  const std::shared_ptr<netstack::Stack> stack = netstack_->StackOfThisThread();
  if (stack == nullptr) return nullptr;
  const auto queue = static_cast<size_t>(stack->queue());
  const std::lock_guard<std::mutex> lock(mutex_);
  return queue < queues_.size() ? queues_[queue].endpoint.lock() : nullptr;
}

const TcpStats* TcpTransport::StatsOfThisThread() {
  const std::shared_ptr<Endpoint> endpoint = EndpointOfThisThread();
  return endpoint == nullptr ? nullptr : &endpoint->engine().stats();
}

}  // namespace weft::tcp
