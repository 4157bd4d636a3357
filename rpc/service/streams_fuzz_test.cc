// SPDX-License-Identifier: Apache-2.0
//
// A server's streams with whatever a client may send: a script of calls, the parts of which are
// bytes of the input. All that was opened ends, and nothing is left.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>

#include "weft/rpc/service/stream_fixture.h"

namespace weft::rpc {
namespace {

Task<absl::Status> Serve(ServerStream& stream, uint8_t how, Loop& loop) {
  BufferChain message;
  while (co_await ReadFrom(stream, &message)) {
    if (how % 4 == 1) co_await loop.Sleep(absl::Microseconds(50));
    if (how % 4 == 2) {
      const Payload reply(std::move(message));
      if (!co_await WriteTo(stream, reply)) break;
    }
    if (how % 4 == 3) break;
  }
  co_return absl::OkStatus();
}

void Check(bool right) {
  if (!right) std::abort();
}

}  // namespace
}  // namespace weft::rpc

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace weft::rpc;  // NOLINT(google-build-using-namespace)
  StreamPairOptions options;
  options.buffers = 512;
  options.server_streams = {.streams_max = 3, .window = 4};
  StreamPair pair(options);
  uint8_t how = 0;
  pair.serve = [&](ServerStream& stream, ServerCall& call) {
    return Serve(stream, how++, call.loop());
  };
  const SessionId session = *pair.client().Connect(pair.peer());
  // Each step: what it is, stream, sequence, length of its body, and body.
  for (size_t steps = 0; size >= 4 && steps < 64; ++steps) {
    const uint8_t what = data[0];
    const RequestHead head = {.kind = static_cast<RequestKind>(what % 4),
                              .end_of_messages = (what & 0x10) != 0,
                              .id = data[1] % 4u,
                              .number = data[2] == 0xFF ? UINT64_MAX : data[2] % 8u};
    const size_t body = std::min<size_t>(data[3], size - 4);
    std::string request(kRequestHeadBytesMax, '\0');
    request.resize(WriteRequestHead(head, reinterpret_cast<uint8_t*>(request.data())));
    request.append(reinterpret_cast<const char*>(data + 4), body);
    if ((what & 0x20) != 0) request.resize(request.size() + 3000, static_cast<char>(what));
    data += 4 + body;
    size -= 4 + body;
    const auto begun = pair.client().Call(session, Bytes(request),
                                          [](absl::StatusOr<weft::BufferChain>) {}, {.held = true});
    if (begun.ok() && (what & 0x40) != 0) pair.client().Cancel(*begun);
    if ((what & 0x80) != 0) pair.RunFor(20'000);
  }
  // Every call has the client's timeout of a second.
  pair.RunFor(2'000'000'000);
  Check(pair.client().outstanding() == 0);
  Check(pair.server_streams().size() == 0);
  Check(pair.server().stats().parked.value() == 0 && pair.server().stats().executing.value() == 0);
  Check(pair.server().port().pool().available() == pair.server().port().pool().count());
  return 0;
}
