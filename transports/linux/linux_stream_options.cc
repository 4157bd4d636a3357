// SPDX-License-Identifier: Apache-2.0
//
// LinuxStreamPort: what can be set for a stream and what is known of it, by setsockopt(2) and
// TCP_INFO (tcp(7)).
#include <linux/sockios.h>
#include <linux/tcp.h>  // and not <netinet/tcp.h>, whose tcp_info is that of an older kernel
#include <netinet/in.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <string>

#include "absl/strings/str_cat.h"
#include "weft/transports/linux/linux_stream_port.h"

namespace weft::linux_transport {
namespace {

constexpr uint32_t kNoThreshold = 0x7fffffff;  // TCP_INFINITE_SSTHRESH

absl::Status Gone() { return absl::NotFoundError("the stream is closed"); }

// Sets options one after the other, up to the first that the kernel refuses.
class OptionSetter {
 public:
  OptionSetter(const UniqueFd& fd) : fd_(fd) {}

  template <typename T>
  void Set(const char* name, const std::optional<T>& value, int level, int option) {
    if (!value || !status_.ok()) return;
    if (!SetOption(fd_, level, option, static_cast<int>(*value))) Fail(name);
  }
  void SetName(const char* name, const std::optional<std::string>& value, int level, int option) {
    if (!value || !status_.ok()) return;
    if (setsockopt(fd_.get(), level, option, value->data(),
                   static_cast<socklen_t>(value->size())) == 0) {
      return;
    }
    if (errno == ENOENT || errno == EINVAL) {
      status_ =
          absl::NotFoundError(absl::StrCat(name, ": this kernel has no '", *value,
                                           "'; see net.ipv4.tcp_available_congestion_control"));
    } else {
      Fail(name);
    }
  }

  const absl::Status& status() const { return status_; }

 private:
  void Fail(const char* name) {
    status_ = absl::ErrnoToStatus(errno, absl::StrCat("cannot set ", name));
  }

  const UniqueFd& fd_;
  absl::Status status_;
};

// The kernel's numbers (include/net/tcp_states.h).
StreamInfo::State StateOf(uint8_t state) {
  using enum StreamInfo::State;
  constexpr StreamInfo::State kStates[] = {kClosed,    kEstablished, kSynSent,  kSynReceived,
                                           kFinWait1,  kFinWait2,    kTimeWait, kClosed,
                                           kCloseWait, kLastAck,     kListen,   kClosing};
  return state < std::size(kStates) ? kStates[state] : kClosed;
}

uint32_t Bytes(uint64_t segments, uint32_t mss) {
  return static_cast<uint32_t>(std::min<uint64_t>(segments * mss, UINT32_MAX));
}

StreamInfo FromKernel(const tcp_info& info) {
  StreamInfo result;
  result.state = StateOf(info.tcpi_state);
  result.timestamps = (info.tcpi_options & TCPI_OPT_TIMESTAMPS) != 0;
  result.sack = (info.tcpi_options & TCPI_OPT_SACK) != 0;
  result.window_scaling = (info.tcpi_options & TCPI_OPT_WSCALE) != 0;
  result.ecn = (info.tcpi_options & TCPI_OPT_ECN) != 0;
  result.send_window_scale = info.tcpi_snd_wscale;
  result.receive_window_scale = info.tcpi_rcv_wscale;
  result.rtt_us = info.tcpi_rtt;
  result.rttvar_us = info.tcpi_rttvar;
  result.min_rtt_us = info.tcpi_min_rtt == UINT32_MAX ? 0 : info.tcpi_min_rtt;
  result.rto_us = info.tcpi_rto;
  result.backoff = info.tcpi_backoff;
  result.receive_rtt_us = info.tcpi_rcv_rtt;
  // The kernel's numbers (TCP_CA_Open and so on, linux/tcp.h) are those of the enumeration.
  result.recovery = static_cast<StreamInfo::Recovery>(std::min<int>(info.tcpi_ca_state, 4));
  result.cwnd_bytes = Bytes(info.tcpi_snd_cwnd, info.tcpi_snd_mss);
  result.ssthresh_bytes = info.tcpi_snd_ssthresh >= kNoThreshold
                              ? UINT32_MAX
                              : Bytes(info.tcpi_snd_ssthresh, info.tcpi_snd_mss);
  result.send_window_bytes = info.tcpi_snd_wnd;
  result.receive_window_bytes = info.tcpi_rcv_space;
  result.path_mtu_bytes = info.tcpi_pmtu;
  result.send_mss_bytes = info.tcpi_snd_mss;
  result.receive_mss_bytes = info.tcpi_rcv_mss;
  result.unacked_segments = info.tcpi_unacked;
  result.sacked_segments = info.tcpi_sacked;
  result.lost_segments = info.tcpi_lost;
  result.retransmitted_segments = info.tcpi_retrans;
  result.unsent_bytes = info.tcpi_notsent_bytes;
  result.bytes_sent = info.tcpi_bytes_sent;
  result.bytes_acked = info.tcpi_bytes_acked;
  result.bytes_received = info.tcpi_bytes_received;
  result.bytes_retransmitted = info.tcpi_bytes_retrans;
  result.segments_sent = info.tcpi_segs_out;
  result.segments_received = info.tcpi_segs_in;
  result.segments_out_of_order = info.tcpi_rcv_ooopack;
  result.retransmissions = info.tcpi_total_retrans;
  result.delivered_segments = info.tcpi_delivered;
  result.delivered_ce_segments = info.tcpi_delivered_ce;
  result.dsack_duplicates = info.tcpi_dsack_dups;
  result.reordering_seen = info.tcpi_reord_seen;
  result.delivery_rate_bytes = info.tcpi_delivery_rate;
  result.pacing_rate_bytes = info.tcpi_pacing_rate;
  result.busy_us = info.tcpi_busy_time;
  result.receive_window_limited_us = info.tcpi_rwnd_limited;
  result.send_buffer_limited_us = info.tcpi_sndbuf_limited;
  result.last_sent_ms = info.tcpi_last_data_sent;
  result.last_received_ms = info.tcpi_last_data_recv;
  return result;
}

}  // namespace

absl::StatusOr<Address> LinuxStreamPort::LocalAddress(StreamId id) const {
  const Stream* stream = Find(id);
  if (stream == nullptr || !stream->fd) return Gone();
  const absl::StatusOr<SocketAddress> bound = BoundAddress(stream->fd);
  if (!bound.ok()) return bound.status();
  return ToAddress(*bound);
}

absl::Status LinuxStreamPort::SetOptions(StreamId id, const StreamOptions& options) {
  if (absl::Status status = options.Validate(); !status.ok()) return status;
  Stream* stream = Find(id);
  if (stream == nullptr || !stream->fd) return Gone();
  OptionSetter setter(stream->fd);
  setter.Set("no_delay", options.no_delay, IPPROTO_TCP, TCP_NODELAY);
  setter.Set("cork", options.cork, IPPROTO_TCP, TCP_CORK);
  setter.Set("keepalive_idle_s", options.keepalive_idle_s, IPPROTO_TCP, TCP_KEEPIDLE);
  setter.Set("keepalive_interval_s", options.keepalive_interval_s, IPPROTO_TCP, TCP_KEEPINTVL);
  setter.Set("keepalive_probes", options.keepalive_probes, IPPROTO_TCP, TCP_KEEPCNT);
  setter.Set("keepalive", options.keepalive, SOL_SOCKET, SO_KEEPALIVE);
  setter.Set("user_timeout_ms", options.user_timeout_ms, IPPROTO_TCP, TCP_USER_TIMEOUT);
  setter.Set("send_buffer_bytes", options.send_buffer_bytes, SOL_SOCKET, SO_SNDBUF);
  setter.Set("receive_buffer_bytes", options.receive_buffer_bytes, SOL_SOCKET, SO_RCVBUF);
  // An IPv4 peer of an IPv6 socket has IPv4's fields.
  const bool v6 = stream->peer.any.sa_family == AF_INET6;
  const bool v4 = !v6 || IsMappedIpv4(stream->peer.v6.sin6_addr);
  if (options.dscp) {
    const std::optional<int> traffic_class = *options.dscp << 2;  // behind it: the bits of ECN
    if (v4) setter.Set("dscp", traffic_class, IPPROTO_IP, IP_TOS);
    if (v6) setter.Set("dscp", traffic_class, IPPROTO_IPV6, IPV6_TCLASS);
  }
  if (v4) setter.Set("ttl", options.ttl, IPPROTO_IP, IP_TTL);
  if (v6) setter.Set("ttl", options.ttl, IPPROTO_IPV6, IPV6_UNICAST_HOPS);
  setter.SetName("congestion_control", options.congestion_control, IPPROTO_TCP, TCP_CONGESTION);
  return setter.status();
}

absl::StatusOr<StreamInfo> LinuxStreamPort::Info(StreamId id) const {
  const Stream* stream = Find(id);
  if (stream == nullptr || !stream->fd) return Gone();
  tcp_info info = {};
  socklen_t length = sizeof(info);  // an older kernel fills in less, and the rest stays 0
  if (getsockopt(stream->fd.get(), IPPROTO_TCP, TCP_INFO, &info, &length) != 0) {
    return absl::ErrnoToStatus(errno, "cannot read TCP_INFO");
  }
  StreamInfo result = FromKernel(info);
  // What SIOCOUTQ tells was not acknowledged, sent or not (tcp(7)).
  int waiting = 0;
  if (ioctl(stream->fd.get(), SIOCINQ, &waiting) == 0) {
    result.unread_bytes = static_cast<uint32_t>(waiting);
  }
  if (ioctl(stream->fd.get(), SIOCOUTQ, &waiting) == 0) {
    const auto unacked = static_cast<uint32_t>(waiting);
    result.unacked_bytes = unacked - std::min(unacked, result.unsent_bytes);
  }
  result.unsent_bytes += static_cast<uint32_t>(stream->out.size());
  char name[64] = {};
  length = sizeof(name) - 1;
  if (getsockopt(stream->fd.get(), IPPROTO_TCP, TCP_CONGESTION, name, &length) == 0) {
    result.congestion_control = name;
  }
  return result;
}

}  // namespace weft::linux_transport
