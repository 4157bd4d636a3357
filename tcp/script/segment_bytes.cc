// SPDX-License-Identifier: Apache-2.0
//
// Segments of the peer as they arrive.
#include <cstring>
#include <utility>

#include "weft/netstack/wire/tcp.h"
#include "weft/tcp/script/segment_text.h"

namespace weft::tcp::script {
namespace {

using Kind = OptionText::Kind;

// Kinds of options (RFC 9293, 3.1; RFC 7323; RFC 2018).
constexpr uint8_t kEndOption = 0, kNopOption = 1, kMssOption = 2, kScaleOption = 3,
                  kSackOkOption = 4, kSackOption = 5, kTimestampsOption = 8;

void Append16(std::vector<uint8_t>& to, uint32_t value) {
  to.push_back(static_cast<uint8_t>(value >> 8));
  to.push_back(static_cast<uint8_t>(value));
}
void Append32(std::vector<uint8_t>& to, uint32_t value) {
  Append16(to, value >> 16);
  Append16(to, value);
}

void AppendOption(const OptionText& option, const Origins& origins, uint32_t last_timestamp,
                  std::vector<uint8_t>& to) {
  const auto value = static_cast<uint32_t>(option.value.value_or(0));
  switch (option.kind) {
    case Kind::kMss:
      to.insert(to.end(), {kMssOption, 4});
      Append16(to, value);
      break;
    case Kind::kWindowScale:
      to.insert(to.end(), {kScaleOption, 3, static_cast<uint8_t>(value)});
      break;
    case Kind::kSackPermitted:
      to.insert(to.end(), {kSackOkOption, 2});
      break;
    case Kind::kTimestamps:
      to.insert(to.end(), {kTimestampsOption, 10});
      Append32(to, value);
      Append32(to, option.echo ? origins.timestamps + static_cast<uint32_t>(*option.echo)
                               : last_timestamp);
      break;
    case Kind::kSack:
      to.insert(to.end(), {kSackOption, static_cast<uint8_t>(2 + 8 * option.blocks.size())});
      for (const SeqRange& block : option.blocks) {
        Append32(to, (origins.ours + block.begin.value()).value());
        Append32(to, (origins.ours + block.end.value()).value());
      }
      break;
    case Kind::kNop:
      to.push_back(kNopOption);
      break;
    case Kind::kEnd:
      to.push_back(kEndOption);
      break;
    case Kind::kRaw:
      to.insert(to.end(), option.raw.begin(), option.raw.end());
      break;
  }
}

}  // namespace

std::vector<uint8_t> OptionBytes(const SegmentText& segment, const Origins& origins,
                                 uint32_t last_timestamp) {
  std::vector<uint8_t> bytes;
  if (!segment.options) return bytes;
  for (const OptionText& option : *segment.options) {
    AppendOption(option, origins, last_timestamp, bytes);
  }
  while (bytes.size() % 4 != 0) bytes.push_back(kEndOption);
  return bytes;
}

Buffer MakeSegment(const SegmentText& segment, const Origins& origins, netstack::TcpFields fields,
                   uint32_t last_timestamp, BufferPool& pool) {
  const std::vector<uint8_t> options = OptionBytes(segment, origins, last_timestamp);
  const auto begin = static_cast<uint32_t>(*segment.begin);
  fields.flags = *segment.flags;
  fields.sequence = (origins.peers + begin).value();
  if (segment.ack) {
    fields.acknowledgment = (origins.ours + static_cast<uint32_t>(*segment.ack)).value();
  }
  fields.urgent_pointer = segment.urgent;
  fields.header_bytes = netstack::kTcpHeaderBytes + options.size();
  Buffer buffer = pool.Allocate();
  if (!buffer || *segment.bytes > buffer.tailroom()) return Buffer();
  uint8_t* payload = buffer.Append(*segment.bytes);
  for (uint32_t i = 0; i < *segment.bytes; ++i) payload[i] = EngineStage::ByteAt(begin + i);
  uint8_t* header = buffer.Prepend(fields.header_bytes);
  fields.Write(header);
  if (!options.empty()) {
    std::memcpy(header + netstack::kTcpHeaderBytes, options.data(), options.size());
  }
  return buffer;
}

}  // namespace weft::tcp::script
