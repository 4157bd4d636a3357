// SPDX-License-Identifier: Apache-2.0
#include "weft/transports/decorators/recording_port.h"

#include <sys/stat.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iterator>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/time/time.h"
#include "gtest/gtest.h"
#include "weft/core/allocation_counter.h"
#include "weft/core/bytes.h"
#include "weft/core/log.h"
#include "weft/transports/decorators/fake_port.h"
#include "weft/transports/decorators/pcap_writer.h"
#include "weft/transports/decorators/trace_writer.h"

namespace weft {
namespace {

std::string TestFile(const std::string& name) {
  return absl::StrCat(testing::TempDir(), "/", name);
}

std::string ReadFile(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  EXPECT_TRUE(file.is_open()) << path;
  return {std::istreambuf_iterator<char>(file), {}};
}

std::vector<std::string> Lines(const std::string& path) {
  std::vector<std::string> lines = absl::StrSplit(ReadFile(path), '\n');
  EXPECT_EQ(lines.back(), "");
  lines.pop_back();
  return lines;
}

RecordFile FileAt(const std::string& path) {
  absl::StatusOr<RecordFile> file = RecordFile::Create(path);
  EXPECT_TRUE(file.ok()) << file.status();
  return *std::move(file);
}

template <typename Port>
size_t Send(Port& port, const std::vector<std::string>& texts, uint64_t peer = 2000) {
  std::vector<Datagram> burst;
  for (const std::string& text : texts) {
    burst.push_back({Peer{{peer, 0, 0}}, TextBuffer(port.pool(), text)});
  }
  return port.Send(absl::MakeSpan(burst));
}

template <typename Port>
size_t Receive(Port& port) {
  Datagram in[8];
  return port.Receive(absl::MakeSpan(in));
}

TEST(TracePortTest, OneLineForEachPacketInBothDirections) {
  const std::string path = TestFile("trace");
  FakeState state;
  ManualClock clock(1'000'000'005);
  {
    TraceDatagramPort port(std::make_unique<FakeDatagramPort>(state), TraceWriter(FileAt(path), 0),
                           RecordTime::Virtual(clock));
    EXPECT_EQ(Send(port, {"hello", ""}), 2u);
    clock.Advance(17);
    state.incoming = {std::string(40, '\xff')};
    EXPECT_EQ(Receive(port), 1u);
    Send(port, {"x"}, 404);
  }
  EXPECT_EQ(Lines(path), (std::vector<std::string>{
                             "1.000000005 send 10.0.0.2:2000 5 68656c6c6f",
                             "1.000000005 send 10.0.0.2:2000 0 ",
                             absl::StrCat("1.000000022 recv 10.0.0.2:7 40 ", std::string(64, 'f')),
                             "1.000000022 send ? 1 78",
                         }));
}

TEST(TracePortTest, WhatIsNotAcceptedIsNotRecorded) {
  const std::string path = TestFile("trace_blocked");
  FakeState state;
  ManualClock clock;
  {
    TraceDatagramPort port(std::make_unique<FakeDatagramPort>(state), TraceWriter(FileAt(path), 0),
                           RecordTime::Virtual(clock));
    state.room = 70;
    std::vector<std::string> texts;
    for (int i = 0; i < 100; ++i) texts.push_back(absl::StrCat(i));
    EXPECT_EQ(Send(port, texts), 70u);
    EXPECT_EQ(Send(port, texts), 0u);
  }
  EXPECT_EQ(Lines(path).size(), 70u);
}

TEST(TracePortTest, WhatIsSentOnIsRecordedAsFarAsItIsAccepted) {
  const std::string path = TestFile("trace_forwarded");
  FakeState state;
  ManualClock clock;
  {
    TraceDatagramPort port(std::make_unique<FakeDatagramPort>(state), TraceWriter(FileAt(path), 0),
                           RecordTime::Virtual(clock));
    state.room = 70;
    std::vector<Datagram> burst;
    std::vector<Peer> sources;
    for (uint64_t i = 0; i < 100; ++i) {
      burst.push_back({Peer{{2000, 0, 0}}, TextBuffer(port.pool(), absl::StrCat(i))});
      sources.push_back({{i + 1, 0, 0}});
    }
    EXPECT_EQ(port.Forward(absl::MakeSpan(burst), sources), 70u);
  }
  EXPECT_EQ(Lines(path).size(), 70u);
  ASSERT_EQ(state.sources.size(), 70u);
  for (uint64_t i = 0; i < 70; ++i) EXPECT_EQ(state.sources[i], i + 1);
}

TEST(TracePortTest, StopsAfterSoManyRecords) {
  const std::string path = TestFile("trace_max");
  FakeState state;
  ManualClock clock;
  {
    TraceDatagramPort port(std::make_unique<FakeDatagramPort>(state), TraceWriter(FileAt(path), 3),
                           RecordTime::Virtual(clock));
    state.room = 1;
    EXPECT_EQ(Send(port, {"a", "b", "c", "d"}), 1u);
    state.room = 9;
    Send(port, {"b", "c", "d", "e"});
  }
  const std::vector<std::string> lines = Lines(path);
  ASSERT_EQ(lines.size(), 3u);
  EXPECT_EQ(lines[2].substr(lines[2].size() - 2), "63");
}

TEST(TracePortTest, FramesShowTheOtherSidesMac) {
  const std::string path = TestFile("trace_frames");
  FakeState state;
  ManualClock clock;
  {
    TraceFramePort port(std::make_unique<FakeFramePort>(state), TraceWriter(FileAt(path), 0),
                        RecordTime::Virtual(clock));
    Buffer out[] = {TextBuffer(port.pool(), "\x01\x02\x03\x04\x05\x06\x11\x12\x13\x14\x15\x16..")};
    EXPECT_EQ(port.Send(absl::MakeSpan(out)), 1u);
    state.incoming = {"\x01\x02\x03\x04\x05\x06\x11\x12\x13\x14\x15\x16..", "short"};
    Buffer in[4];
    EXPECT_EQ(port.Receive(absl::MakeSpan(in)), 2u);
    EXPECT_EQ(port.mac(), (MacAddress{2, 0, 0, 0, 0, 9}));
  }
  const std::string bytes = "0102030405061112131415162e2e";
  EXPECT_EQ(Lines(path), (std::vector<std::string>{
                             absl::StrCat("0.000000000 send 01:02:03:04:05:06 14 ", bytes),
                             absl::StrCat("0.000000000 recv 11:12:13:14:15:16 14 ", bytes),
                             "0.000000000 recv ? 5 73686f7274",
                         }));
}

TEST(RecordingPortTest, RecordsAreWrittenBeforeThePortWaitsAndAfterASecond) {
  const std::string path = TestFile("trace_flush");
  FakeState state;
  ManualClock clock(5'000'000'000);
  TraceDatagramPort port(std::make_unique<FakeDatagramPort>(state), TraceWriter(FileAt(path), 0),
                         RecordTime::Virtual(clock));
  Receive(port);
  Send(port, {"a"});
  Receive(port);  // the first for a long time
  EXPECT_EQ(Lines(path).size(), 1u);
  Send(port, {"b"});
  clock.Advance(999'999'999);
  Receive(port);
  EXPECT_EQ(Lines(path).size(), 1u);
  clock.Advance(1);
  Receive(port);
  EXPECT_EQ(Lines(path).size(), 2u);
  Send(port, {"c"});
  EXPECT_TRUE(port.Arm());
  EXPECT_EQ(Lines(path).size(), 3u);
  for (int i = 0; i < 2000; ++i) Send(port, {"many"});
  EXPECT_GT(ReadFile(path).size(), 64u << 10);
}

TEST(RecordingPortTest, AWriteErrorEndsTheRecordingAndNothingElse) {
  FakeState state;
  ManualClock clock;
  TraceDatagramPort port(std::make_unique<FakeDatagramPort>(state),
                         TraceWriter(FileAt("/dev/full"), 0), RecordTime::Virtual(clock));
  testing::internal::CaptureStderr();
  for (int i = 0; i < 3; ++i) {
    Send(port, {"a"});
    EXPECT_TRUE(port.Arm());
  }
  // The thread that writes may wait for a processor.
  FlushLog(absl::Seconds(30));
  EXPECT_TRUE(absl::StrContains(
      testing::internal::GetCapturedStderr(),
      "ERROR packets are not recorded any more "
      "reason=\"recording packets to /dev/full has ended: No space left on device\""));
  EXPECT_EQ(port.writer().file().status().message(),
            "recording packets to /dev/full has ended: No space left on device");
  EXPECT_TRUE(port.status().ok());
  EXPECT_EQ(state.sent.size(), 3u);
  EXPECT_EQ(port.writer().file().buffered(), 0u);
}

TEST(RecordingPortTest, FilesAreForTheirOwnerOnly) {
  const std::string path = TestFile("private");
  unlink(path.c_str());
  FileAt(path);
  struct stat info {};
  ASSERT_EQ(stat(path.c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777, 0600u);
}

TEST(RecordingPortTest, AFileThatCannotBeMadeIsAnError) {
  EXPECT_EQ(RecordFile::Create("/no/such/dir/x.pcap").status().message(),
            "cannot write packets to '/no/such/dir/x.pcap': No such file or directory");
}

TEST(RecordingPortTest, AddressesAreLookedUpOncePerPeer) {
  FakeState state;
  ManualClock clock;
  auto below = std::make_unique<FakeDatagramPort>(state);
  FakeDatagramPort* fake = below.get();
  TraceDatagramPort port(std::move(below), TraceWriter(FileAt("/dev/null"), 0),
                         RecordTime::Virtual(clock));
  for (int i = 0; i < 10; ++i) Send(port, {"a", "b"});
  EXPECT_EQ(fake->address_lookups, 1);
  EXPECT_EQ(port.wait_fd(), 42);
}

TEST(RecordingPortTest, CapturingAllocatesNothingInSteadyState) {
  FakeState state;
  ManualClock clock;
  PcapDatagramPort port(std::make_unique<FakeDatagramPort>(state),
                        PcapWriter(FileAt("/dev/null"), 65535), RecordTime::Virtual(clock));
  int64_t warm = 0;
  for (int i = 0; i < 3000; ++i) {
    if (i == 2000) {
      state.sent.clear();
      state.sent.reserve(2000);
      warm = AllocationsOfThisThread();
    }
    Datagram one[] = {{Peer{{1, 0, 0}}, port.pool().Allocate()}};
    std::memcpy(one[0].buffer.Append(5), "short", 5);
    ASSERT_EQ(port.Send(absl::MakeSpan(one)), 1u);
  }
  EXPECT_EQ(AllocationsOfThisThread() - warm, 0);
}

// What a capture of one packet holds.
struct Captured {
  uint32_t captured_bytes;
  uint32_t original_bytes;
  uint64_t time;
  uint32_t flags;
  std::string bytes;
};

template <typename T>
T ReadNative(const std::string& file, size_t at) {
  T value;
  EXPECT_LE(at + sizeof(value), file.size());
  std::memcpy(&value, file.data() + at, sizeof(value));
  return value;
}

std::vector<Captured> ParseCapture(const std::string& path) {
  const std::string file = ReadFile(path);
  std::vector<Captured> packets;
  EXPECT_EQ(ReadNative<uint32_t>(file, 0), 0x0a0d0d0au);
  EXPECT_EQ(ReadNative<uint32_t>(file, 8), 0x1a2b3c4du);
  for (size_t at = 0; at < file.size();) {
    const auto type = ReadNative<uint32_t>(file, at);
    const auto length = ReadNative<uint32_t>(file, at + 4);
    EXPECT_EQ(length % 4, 0u);
    if (length < 12 || at + length > file.size()) {
      ADD_FAILURE() << "bad block";
      return packets;
    }
    EXPECT_EQ(ReadNative<uint32_t>(file, at + length - 4), length);
    if (type == 6) {
      const auto kept = ReadNative<uint32_t>(file, at + 20);
      packets.push_back({kept, ReadNative<uint32_t>(file, at + 24),
                         uint64_t{ReadNative<uint32_t>(file, at + 12)} << 32 |
                             ReadNative<uint32_t>(file, at + 16),
                         ReadNative<uint32_t>(file, at + length - 12), file.substr(at + 28, kept)});
    }
    at += length;
  }
  return packets;
}

uint16_t Sum(uint32_t sum, const std::string& bytes) {
  for (size_t i = 0; i < bytes.size(); ++i) {
    sum += static_cast<uint8_t>(bytes[i]) << (i % 2 == 0 ? 8 : 0);
  }
  while (sum >> 16 != 0) sum = (sum & 0xffff) + (sum >> 16);
  return static_cast<uint16_t>(sum);
}

std::string Hex(const std::string& bytes) {
  std::string hex;
  for (const char c : bytes)
    absl::StrAppend(&hex, absl::Hex(static_cast<uint8_t>(c), absl::kZeroPad2));
  return hex;
}

TEST(PcapPortTest, Ipv4DatagramsHaveTrueHeaders) {
  const std::string path = TestFile("v4.pcapng");
  FakeState state;
  ManualClock clock(0x123456789abcdef);
  {
    PcapDatagramPort port(std::make_unique<FakeDatagramPort>(state),
                          PcapWriter(FileAt(path), 65535), RecordTime::Virtual(clock));
    Send(port, {"abc"});
    state.incoming = {""};
    Receive(port);
  }
  const std::vector<Captured> packets = ParseCapture(path);
  ASSERT_EQ(packets.size(), 2u);
  EXPECT_EQ(packets[0].time, 0x123456789abcdefu);
  EXPECT_EQ(packets[0].flags, 2u);
  EXPECT_EQ(packets[0].original_bytes, 45u);
  EXPECT_EQ(Hex(packets[0].bytes.substr(0, 14)), "0200000000020200000000010800");
  const std::string ip = packets[0].bytes.substr(14, 20);
  EXPECT_EQ(Hex(ip.substr(0, 10)), "4500001f000040004011");
  EXPECT_EQ(Hex(ip.substr(12)), "0a0000010a000002");
  EXPECT_EQ(Sum(0, ip), 0xffff);
  const std::string udp = packets[0].bytes.substr(34);
  EXPECT_EQ(Hex(udp.substr(0, 6)), "03e807d0000b");
  EXPECT_EQ(udp.substr(8), "abc");
  EXPECT_EQ(Sum(17 + 11, ip.substr(12) + udp), 0xffff);

  EXPECT_EQ(packets[1].flags, 1u);
  EXPECT_EQ(Hex(packets[1].bytes.substr(26, 12)), "0a0000020a000001000703e8");
}

TEST(PcapPortTest, WhatIsSentOnIsFromItsSource) {
  const std::string path = TestFile("forwarded.pcapng");
  FakeState state;
  ManualClock clock;
  {
    PcapDatagramPort port(std::make_unique<FakeDatagramPort>(state),
                          PcapWriter(FileAt(path), 65535), RecordTime::Virtual(clock));
    Datagram one[] = {{Peer{{2000, 0, 0}}, TextBuffer(port.pool(), "abc")}};
    const Peer source = {{7, 0, 0}};
    EXPECT_EQ(port.Forward(absl::MakeSpan(one), {&source, 1}), 1u);
  }
  const std::vector<Captured> packets = ParseCapture(path);
  ASSERT_EQ(packets.size(), 1u);
  EXPECT_EQ(packets[0].flags, 2u);
  EXPECT_EQ(Hex(packets[0].bytes.substr(26, 12)), "0a0000020a000002000707d0");
}

TEST(PcapPortTest, OtherAddressesAreWrittenAsIpv6) {
  const std::string path = TestFile("named.pcapng");
  FakeState state;
  ManualClock clock;
  {
    auto below = std::make_unique<FakeDatagramPort>(state);
    below->address = "shm:echo";
    PcapDatagramPort port(std::move(below), PcapWriter(FileAt(path), 65535),
                          RecordTime::Virtual(clock));
    Send(port, {"odd"});
  }
  const std::vector<Captured> packets = ParseCapture(path);
  ASSERT_EQ(packets.size(), 1u);
  const std::string& bytes = packets[0].bytes;
  EXPECT_EQ(Hex(bytes.substr(12, 10)), "86dd60000000000b1140");
  EXPECT_EQ(Hex(bytes.substr(22, 16)), "00000000000000000000ffff0a000001");
  EXPECT_EQ(Hex(bytes.substr(38, 8)), "fd77656674000000");
  EXPECT_EQ(Hex(bytes.substr(54, 6)), "03e87765000b");
  EXPECT_EQ(Sum(17 + 11, bytes.substr(22)), 0xffff);
}

TEST(PcapPortTest, ASocketOfBothFamiliesIsWhatItsPeerIs) {
  const std::string path = TestFile("both.pcapng");
  FakeState state;
  ManualClock clock;
  {
    auto below = std::make_unique<FakeDatagramPort>(state);
    FakeDatagramPort* fake = below.get();
    fake->own_address = "[::]:1000";
    PcapDatagramPort port(std::move(below), PcapWriter(FileAt(path), 65535),
                          RecordTime::Virtual(clock));
    Send(port, {"a"}, 1);
    fake->address = "[2001:db8::1]:53";
    Send(port, {"b"}, 2);
  }
  const std::vector<Captured> packets = ParseCapture(path);
  ASSERT_EQ(packets.size(), 2u);
  EXPECT_EQ(Hex(packets[0].bytes.substr(12, 2)), "0800");
  EXPECT_EQ(Hex(packets[0].bytes.substr(26, 8)), "000000000a000002");
  EXPECT_EQ(Hex(packets[1].bytes.substr(12, 2)), "86dd");
}

TEST(PcapPortTest, KeepsTheFirstBytesOfLongPackets) {
  const std::string path = TestFile("snap.pcapng");
  FakeState state;
  ManualClock clock;
  {
    PcapDatagramPort port(std::make_unique<FakeDatagramPort>(state), PcapWriter(FileAt(path), 50),
                          RecordTime::Virtual(clock));
    Send(port, {std::string(1000, 'x')});
    PcapDatagramPort tiny(std::make_unique<FakeDatagramPort>(state),
                          PcapWriter(FileAt(path + "-16"), 16), RecordTime::Virtual(clock));
    Send(tiny, {"x"});
  }
  ASSERT_EQ(ParseCapture(path).size(), 1u);
  EXPECT_EQ(ParseCapture(path)[0].captured_bytes, 50u);
  EXPECT_EQ(ParseCapture(path)[0].original_bytes, 1042u);
  EXPECT_EQ(ParseCapture(path)[0].bytes.substr(42), "xxxxxxxx");
  EXPECT_EQ(ParseCapture(path + "-16")[0].captured_bytes, 16u);
}

TEST(PcapPortTest, PayloadsTooLongForUdp) {
  const std::string path = TestFile("jumbo.pcapng");
  FakeState state;
  ManualClock clock;
  {
    PcapDatagramPort port(
        std::make_unique<FakeDatagramPort>(state, BufferPoolOptions{.count = 4, .bytes = 100'000}),
        PcapWriter(FileAt(path), 262'144), RecordTime::Virtual(clock));
    Send(port, {std::string(70'000, 'x')});
  }
  const std::vector<Captured> packets = ParseCapture(path);
  ASSERT_EQ(packets.size(), 1u);
  EXPECT_EQ(packets[0].captured_bytes, 70'070u);
  // IPv6 of no length with hop-by-hop options; Jumbo Payload; UDP of no length.
  EXPECT_EQ(Hex(packets[0].bytes.substr(12, 10)), "86dd6000000000000040");
  EXPECT_EQ(Hex(packets[0].bytes.substr(54, 8)), "1100c20400011180");
  EXPECT_EQ(Hex(packets[0].bytes.substr(66, 2)), "0000");
}

TEST(PcapPortTest, FramesAreWrittenAsTheyAre) {
  const std::string path = TestFile("frames.pcapng");
  FakeState state;
  ManualClock clock;
  {
    PcapFramePort port(std::make_unique<FakeFramePort>(state), PcapWriter(FileAt(path), 65535),
                       RecordTime::Virtual(clock));
    Buffer out[] = {TextBuffer(port.pool(), "not quite a frame")};
    port.Send(absl::MakeSpan(out));
    state.incoming = {"but in"};
    Buffer in[2];
    port.Receive(absl::MakeSpan(in));
    EXPECT_TRUE(port.Arm());
  }
  const std::vector<Captured> packets = ParseCapture(path);
  ASSERT_EQ(packets.size(), 2u);
  EXPECT_EQ(packets[0].bytes, "not quite a frame");
  EXPECT_EQ(packets[1].bytes, "but in");
}

// The judge is the program that people will use.
TEST(PcapPortTest, TsharkReadsIt) {
  if (std::system("command -v tshark >/dev/null 2>&1") != 0) {
    GTEST_SKIP() << "tshark is not installed";
  }
  const std::string path = TestFile("tshark.pcapng");
  FakeState state;
  ManualClock clock(1'700'000'000'123'456'789);
  {
    auto below =
        std::make_unique<FakeDatagramPort>(state, BufferPoolOptions{.count = 16, .bytes = 100'000});
    FakeDatagramPort* fake = below.get();
    PcapDatagramPort port(std::move(below), PcapWriter(FileAt(path), 262'144),
                          RecordTime::Virtual(clock));
    Send(port, {"abc"});
    state.incoming = {std::string(1400, 'z')};
    Receive(port);
    fake->address = "[2001:db8::1]:443";
    Send(port, {"0123456"}, 1);
    fake->address = "sim:server";
    Send(port, {"", std::string(70'000, 'j')}, 2);
  }
  const std::string command = absl::StrCat(
      "HOME=", testing::TempDir(), " tshark -n -r ", path,
      " -o udp.check_checksum:TRUE -o ip.check_checksum:TRUE -T fields -E separator=' '"
      " -e frame.time_epoch -e ip.src -e ipv6.dst -e udp.srcport -e udp.dstport -e udp.length"
      " -e ip.checksum.status -e udp.checksum.status -e _ws.malformed 2>",
      TestFile("tshark.err"));
  FILE* pipe = popen(command.c_str(), "r");
  ASSERT_NE(pipe, nullptr);
  std::string output;
  char chunk[4096];
  for (size_t n; (n = fread(chunk, 1, sizeof(chunk), pipe)) > 0;) output.append(chunk, n);
  ASSERT_EQ(pclose(pipe), 0) << ReadFile(TestFile("tshark.err"));
  // Checksums that hold have status 1; nothing is malformed.
  const std::string time = "1700000000.123456789 ";
  EXPECT_EQ(output, absl::StrCat(time, "10.0.0.1  1000 2000 11 1 1 \n",   //
                                 time, "10.0.0.2  7 1000 1408 1 1 \n",    //
                                 time, " 2001:db8::1 1000 443 15  1 \n",  //
                                 time, " fd77:6566:7400:0:e7c:fa1d:78b9:213d 1000 30565 8  1 \n",
                                 time, " fd77:6566:7400:0:e7c:fa1d:78b9:213d 1000 30565 0  1 \n"));
}

}  // namespace
}  // namespace weft
