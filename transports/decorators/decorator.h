// SPDX-License-Identifier: Apache-2.0
//
// Ports that wrap ports: everything passes through as it is. A decorator derives from one of them
// and overrides what it changes.
#ifndef WEFT_TRANSPORTS_DECORATORS_DECORATOR_H_
#define WEFT_TRANSPORTS_DECORATORS_DECORATOR_H_

#include <cstddef>
#include <memory>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "weft/transports/datagram_port.h"
#include "weft/transports/frame_port.h"

namespace weft {

class DatagramDecorator : public DatagramPort {
 public:
  Address local_address() const override { return inner_->local_address(); }
  int wait_fd() const override { return inner_->wait_fd(); }
  bool Arm() override { return inner_->Arm(); }
  void Disarm() override { inner_->Disarm(); }
  void BindToThisThread() override {
    inner_->BindToThisThread();
    DatagramPort::BindToThisThread();
  }

  absl::StatusOr<Peer> Resolve(const Address& address) override { return inner_->Resolve(address); }
  absl::StatusOr<Address> AddressOf(const Peer& peer) const override {
    return inner_->AddressOf(peer);
  }
  size_t MaxPayloadTo(const Peer& peer) const override { return inner_->MaxPayloadTo(peer); }
  absl::string_view IdentityOf(const Peer& peer) const override { return inner_->IdentityOf(peer); }
  absl::Status WhyUnreachable(const Peer& peer) const override {
    return inner_->WhyUnreachable(peer);
  }
  size_t Send(absl::Span<Datagram> burst) final;
  size_t Forward(absl::Span<Datagram> burst, absl::Span<const Peer> sources) final;
  size_t Receive(absl::Span<Datagram> burst) override { return inner_->Receive(burst); }

 protected:
  explicit DatagramDecorator(std::unique_ptr<DatagramPort> inner)
      : DatagramPort(inner->capabilities(), *inner), inner_(std::move(inner)) {
    // What a decorator sees and changes are whole messages.
    capabilities_.gather = false;
    capabilities_.bulk_min_bytes = 0;
  }
  // As Send(), of messages without tails.
  virtual size_t SendWhole(absl::Span<Datagram> burst) { return inner_->Send(burst); }
  // As Forward(), of messages without tails.
  virtual size_t ForwardWhole(absl::Span<Datagram> burst, absl::Span<const Peer> sources) {
    return inner_->Forward(burst, sources);
  }
  size_t DoTakeEvents(absl::Span<PortEvent> events) override { return inner_->TakeEvents(events); }
  DatagramPort& inner() { return *inner_; }

 private:
  // Hands those without tails to `send(run, begin)`, and drops the others.
  template <typename SendRun>
  size_t InRuns(absl::Span<Datagram> burst, SendRun send);

  const std::unique_ptr<DatagramPort> inner_;
};

inline size_t DatagramDecorator::Send(absl::Span<Datagram> burst) {
  return InRuns(burst, [this](absl::Span<Datagram> run, size_t) { return SendWhole(run); });
}

inline size_t DatagramDecorator::Forward(absl::Span<Datagram> burst,
                                         absl::Span<const Peer> sources) {
  return InRuns(burst, [&](absl::Span<Datagram> run, size_t at) {
    return ForwardWhole(run, sources.subspan(at, run.size()));
  });
}

template <typename SendRun>
size_t DatagramDecorator::InRuns(absl::Span<Datagram> burst, SendRun send) {
  AssertOwner();
  size_t done = 0;
  while (done < burst.size()) {
    size_t whole = done;
    while (whole < burst.size() && burst[whole].tail.empty()) ++whole;
    if (whole > done) done += send(burst.subspan(done, whole - done), done);
    if (done < whole || done == burst.size()) break;
    burst[done].buffer.Reset();
    burst[done].tail = {};
    ++stats_.send_failed;
    ++done;
  }
  return done;
}

class FrameDecorator : public FramePort {
 public:
  Address local_address() const override { return inner_->local_address(); }
  int wait_fd() const override { return inner_->wait_fd(); }
  bool Arm() override { return inner_->Arm(); }
  void Disarm() override { inner_->Disarm(); }
  void BindToThisThread() override {
    inner_->BindToThisThread();
    FramePort::BindToThisThread();
  }

  MacAddress mac() const override { return inner_->mac(); }
  bool link_up() const override { return inner_->link_up(); }
  std::string device_name() const override { return inner_->device_name(); }
  absl::Status SetFilter(absl::Span<const Address> addresses,
                         absl::Span<const MacAddress> groups) override {
    return inner_->SetFilter(addresses, groups);
  }
  size_t Send(absl::Span<Buffer> burst) override { return inner_->Send(burst); }
  size_t Receive(absl::Span<Buffer> burst) override { return inner_->Receive(burst); }

 protected:
  explicit FrameDecorator(std::unique_ptr<FramePort> inner)
      : FramePort(inner->capabilities(), *inner), inner_(std::move(inner)) {
    // What a decorator sees and changes are frames as they are on the wire.
    capabilities_.checksum_offload = false;
    capabilities_.segmentation_offload = false;
  }
  size_t DoTakeEvents(absl::Span<PortEvent> events) override { return inner_->TakeEvents(events); }
  FramePort& inner() { return *inner_; }

 private:
  const std::unique_ptr<FramePort> inner_;
};

}  // namespace weft

#endif  // WEFT_TRANSPORTS_DECORATORS_DECORATOR_H_
