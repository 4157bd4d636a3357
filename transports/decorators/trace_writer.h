// SPDX-License-Identifier: Apache-2.0
//
// Packets as lines of text:
//
//   1700000000.000012345 send 127.0.0.1:7000 5 68656c6c6f
//   1700000000.000051234 recv 127.0.0.1:7000 1400 0a0b0c...
//
// that is: time in seconds, direction, the other side ("?" when it is gone), length of the payload
// in bytes, and its first 32 in hexadecimal. A frame's other side is the MAC address it is for, or
// comes from, and its length and bytes include the header.
#ifndef WEFT_TRANSPORTS_DECORATORS_TRACE_WRITER_H_
#define WEFT_TRANSPORTS_DECORATORS_TRACE_WRITER_H_

#include <cstddef>
#include <cstdint>
#include <utility>

#include "absl/strings/string_view.h"
#include "weft/transports/decorators/packet_record.h"
#include "weft/transports/decorators/record_file.h"
#include "weft/transports/decorators/recording_port.h"

namespace weft {

class TraceWriter {
 public:
  // Stops after `max_records` lines; 0 is unlimited.
  TraceWriter(RecordFile file, uint64_t max_records)
      : file_(std::move(file)), max_records_(max_records) {}

  void WriteDatagram(const PacketRecord& record, const Address& local, const Address& peer);
  void WriteFrame(const PacketRecord& record);

  struct Mark {
    size_t buffered;
    uint64_t records;
  };
  Mark mark() const { return {file_.buffered(), records_}; }
  void Rewind(const Mark& mark) {
    file_.Truncate(mark.buffered);
    records_ = mark.records;
  }
  RecordFile& file() { return file_; }

 private:
  void WriteLine(const PacketRecord& record, absl::string_view other_side);

  RecordFile file_;
  const uint64_t max_records_;
  uint64_t records_ = 0;
};

using TraceDatagramPort = RecordingDatagramPort<TraceWriter>;
using TraceFramePort = RecordingFramePort<TraceWriter>;

}  // namespace weft

#endif  // WEFT_TRANSPORTS_DECORATORS_TRACE_WRITER_H_
