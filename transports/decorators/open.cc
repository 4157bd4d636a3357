// SPDX-License-Identifier: Apache-2.0
#include "weft/transports/decorators/open.h"

#include <map>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "weft/core/clock.h"
#include "weft/transports/decorators/fault_port.h"
#include "weft/transports/decorators/pcap_writer.h"
#include "weft/transports/decorators/trace_writer.h"
#include "weft/transports/registry.h"

namespace weft {
namespace {

using Decorators = google::protobuf::RepeatedPtrField<config::Decorator>;

absl::string_view NameOf(const config::Decorator& decorator) {
  switch (decorator.kind_case()) {
    case config::Decorator::kFault:
      return "fault";
    case config::Decorator::kTrace:
      return "trace";
    case config::Decorator::kPcap:
      return "pcap";
    case config::Decorator::KIND_NOT_SET:
      break;
  }
  return "empty";
}

Capabilities Decorated(Capabilities capabilities, const Decorators& decorators) {
  capabilities.streams = false;
  capabilities.gather = false;
  capabilities.checksum_offload = false;
  capabilities.segmentation_offload = false;
  for (const config::Decorator& decorator : decorators) {
    if (decorator.has_fault()) capabilities = WithFaults(capabilities, decorator.fault());
  }
  return capabilities;
}

// The decorators around each contract's port.
template <typename Port>
struct Wrappers;
template <>
struct Wrappers<DatagramPort> {
  using Fault = FaultDatagramPort;
  using Trace = TraceDatagramPort;
  using Pcap = PcapDatagramPort;
};
template <>
struct Wrappers<FramePort> {
  using Fault = FaultFramePort;
  using Trace = TraceFramePort;
  using Pcap = PcapFramePort;
};

class DecoratedTransport final : public Transport {
 public:
  DecoratedTransport(std::unique_ptr<Transport> plain, const Decorators& decorators)
      : plain_(std::move(plain)),
        decorators_(decorators),
        capabilities_(Decorated(plain_->capabilities(), decorators)) {}

  absl::string_view name() const override { return plain_->name(); }
  const Capabilities& capabilities() const override { return capabilities_; }
  VirtualTime* virtual_time() override { return plain_->virtual_time(); }

  absl::StatusOr<std::unique_ptr<DatagramPort>> OpenDatagramPort(
      const PortOptions& options) override {
    return Decorate(plain_->OpenDatagramPort(options), options);
  }
  absl::StatusOr<std::unique_ptr<FramePort>> OpenFramePort(const PortOptions& options) override {
    return Decorate(plain_->OpenFramePort(options), options);
  }
  absl::StatusOr<std::unique_ptr<StreamPort>> OpenStreamPort(const PortOptions& options) override {
    if (!plain_->capabilities().streams) return plain_->OpenStreamPort(options);
    return absl::UnimplementedError(
        absl::StrCat("transport '", name(), "' has no streams with decorators (",
                     absl::StrJoin(decorators_, ", ",
                                   [](std::string* out, const config::Decorator& decorator) {
                                     absl::StrAppend(out, NameOf(decorator));
                                   }),
                     "), which wrap datagrams and frames only; remove transport.decorators"));
  }
  // As it is: what decorators look at and disturb are packets.
  absl::StatusOr<std::unique_ptr<RemoteMemory>> OpenRemoteMemory(
      const PortOptions& options) override {
    return plain_->OpenRemoteMemory(options);
  }

 private:
  template <typename Port>
  absl::StatusOr<std::unique_ptr<Port>> Decorate(absl::StatusOr<std::unique_ptr<Port>> port,
                                                 const PortOptions& options) {
    // The first is the first that a packet passes that is sent: it goes around all others.
    for (auto it = decorators_.rbegin(); port.ok() && it != decorators_.rend(); ++it) {
      port = Wrap(*std::move(port), *it, options);
    }
    return port;
  }

  template <typename Port>
  absl::StatusOr<std::unique_ptr<Port>> Wrap(std::unique_ptr<Port> port,
                                             const config::Decorator& decorator,
                                             const PortOptions& options) {
    VirtualTime* const virtual_time = plain_->virtual_time();
    const Clock& clock = virtual_time != nullptr ? *virtual_time : RealClock();
    const auto record_time = [&] {
      return virtual_time != nullptr ? RecordTime::Virtual(clock) : RecordTime::Real(clock);
    };
    switch (decorator.kind_case()) {
      case config::Decorator::kFault:
        return std::make_unique<typename Wrappers<Port>::Fault>(
            std::move(port), decorator.fault(), clock,
            virtual_time != nullptr ? &virtual_time->timers() : nullptr);
      case config::Decorator::kTrace: {
        auto file = RecordFile::Create(FilePath(decorator.trace().path(), options));
        if (!file.ok()) return file.status();
        return std::make_unique<typename Wrappers<Port>::Trace>(
            std::move(port), TraceWriter(*std::move(file), decorator.trace().max_records()),
            record_time());
      }
      case config::Decorator::kPcap: {
        auto file = RecordFile::Create(FilePath(decorator.pcap().path(), options));
        if (!file.ok()) return file.status();
        return std::make_unique<typename Wrappers<Port>::Pcap>(
            std::move(port), PcapWriter(*std::move(file), decorator.pcap().snap_length_bytes()),
            record_time());
      }
      case config::Decorator::KIND_NOT_SET:
        break;
    }
    return absl::InvalidArgumentError(
        "transport.decorators has an empty entry; give one of fault, trace, pcap");
  }

  std::string FilePath(const std::string& path, const PortOptions& options) {
    if (path == "-") return path;
    std::string name = options.queues > 1 ? absl::StrCat(path, ".", options.queue) : path;
    std::lock_guard<std::mutex> lock(mutex_);
    const int uses = ++uses_[name];
    return uses == 1 ? name : absl::StrCat(name, "-", uses);
  }

  const std::unique_ptr<Transport> plain_;
  const Decorators decorators_;
  const Capabilities capabilities_;
  std::mutex mutex_;
  std::map<std::string, int> uses_;  // of file names; guarded by mutex_
};

}  // namespace

std::unique_ptr<Transport> DecorateTransport(std::unique_ptr<Transport> plain,
                                             const Decorators& decorators) {
  return std::make_unique<DecoratedTransport>(std::move(plain), decorators);
}

absl::StatusOr<std::unique_ptr<Transport>> OpenTransport(const config::Transport& config) {
  absl::StatusOr<std::unique_ptr<Transport>> plain = OpenPlainTransport(config);
  if (!plain.ok() || config.decorators().empty()) return plain;
  return DecorateTransport(*std::move(plain), config.decorators());
}

}  // namespace weft
