// SPDX-License-Identifier: Apache-2.0
//
// Runs a script over an engine. The runner is the engine's port, its user and its peers.
#include <cerrno>
#include <map>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "weft/tcp/script/script.h"

namespace weft::tcp::script {
namespace {

using netstack::IpAddress;
using netstack::kTcpSyn;

constexpr uint16_t kOurPort = 80;
constexpr uint16_t kPeerPort = 5000;
constexpr uint32_t kPeerIsn = 0xfffffff0;  // wraps soon
constexpr size_t kTraceLines = 40;

absl::string_view NameOf(int error) {
  switch (error) {
    case 0:
      return "closed";
    case ETIMEDOUT:
      return "ETIMEDOUT";
    case ECONNRESET:
      return "ECONNRESET";
    case ECONNREFUSED:
      return "ECONNREFUSED";
    case ECONNABORTED:
      return "ECONNABORTED";
    case EHOSTUNREACH:
      return "EHOSTUNREACH";
    case ENETDOWN:
      return "ENETDOWN";
  }
  return "another error";
}

std::string NameOf(const StreamEvent& event) {
  using Kind = StreamEvent::Kind;
  switch (event.kind) {
    case Kind::kAccepted:
      return "accepted";
    case Kind::kConnected:
      return "connected";
    case Kind::kReadable:
      return "readable";
    case Kind::kWritable:
      return "writable";
    case Kind::kRemoteClosed:
      return "remote_closed";
    case Kind::kClosed:
      break;
  }
  return std::string(NameOf(event.error));
}

class Runner : private EngineStage {
 public:
  explicit Runner(const Script& script) : script_(script) {}

  absl::Status Run() {
    options_ = script_.options;
    world_.mtu = script_.mtu;
    buffers_ = script_.buffers;
    us_ = script_.v6 ? IpAddress::FromWords(0xfd00ull << 48, 1) : IpAddress::V4(0x0a000001);
    usual_peer_ = script_.v6 ? IpAddress::FromWords(0xfd00ull << 48, 2) : IpAddress::V4(0x0a000002);
    absl::Status status = Start();
    if (!status.ok()) return status;
    began_ns_ = before_ns_ = now_ns_;
    SwitchTo(usual_peer_, kPeerPort);
    for (const Line& line : script_.lines) {
      line_ = &line;
      status = Do(line);
      if (!status.ok()) return status;
      before_ns_ = now_ns_;
    }
    status = NothingHeard("the script ends");
    return status.ok() ? NothingLeft() : status;
  }

 private:
  // A peer, and what it has to do with us.
  struct Peer {
    IpAddress address;
    uint16_t port = 0;
    uint16_t our_port = kOurPort;
    Origins origins = {Seq(), Seq(kPeerIsn), 0};
    bool timestamps_seen = false;
    uint32_t last_timestamp = 0;
    uint16_t window = 65535;
    Seq last_heard;
    StreamId stream;
    uint32_t written = 0;
    uint32_t read = 0;
  };

  absl::Status Do(const Line& line) {
    if (line.verb == Verb::kHear) return Hear(line);
    // Time passes; what is said meanwhile has to be expected.
    const int64_t until_ns = before_ns_ + line.when.least_ns;
    while (now_ns_ < until_ns && outbox_.empty()) Step(until_ns);
    if (line.verb == Verb::kHearRest) {
      while (now_ns_ < until_ns) Step(until_ns);
      while (!outbox_.empty()) TakeHeard();
      return absl::OkStatus();
    }
    absl::Status status;
    if (until_ns > before_ns_ || !OnlyLooks(line.verb)) status = NothingHeard(line.text);
    if (!status.ok() || line.verb == Verb::kQuiet) return status;
    Note(line.text);
    status = Act(line);
    Turn();
    return status;
  }

  // Whatever a script leaves behind, an engine that ends gives everything back.
  absl::Status NothingLeft() {
    engine_.reset();
    if (wheel_->size() != 0) return Wrong("timers were left behind");
    if (pool_->available() != pool_->count()) return Wrong("buffers were lost");
    return absl::OkStatus();
  }

  // What was said before may wait to be heard.
  static bool OnlyLooks(Verb verb) {
    return verb == Verb::kPeer || verb == Verb::kPeerIsn || verb == Verb::kAccept ||
           verb >= Verb::kExpectEvent;
  }

  absl::Status Act(const Line& line) {
    switch (line.verb) {
      case Verb::kSay:
        return Say(line.segment);
      case Verb::kPeer:
        SwitchTo(line.word.empty() ? usual_peer_ : line.address,
                 static_cast<uint16_t>(*line.number_1));
        peer_->our_port = static_cast<uint16_t>(line.number_2.value_or(peer_->our_port));
        return absl::OkStatus();
      case Verb::kPeerIsn:
        peer_->origins.peers = Seq(static_cast<uint32_t>(*line.number_1));
        return absl::OkStatus();
      case Verb::kIcmp:
        return Icmp(line);
      case Verb::kPathMtu:
        engine_->OnPathMtu(peer_->address, static_cast<size_t>(*line.number_1), now_ns_);
        return absl::OkStatus();
      case Verb::kListen:
        return Answered(
            line, engine_->Listen(us_, PortOf(line), static_cast<int>(line.number_2.value_or(16)))
                      .status());
      case Verb::kStopListening:
        return Answered(line, engine_->StopListening(us_, PortOf(line)));
      case Verb::kConnect:
        return Connect(line);
      case Verb::kAccept:
        return Accept();
      case Verb::kWrite:
        return Write(line);
      case Verb::kRead:
        return Read(line);
      case Verb::kShutdown:
        engine_->CloseWrite(peer_->stream, now_ns_);
        return absl::OkStatus();
      case Verb::kClose:
        engine_->Close(peer_->stream, now_ns_);
        return absl::OkStatus();
      case Verb::kAbort:
        engine_->Abort(peer_->stream, now_ns_);
        return absl::OkStatus();
      case Verb::kOption:
        return Answered(line, engine_->SetOptions(peer_->stream, line.options, now_ns_));
      case Verb::kExpectEvent:
        return ExpectEvent(line);
      case Verb::kExpectState:
        return Compare(line.word, State());
      case Verb::kExpectStat:
        return Compare(line, *StatOf(engine_->stats(), line.word));
      case Verb::kExpectInfo: {
        const auto info = engine_->Info(peer_->stream, now_ns_);
        if (!info.ok()) return Wrong("there is no such stream");
        return Compare(line, *InfoOf(*info, line.word));
      }
      case Verb::kHear:
      case Verb::kHearRest:
      case Verb::kQuiet:
        break;
    }
    return absl::OkStatus();
  }

  // --- The network.
  absl::Status Hear(const Line& line) {
    const int64_t least_ns = before_ns_ + line.when.least_ns;
    const int64_t most_ns = before_ns_ + line.when.most_ns;
    while (now_ns_ < most_ns && outbox_.empty()) Step(most_ns);
    if (outbox_.empty()) return Wrong("nothing came");
    const bool early = now_ns_ < least_ns;
    const bool theirs = IsOfPeer(outbox_.front());
    const Heard heard = TakeHeard();
    std::string difference =
        !theirs ? "to another peer" : Difference(line.segment, heard, peer_->origins);
    if (difference.empty() && early) difference = "too early";
    if (difference.empty() && !PayloadIsRight(heard)) difference = "payload";
    if (!difference.empty()) {
      return Wrong(absl::StrCat("this came (", difference, "):\n  ", Spoken(heard)));
    }
    return absl::OkStatus();
  }

  bool IsOfPeer(const Heard& heard) const {
    return heard.flow.remote == peer_->address && heard.flow.remote_port == peer_->port;
  }

  Heard TakeHeard() {
    Heard heard = std::move(outbox_.front());
    outbox_.pop_front();
    if (IsOfPeer(heard)) {
      Peer& peer = *peer_;
      if ((heard.flags & kTcpSyn) != 0) {
        if (heard.seq != peer.origins.ours) peer.timestamps_seen = false;
        peer.origins.ours = heard.seq;
        peer.our_port = heard.flow.local_port;
      }
      if (heard.options.has_timestamps) {
        if (!peer.timestamps_seen) peer.origins.timestamps = heard.options.timestamp_value;
        peer.timestamps_seen = true;
        peer.last_timestamp = heard.options.timestamp_value;
      }
      peer.last_heard = heard.seq;
    }
    Note(Spoken(heard));
    return heard;
  }

  std::string Spoken(const Heard& heard) const {
    std::string text = absl::StrCat("> ", ToText(heard, peer_->origins));
    if (!IsOfPeer(heard)) {
      absl::StrAppend(&text, "   # to ", heard.flow.remote.ToString(), " port ",
                      heard.flow.remote_port, "; its numbers are not known here");
    }
    return text;
  }

  bool PayloadIsRight(const Heard& heard) const {
    const uint32_t begin = heard.seq - peer_->origins.ours;
    for (size_t i = 0; i < heard.payload.size(); ++i) {
      if (static_cast<uint8_t>(heard.payload[i]) != ByteAt(begin + static_cast<uint32_t>(i))) {
        return false;
      }
    }
    return true;
  }

  absl::Status NothingHeard(absl::string_view before) {
    if (outbox_.empty()) return absl::OkStatus();
    const Heard heard = TakeHeard();
    return Wrong(absl::StrCat("this was not expected before '", before, "':\n  ", Spoken(heard)));
  }

  absl::Status Say(const SegmentText& text) {
    Peer& peer = *peer_;
    if (text.window) peer.window = static_cast<uint16_t>(*text.window);
    netstack::TcpFields fields;
    fields.source_port = peer.port;
    fields.destination_port = peer.our_port;
    fields.window = peer.window;
    netstack::ReceivedSegment segment;
    segment.buffer = MakeSegment(text, peer.origins, fields, peer.last_timestamp, *pool_);
    if (!segment.buffer) return Wrong("no buffer is long enough, or free, for it");
    segment.source = peer.address;
    segment.destination = us_;
    segment.ecn = text.ecn.value_or(0);
    segment.ttl = 64;
    engine_->Receive({&segment, 1}, now_ns_);
    if (segment.buffer) engine_->Reject({&segment, 1}, now_ns_);
    return absl::OkStatus();
  }

  // As a stack does: what is about nothing in flight changes no path.
  absl::Status Icmp(const Line& line) {
    netstack::IcmpErrorReport report;
    report.kind = line.icmp;
    report.mtu = static_cast<size_t>(line.number_1.value_or(0));
    report.protocol = netstack::IpProtocol::kTcp;
    report.source = us_;
    report.destination = peer_->address;
    report.source_port = peer_->our_port;
    report.destination_port = peer_->port;
    const Seq quoted = line.number_2 ? peer_->origins.ours + static_cast<uint32_t>(*line.number_2)
                                     : peer_->last_heard;
    report.tcp_sequence = quoted.value();
    const bool believed = engine_->OnIcmpError(report, now_ns_);
    if (believed && line.icmp == netstack::IcmpErrorReport::Kind::kPacketTooBig) {
      engine_->OnPathMtu(peer_->address, report.mtu, now_ns_);
    }
    return absl::OkStatus();
  }

  void SwitchTo(const IpAddress& address, uint16_t port) {
    peer_ = &peers_[absl::StrCat(address.ToString(), " ", port)];
    peer_->address = address;
    peer_->port = port;
  }

  // --- The user.
  static uint16_t PortOf(const Line& line) {
    return static_cast<uint16_t>(line.number_1.value_or(kOurPort));
  }

  absl::Status Answered(const Line& line, const absl::Status& status) const {
    if (status.ok() != line.refused) return absl::OkStatus();
    return Wrong(status.ok() ? "it was not refused" : status.ToString());
  }

  absl::Status Connect(const Line& line) {
    const auto stream = engine_->Connect(
        {us_, peer_->address, static_cast<uint16_t>(line.number_1.value_or(0)), peer_->port},
        now_ns_);
    if (stream.ok()) {
      Begin(*stream);
      peer_->our_port = engine_->FlowOf(*stream)->local_port;
    }
    return Answered(line, stream.status());
  }

  void Begin(StreamId stream) {
    peer_->stream = stream;
    peer_->written = peer_->read = 0;
  }

  absl::Status Accept() {
    StreamEvent event;
    if (engine_->TakeEvents({&event, 1}) == 0) return Wrong("there is none to accept");
    if (event.kind != StreamEvent::Kind::kAccepted) {
      return Wrong(absl::StrCat("the next event is ", NameOf(event)));
    }
    const auto flow = engine_->FlowOf(event.stream);
    if (!flow.ok() || flow->remote != peer_->address || flow->remote_port != peer_->port) {
      return Wrong("it is a connection of another peer");
    }
    Begin(event.stream);
    return absl::OkStatus();
  }

  absl::Status Write(const Line& line) {
    const auto bytes = static_cast<uint32_t>(*line.number_1);
    uint32_t done = 0;
    while (done < bytes) {
      const auto room = engine_->Reserve(peer_->stream, bytes - done);
      if (room.empty()) break;
      for (size_t i = 0; i < room.size(); ++i) {
        room[i] = ByteAt(1 + peer_->written + static_cast<uint32_t>(i));
      }
      peer_->written += static_cast<uint32_t>(room.size());
      done += static_cast<uint32_t>(room.size());
      engine_->Commit(peer_->stream, room.size(), now_ns_);
    }
    if (done == line.number_2.value_or(bytes)) return absl::OkStatus();
    return Wrong(absl::StrCat("it took ", done, " bytes"));
  }

  absl::Status Read(const Line& line) {
    const uint64_t most = line.number_1 ? static_cast<uint64_t>(*line.number_1) : UINT32_MAX;
    uint64_t done = 0;
    while (done < most) {
      const auto view = engine_->ReadView(peer_->stream);
      if (view.empty()) break;
      const size_t n = std::min<size_t>(view.size(), most - done);
      for (size_t i = 0; i < n; ++i) {
        if (view[i] != ByteAt(1 + peer_->read + static_cast<uint32_t>(i))) {
          return Wrong(absl::StrCat("byte ", 1 + peer_->read + i, " is not what the peer sent"));
        }
      }
      peer_->read += static_cast<uint32_t>(n);
      done += n;
      engine_->Consume(peer_->stream, n, now_ns_);
    }
    if (!line.number_1 || done == most) return absl::OkStatus();
    return Wrong(absl::StrCat("there were ", done, " bytes"));
  }

  // --- What is to be so.
  absl::Status ExpectEvent(const Line& line) {
    StreamEvent event;
    std::string name = "none";
    if (engine_->TakeEvents({&event, 1}) == 1) {
      name = NameOf(event);
      if (event.stream != peer_->stream && event.kind != StreamEvent::Kind::kAccepted) {
        return Wrong(absl::StrCat("there came ", name, " of another connection"));
      }
    }
    return Compare(line.word, name);
  }

  absl::Status Compare(absl::string_view wanted, absl::string_view is) const {
    return wanted == is ? absl::OkStatus() : Wrong(absl::StrCat("it is ", is));
  }
  absl::Status Compare(const Line& line, int64_t is) const {
    if (Holds(is, line.comparison, *line.number_1)) return absl::OkStatus();
    return Wrong(absl::StrCat("it is ", is));
  }

  std::string State() const {
    std::string state = "CLOSED";
    engine_->ForEach(now_ns_, [&](StreamId, const Flow& flow, const StreamInfo& info) {
      if (flow.remote != peer_->address || flow.remote_port != peer_->port) return;
      if (info.state == StreamInfo::State::kClosed) return;
      state = std::string(StreamStateName(info.state));
    });
    return state;
  }

  // --- Telling.
  void Note(absl::string_view text) {
    trace_.push_back(
        absl::StrFormat("  %.6f %s", static_cast<double>(now_ns_ - began_ns_) / 1e9, text));
    if (trace_.size() > kTraceLines) trace_.pop_front();
  }

  absl::Status Wrong(absl::string_view what) const {
    return absl::FailedPreconditionError(absl::StrFormat(
        "%s:%d: %s\nat %.6f s %s\nso far:\n%s", script_.name, line_->number, line_->text,
        static_cast<double>(now_ns_ - began_ns_) / 1e9, what, absl::StrJoin(trace_, "\n")));
  }

  const Script& script_;
  const Line* line_ = nullptr;
  IpAddress us_, usual_peer_;
  std::map<std::string, Peer> peers_;
  Peer* peer_ = nullptr;
  int64_t began_ns_ = 0;
  int64_t before_ns_ = 0;  // when the line before this one was done
  std::deque<std::string> trace_;
};

}  // namespace

absl::Status Run(const Script& script) {
  if (script.lines.empty()) return absl::InvalidArgumentError(script.name + ": it says nothing");
  return Runner(script).Run();
}

}  // namespace weft::tcp::script
