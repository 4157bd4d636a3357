// SPDX-License-Identifier: Apache-2.0
//
// Packets as a capture that Wireshark, tshark and tcpdump open: pcapng
// (draft-ietf-opsawg-pcapng), link type Ethernet, nanoseconds, each packet with its direction.
//
// Frames are written as they are. Around a datagram stand Ethernet, IP and UDP headers of what
// would have been on a wire: the addresses and ports of both sides, IPv6 unless both are IPv4 (a
// socket of both families that is bound to no address, "::", is what its peer is), and true lengths
// and checksums. Sides that are not IP (shm:NAME, sim:NAME) get an IPv6 address made of a hash of
// their text below fd77:6566:7400::/64, the same in every file, and port 30565. A payload too long
// for UDP makes an IPv6 jumbogram (RFC 2675).
#ifndef WEFT_TRANSPORTS_DECORATORS_PCAP_WRITER_H_
#define WEFT_TRANSPORTS_DECORATORS_PCAP_WRITER_H_

#include <array>
#include <cstddef>
#include <cstdint>

#include "absl/types/span.h"
#include "weft/transports/decorators/packet_record.h"
#include "weft/transports/decorators/record_file.h"
#include "weft/transports/decorators/recording_port.h"

namespace weft {

class PcapWriter {
 public:
  // Keeps the first `snap_length` bytes of each packet, headers included.
  PcapWriter(RecordFile file, uint32_t snap_length);

  void WriteDatagram(const PacketRecord& record, const Address& local, const Address& peer);
  void WriteFrame(const PacketRecord& record);

  using Mark = size_t;
  Mark mark() const { return file_.buffered(); }
  void Rewind(Mark mark) { file_.Truncate(mark); }
  RecordFile& file() { return file_; }

 private:
  // One packet of `headers` and then the record's bytes.
  void WriteBlock(const PacketRecord& record, absl::Span<const uint8_t> headers);

  RecordFile file_;
  const uint32_t snap_length_;
};

using PcapDatagramPort = RecordingDatagramPort<PcapWriter>;
using PcapFramePort = RecordingFramePort<PcapWriter>;

}  // namespace weft

#endif  // WEFT_TRANSPORTS_DECORATORS_PCAP_WRITER_H_
