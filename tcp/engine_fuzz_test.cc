// SPDX-License-Identifier: Apache-2.0
//
// A live connection whose peer says whatever it likes, with numbers near those that mean something:
// nothing is lost, nothing is longer than it may be, and in the end all memory is back.
#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <memory>

#include "weft/core/buffer.h"
#include "weft/core/bytes.h"
#include "weft/core/timer_wheel.h"
#include "weft/netstack/wire/tcp.h"
#include "weft/tcp/engine.h"
#include "weft/tcp/segment_options.h"

namespace weft::tcp {
namespace {

constexpr int64_t kMs = 1'000'000;
constexpr size_t kMtu = 1500;

void Check(bool holds) {
  if (!holds) std::abort();
}

class Fuzzed {
 public:
  Fuzzed(const uint8_t* data, size_t size) : data_(data), left_(size) {
    const uint8_t how = Byte();
    Options options;
    options.sack = (how & 1) != 0;
    options.timestamps = (how & 2) != 0;
    options.window_scaling = (how & 4) != 0;
    options.ecn = (how & 8) != 0 ? EcnMode::kOn : EcnMode::kOff;
    options.syn_cookies = (how & 16) != 0 ? SynCookieMode::kAlways : SynCookieMode::kAuto;
    options.syn_backlog = 3;
    options.connections_max = 5;
    if ((how & 64) != 0) {
      options.congestion_control = (how & 1) != 0 ? "dctcp" : "new_reno";
      options.keepalive = {.all = true, .idle_s = 30, .interval_s = 5, .probes = 3};
    }
    options.rack = (how & 128) == 0;
    options.receive_buffer_bytes = 8192;
    options.receive_buffer_bytes_max = 32768;
    options.send_buffer_bytes_max = 65536;
    World world;
    world.timers = &wheel_;
    world.pool = &pool_;
    world.secret = 7;
    world.mtu = kMtu;
    world.outbox_segments = 16;
    engine_ = *Engine::Create(options, world);
    Check(engine_->Listen(us_, 80, 4).ok());
    if ((how & 32) != 0) {
      const auto stream = engine_->Connect({us_, peer_, 1234, 5000}, now_ns_);
      Check(stream.ok());
      stream_ = *stream;
      our_port_ = 1234;
    }
    Turn();
  }

  void Run() {
    while (left_ > 0) {
      switch (Byte() % 16) {
        case 0:
          Pass(Byte() * 10 * kMs);
          break;
        case 1:
          Pass(Byte() * 1000 * kMs);
          break;
        case 2:
          Write(Byte() * size_t{32});
          break;
        case 3:
          Read();
          break;
        case 4:
          End(Byte());
          break;
        case 5:
          engine_->OnPathMtu(peer_, 500 + Byte() * size_t{4}, now_ns_);
          break;
        case 6:
          Report();
          break;
        case 7:
          SetOptions();
          break;
        case 8:
          WriteBuffer(Byte() * size_t{8});
          break;
        case 9:
          Look();
          break;
        case 10:
          Administer();
          break;
        default:
          Say();
      }
      Turn();
    }
    Pass(4'000'000 * kMs);
    const TcpStats& stats = engine_->stats();
    Check(stats.buffers_held.value() >= 0);
    engine_.reset();
    Check(wheel_.size() == 0);
    Check(pool_.available() == pool_.count());
  }

 private:
  uint8_t Byte() {
    if (left_ == 0) return 0;
    --left_;
    return *data_++;
  }
  int32_t Near() { return static_cast<int8_t>(Byte()) * (Byte() % 4 == 0 ? 700 : 1); }

  // Any bytes at all, or what means something: blocks of what is in flight, timestamps that follow.
  size_t WriteOptions(uint8_t flags, uint8_t* out) {
    const uint8_t form = Byte();
    if (form % 4 == 0) {
      const size_t bytes = Byte() % 11 * size_t{4};
      for (size_t i = 0; i < bytes; ++i) out[i] = Byte();
      return bytes;
    }
    SegmentOptions options;
    if ((flags & netstack::kTcpSyn) != 0) {
      options.mss = static_cast<uint16_t>(Byte() * 6);
      options.sack_permitted = (form & 4) != 0;
      options.has_window_scale = (form & 8) != 0;
      options.window_scale = form >> 4;
    } else if ((form & 2) != 0) {
      options.sack_count = static_cast<uint8_t>(1 + form / 4 % 3);
      for (int i = 0; i < options.sack_count; ++i) {
        const Seq begin = Seq(our_next_) - Byte() * 64u;
        options.sacks[i] = {begin, begin + Byte() * 64u};
      }
    }
    if ((form & 1) != 0) {
      options.has_timestamps = true;
      options.timestamp_value = static_cast<uint32_t>(now_ns_ / kMs) + (form & 32 ? Byte() : 0u);
      options.timestamp_echo = our_timestamp_ - (form & 64 ? Byte() : 0u);
    }
    WriteSegmentOptions(options, out);
    return SegmentOptionsBytes(options);
  }

  void Say() {
    Buffer buffer = pool_.Allocate();
    if (!buffer) return;
    netstack::TcpFields fields;
    fields.source_port = 5000;
    fields.destination_port = our_port_;
    fields.flags = Byte();
    fields.sequence = peer_next_ + static_cast<uint32_t>(Near());
    fields.acknowledgment = our_next_ + static_cast<uint32_t>(Near());
    fields.window = static_cast<uint16_t>(Byte() * 257);
    const size_t payload = Byte() % 2 == 0 ? 0 : Byte() * size_t{5};
    uint8_t options[netstack::kTcpHeaderBytesMax - netstack::kTcpHeaderBytes];
    const size_t options_bytes = WriteOptions(fields.flags, options);
    fields.header_bytes = netstack::kTcpHeaderBytes + options_bytes;
    fields.Write(buffer.Append(netstack::kTcpHeaderBytes));
    std::memcpy(buffer.Append(options_bytes), options, options_bytes);
    std::memset(buffer.Append(payload), 'p', payload);
    netstack::ReceivedSegment segment;
    segment.buffer = std::move(buffer);
    segment.source = peer_;
    segment.destination = us_;
    segment.ecn = Byte() % 4;
    engine_->Receive({&segment, 1}, now_ns_);
    if (segment.buffer) engine_->Reject({&segment, 1}, now_ns_);
  }

  void Report() {
    netstack::IcmpErrorReport report;
    report.kind = static_cast<netstack::IcmpErrorReport::Kind>(Byte() % 7);
    report.source = us_;
    report.destination = peer_;
    report.source_port = our_port_;
    report.destination_port = 5000;
    report.tcp_sequence = our_next_ + static_cast<uint32_t>(Near());
    engine_->OnIcmpError(report, now_ns_);
  }

  void Write(size_t n) {
    while (n > 0) {
      const auto room = engine_->Reserve(stream_, n);
      if (room.empty()) return;
      std::memset(room.data(), 'w', room.size());
      engine_->Commit(stream_, room.size(), now_ns_);
      n -= room.size();
    }
  }
  void WriteBuffer(size_t n) {
    Buffer buffer = pool_.Allocate();
    if (!buffer) return;
    n = std::min(n, buffer.tailroom());
    std::memset(buffer.Append(n), 'w', n);
    Check(engine_->SendBuffer(stream_, &buffer, now_ns_) != static_cast<bool>(buffer));
  }
  void Read() {
    for (auto view = engine_->ReadView(stream_); !view.empty(); view = engine_->ReadView(stream_)) {
      Check(std::count(view.begin(), view.end(), 'p') == static_cast<ptrdiff_t>(view.size()));
      engine_->Consume(stream_, view.size(), now_ns_);
    }
  }
  void SetOptions() {
    StreamOptions options;
    const uint8_t which = Byte();
    const uint8_t value = Byte();
    if ((which & 1) != 0) options.no_delay = value % 2 != 0;
    if ((which & 2) != 0) options.cork = value % 3 != 0;
    if ((which & 4) != 0) options.keepalive = value % 4 != 0;
    if ((which & 8) != 0) options.keepalive_idle_s = value + 1;
    if ((which & 16) != 0) options.user_timeout_ms = value * 1000u;
    if ((which & 32) != 0) options.send_buffer_bytes = value * 512u;
    if ((which & 64) != 0) options.receive_buffer_bytes = value * 512u;
    if ((which & 128) != 0) options.congestion_control = value % 2 != 0 ? "cubic" : "dctcp";
    (void)engine_->SetOptions(stream_, options, now_ns_);
  }
  // What programs show of it.
  void Look() {
    engine_->ForEach(now_ns_, [](StreamId, const Flow&, const StreamInfo& info) {
      Check(info.unsent_bytes <= 1 << 20);
    });
  }
  void Administer() {
    switch (Byte() % 4) {
      case 0:
        (void)engine_->StopListening(us_, 80);
        break;
      case 1:
        (void)engine_->Listen(us_, 80, 2);
        break;
      case 2:
        if (const auto stream = engine_->Connect({us_, peer_, 0, 5000}, now_ns_); stream.ok()) {
          stream_ = *stream;
          our_port_ = engine_->FlowOf(stream_)->local_port;
        }
        break;
      case 3:
        engine_->EndAll(5, now_ns_);
        break;
    }
  }
  void End(uint8_t how) {
    if (how % 3 == 0) engine_->CloseWrite(stream_, now_ns_);
    if (how % 3 == 1) engine_->Close(stream_, now_ns_);
    if (how % 3 == 2) engine_->Abort(stream_, now_ns_);
  }

  void Pass(int64_t ns) {
    const int64_t until_ns = now_ns_ + ns;
    while (wheel_.NextDeadlineNs() <= until_ns) {
      now_ns_ = std::max(now_ns_, wheel_.NextDeadlineNs());
      wheel_.Advance(now_ns_);
      Turn();
    }
    now_ns_ = until_ns;
  }

  void Turn() {
    engine_->Flush(now_ns_);
    while (!engine_->pending().empty()) {
      const auto pending = engine_->pending();
      for (netstack::OutgoingSegment& segment : pending) {
        netstack::TcpView view;
        Check(netstack::TcpView::Parse(segment.buffer.bytes(), &view));
        Check(segment.buffer.size() + 20 <= kMtu);
        our_next_ = view.sequence() + view.sequence_bytes();
        const SegmentOptions options = ParseSegmentOptions(view.options());
        if (options.has_timestamps) our_timestamp_ = options.timestamp_value;
        if ((view.flags() & netstack::kTcpAck) != 0) peer_next_ = view.acknowledgment();
        segment.buffer.Reset();
      }
      engine_->Sent(pending.size(), now_ns_);
    }
    StreamEvent event;
    while (engine_->TakeEvents({&event, 1}) > 0) {
      if (event.kind == StreamEvent::Kind::kAccepted) stream_ = event.stream;
    }
  }

  const uint8_t* data_;
  size_t left_;
  const netstack::IpAddress us_ = netstack::IpAddress::V4(0x0a000001);
  const netstack::IpAddress peer_ = netstack::IpAddress::V4(0x0a000002);
  int64_t now_ns_ = 1'000'000 * kMs;
  TimerWheel wheel_{now_ns_};
  BufferPool pool_{{.count = 256}};
  std::unique_ptr<Engine> engine_;
  StreamId stream_;
  uint16_t our_port_ = 80;
  uint32_t our_timestamp_ = 0;
  uint32_t our_next_ = 0;   // behind what the engine said last
  uint32_t peer_next_ = 1;  // what it wants to hear
};

}  // namespace
}  // namespace weft::tcp

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size > 4096) return 0;
  weft::tcp::Fuzzed(data, size).Run();
  return 0;
}
