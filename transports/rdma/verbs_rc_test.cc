// SPDX-License-Identifier: Apache-2.0
//
// Connections of real devices. Runs in the virtual machine: tools/vm/run --net.

#include <gtest/gtest.h>

#include <cstring>
#include <memory>
#include <vector>

#include "weft/transports/rdma/verbs_test_util.h"

namespace weft::rdma {
namespace {

using Kind = RcRequest::Kind;
using Result = RcCompletion::Result;

struct RcPair {
  End a{AddressOfEnd(0)}, b{AddressOfEnd(1)};
  std::unique_ptr<RcQueue> to_b, to_a;

  explicit RcPair(uint32_t slots = 64) {
    to_b = *a.completions->OpenRcQueue({.slots = slots});
    to_a = *b.completions->OpenRcQueue({.slots = slots});
    EXPECT_TRUE(to_a->Connect(to_b->address()).ok());
    EXPECT_TRUE(to_b->Connect(to_a->address()).ok());
  }
};

Result Wait(CompletionQueue& completions, uint64_t context) {
  RcCompletion completion;
  if (!Eventually([&] { return completions.Poll(absl::MakeSpan(&completion, 1)) == 1; })) {
    ADD_FAILURE() << "no completion of " << context;
    return Result::kError;
  }
  EXPECT_EQ(completion.context, context);
  return completion.result;
}

RcRequest Bind(Window* window, Piece what, uint64_t context = 1) {
  return {.kind = Kind::kBind,
          .context = context,
          .local = what,
          .window = window,
          .remote_read = true,
          .remote_write = true,
          .remote_atomic = true};
}

// Memory of b that a may use.
struct Exposed {
  Buffer buffer;
  std::unique_ptr<Window> window;

  Exposed(RcPair& pair, size_t bytes, uint8_t fill) : buffer(pair.b.pool.Allocate()) {
    std::memset(buffer.Append(bytes), fill, bytes);
    window = *pair.b.nic->OpenWindow();
    EXPECT_EQ(pair.to_a->Post({Bind(window.get(), pair.b.PieceOf(buffer))}), 1u);
    EXPECT_EQ(Wait(*pair.b.completions, 1), Result::kOk);
  }
  RcRequest Request(Kind kind, Piece local, uint64_t context = 2) const {
    RcRequest request;
    request.kind = kind;
    request.context = context;
    request.local = local;
    request.remote_address = reinterpret_cast<uint64_t>(buffer.data());
    request.remote_key = window->remote_key();
    return request;
  }
};

Buffer Room(End& end, size_t bytes) {
  Buffer buffer = end.pool.Allocate();
  std::memset(buffer.Append(bytes), 0, bytes);
  return buffer;
}

TEST(VerbsRcTest, ReadsAndWrites) {
  RcPair pair;
  Exposed exposed(pair, 8000, 0x5a);
  Buffer room = Room(pair.a, 8000);
  ASSERT_EQ(pair.to_b->Post({exposed.Request(Kind::kRead, pair.a.PieceOf(room))}), 1u);
  ASSERT_EQ(Wait(*pair.a.completions, 2), Result::kOk);
  EXPECT_EQ(room.bytes(), exposed.buffer.bytes());

  for (const uint32_t bytes : {8u, 4000u}) {  // inline, and not
    std::memset(room.data(), static_cast<int>(bytes / 8), room.size());
    Piece piece = pair.a.PieceOf(room);
    piece.bytes = bytes;
    ASSERT_EQ(pair.to_b->Post({exposed.Request(Kind::kWrite, piece)}), 1u);
    ASSERT_EQ(Wait(*pair.a.completions, 2), Result::kOk);
    EXPECT_EQ(std::memcmp(exposed.buffer.data(), room.data(), bytes), 0);
  }
  EXPECT_EQ(exposed.buffer.data()[4000], 0x5a);
}

TEST(VerbsRcTest, AtomicsGiveTheOldValue) {
  RcPair pair;
  Exposed exposed(pair, 64, 0);
  const Buffer old = Room(pair.a, 8);
  const auto value = [](const Buffer& buffer) {
    uint64_t number;
    std::memcpy(&number, buffer.data(), sizeof(number));
    return number;
  };
  RcRequest add = exposed.Request(Kind::kFetchAdd, pair.a.PieceOf(old));
  add.operand = 41;
  for (int i = 0; i < 2; ++i) {
    ASSERT_EQ(pair.to_b->Post({add}), 1u);
    ASSERT_EQ(Wait(*pair.a.completions, 2), Result::kOk);
  }
  EXPECT_EQ(value(old), 41u);
  EXPECT_EQ(value(exposed.buffer), 82u);

  RcRequest swap = exposed.Request(Kind::kCompareSwap, pair.a.PieceOf(old));
  swap.operand = 7;
  for (const uint64_t compare : {uint64_t{1}, uint64_t{82}}) {  // refused, done
    swap.compare = compare;
    ASSERT_EQ(pair.to_b->Post({swap}), 1u);
    ASSERT_EQ(Wait(*pair.a.completions, 2), Result::kOk);
    EXPECT_EQ(value(old), 82u);
  }
  EXPECT_EQ(value(exposed.buffer), 7u);
}

TEST(VerbsRcTest, AKeyIsVoidOnceInvalidated) {
  RcPair pair;
  Exposed exposed(pair, 4096, 1);
  const uint32_t first_key = exposed.window->remote_key();
  // Bound anew over and over, also twice in one burst.
  RcRequest invalidate{.kind = Kind::kInvalidate, .context = 1, .window = exposed.window.get()};
  const RcRequest bind = Bind(exposed.window.get(), pair.b.PieceOf(exposed.buffer));
  ASSERT_EQ(pair.to_a->Post({invalidate, bind, invalidate, bind}), 4u);
  for (int i = 0; i < 4; ++i) ASSERT_EQ(Wait(*pair.b.completions, 1), Result::kOk);
  EXPECT_NE(exposed.window->remote_key(), first_key);

  const Buffer room = Room(pair.a, 4096);
  ASSERT_EQ(pair.to_b->Post({exposed.Request(Kind::kRead, pair.a.PieceOf(room))}), 1u);
  EXPECT_EQ(Wait(*pair.a.completions, 2), Result::kOk);
  ASSERT_EQ(pair.to_a->Post({invalidate}), 1u);
  ASSERT_EQ(Wait(*pair.b.completions, 1), Result::kOk);
  ASSERT_EQ(pair.to_b->Post({exposed.Request(Kind::kRead, pair.a.PieceOf(room), 3),
                             exposed.Request(Kind::kRead, pair.a.PieceOf(room), 4)}),
            2u);
  EXPECT_EQ(Wait(*pair.a.completions, 3), Result::kDenied);
  EXPECT_EQ(Wait(*pair.a.completions, 4), Result::kFlushed);
}

TEST(VerbsRcTest, ReachesNothingBesideTheWindow) {
  for (int which = 0; which < 5; ++which) {
    RcPair pair;
    // Soft-RoCE does not check the bounds of windows.
    if (which >= 3 && pair.b.nic->limits().is_software) break;
    Exposed exposed(pair, 1024, 1);
    const Buffer room = Room(pair.a, 1024);
    RcRequest request = exposed.Request(Kind::kRead, pair.a.PieceOf(room));
    const absl::Span<uint8_t> memory = pair.b.memory->memory();
    const auto begin = reinterpret_cast<uint64_t>(memory.data());
    if (which == 0) request.remote_address = begin + memory.size() - 1023;
    if (which == 1) request.remote_address = begin - 1;
    if (which == 2) request.remote_key ^= 0x5;  // another key
    if (which == 3) request.remote_address += 1;
    if (which == 4) request.remote_address -= 1;
    ASSERT_EQ(pair.to_b->Post({request}), 1u);
    EXPECT_EQ(Wait(*pair.a.completions, 2), Result::kDenied) << which;
  }
}

// Though a longer registration holds the same bytes.
TEST(VerbsRcTest, AWindowIsBoundToTheRegistrationThatItsKeyNames) {
  RcPair pair;
  Exposed exposed(pair, 1024, 1);
  const auto own = pair.b.nic->Register({exposed.buffer.data(), 1024}, /*windows=*/true);
  ASSERT_TRUE(own.ok()) << own.status();
  Piece piece = pair.b.PieceOf(exposed.buffer);
  piece.local_key = (*own)->local_key();
  ASSERT_EQ(pair.to_a->Post({Bind(exposed.window.get(), piece)}), 1u);
  ASSERT_EQ(Wait(*pair.b.completions, 1), Result::kOk);
  const Buffer room = Room(pair.a, 1024);
  RcRequest request = exposed.Request(Kind::kRead, pair.a.PieceOf(room));
  ASSERT_EQ(pair.to_b->Post({request}), 1u);
  EXPECT_EQ(Wait(*pair.a.completions, 2), Result::kOk);
  ++request.remote_address;
  ASSERT_EQ(pair.to_b->Post({request}), 1u);
  EXPECT_EQ(Wait(*pair.a.completions, 2), Result::kDenied);
  exposed.window.reset();  // before what it is bound to
}

TEST(VerbsRcTest, AReadOnlyWindowIsNotWritten) {
  RcPair pair;
  Exposed exposed(pair, 1024, 1);
  RcRequest bind = Bind(exposed.window.get(), pair.b.PieceOf(exposed.buffer));
  bind.remote_write = bind.remote_atomic = false;
  ASSERT_EQ(pair.to_a->Post({bind}), 1u);  // without having been invalidated
  ASSERT_EQ(Wait(*pair.b.completions, 1), Result::kOk);
  const Buffer room = Room(pair.a, 1024);
  ASSERT_EQ(pair.to_b->Post({exposed.Request(Kind::kRead, pair.a.PieceOf(room)),
                             exposed.Request(Kind::kWrite, pair.a.PieceOf(room), 3)}),
            2u);
  EXPECT_EQ(Wait(*pair.a.completions, 2), Result::kOk);
  EXPECT_EQ(Wait(*pair.a.completions, 3), Result::kDenied);
  EXPECT_EQ(exposed.buffer.data()[0], 1);
}

TEST(VerbsRcTest, AKeyWorksOnItsConnectionOnly) {
  RcPair pair;
  Exposed exposed(pair, 1024, 1);
  auto other_b = *pair.a.completions->OpenRcQueue({});
  auto other_a = *pair.b.completions->OpenRcQueue({});
  ASSERT_TRUE(other_a->Connect(other_b->address()).ok());
  ASSERT_TRUE(other_b->Connect(other_a->address()).ok());
  const Buffer room = Room(pair.a, 1024);
  ASSERT_EQ(other_b->Post({exposed.Request(Kind::kRead, pair.a.PieceOf(room))}), 1u);
  EXPECT_EQ(Wait(*pair.a.completions, 2), Result::kDenied);
}

TEST(VerbsRcTest, APeerThatHasGoneIsLost) {
  RcPair pair;
  Exposed exposed(pair, 1024, 1);
  pair.to_a.reset();
  const Buffer room = Room(pair.a, 1024);
  ASSERT_EQ(pair.to_b->Post({exposed.Request(Kind::kRead, pair.a.PieceOf(room), 2),
                             exposed.Request(Kind::kRead, pair.a.PieceOf(room), 3)}),
            2u);
  EXPECT_EQ(Wait(*pair.a.completions, 2), Result::kPeerLost);
  EXPECT_EQ(Wait(*pair.a.completions, 3), Result::kFlushed);

  // A connection anew, and the window of the old one for it.
  pair.to_b = *pair.a.completions->OpenRcQueue({});
  pair.to_a = *pair.b.completions->OpenRcQueue({});
  ASSERT_TRUE(pair.to_a->Connect(pair.to_b->address()).ok());
  ASSERT_TRUE(pair.to_b->Connect(pair.to_a->address()).ok());
  ASSERT_EQ(pair.to_a->Post({Bind(exposed.window.get(), pair.b.PieceOf(exposed.buffer))}), 1u);
  ASSERT_EQ(Wait(*pair.b.completions, 1), Result::kOk);
  ASSERT_EQ(pair.to_b->Post({exposed.Request(Kind::kRead, pair.a.PieceOf(room), 4)}), 1u);
  EXPECT_EQ(Wait(*pair.a.completions, 4), Result::kOk);
}

TEST(VerbsRcTest, ConnectsAgainAndItsWindowsStay) {
  RcPair pair;
  Exposed exposed(pair, 1024, 1);
  const Buffer room = Room(pair.a, 1024);
  for (int round = 0; round < 3; ++round) {
    EXPECT_FALSE(pair.to_b->failed());
    EXPECT_FALSE(pair.to_a->failed());
    // A mistake of one end brings both into their error state.
    RcRequest wrong = exposed.Request(Kind::kRead, pair.a.PieceOf(room), 3);
    wrong.remote_key ^= 0x5;
    ASSERT_EQ(pair.to_b->Post({wrong, wrong}), 2u);
    EXPECT_EQ(Wait(*pair.a.completions, 3), Result::kDenied);
    EXPECT_TRUE(pair.to_b->failed());
    EXPECT_TRUE(Eventually([&] { return pair.to_a->failed(); }));
    if (round == 1) pair.to_b = *pair.a.completions->OpenRcQueue({});  // with another end
    ASSERT_TRUE(pair.to_a->Connect(pair.to_b->address()).ok());
    ASSERT_TRUE(pair.to_b->Connect(pair.to_a->address()).ok());
    ASSERT_EQ(pair.to_b->Post({exposed.Request(Kind::kRead, pair.a.PieceOf(room), 4)}), 1u);
    // The other wrong one was flushed, unless the queue has ended.
    if (round != 1) {
      EXPECT_EQ(Wait(*pair.a.completions, 3), Result::kFlushed);
    }
    EXPECT_EQ(Wait(*pair.a.completions, 4), Result::kOk) << round;
  }
}

TEST(VerbsRcTest, AWindowWandersBetweenConnections) {
  RcPair pair;
  Exposed exposed(pair, 1024, 1);
  auto other_b = *pair.a.completions->OpenRcQueue({});
  auto other_a = *pair.b.completions->OpenRcQueue({});
  ASSERT_TRUE(other_a->Connect(other_b->address()).ok());
  ASSERT_TRUE(other_b->Connect(other_a->address()).ok());
  const Buffer room = Room(pair.a, 1024);
  RcQueue* owners[] = {other_a.get(), pair.to_a.get()};
  RcQueue* readers[] = {other_b.get(), pair.to_b.get()};
  RcQueue* former = pair.to_a.get();
  const RcRequest bind = Bind(exposed.window.get(), pair.b.PieceOf(exposed.buffer));
  RcRequest invalidate{.kind = Kind::kInvalidate, .context = 1, .window = exposed.window.get()};
  for (int i = 0; i < 12; ++i) {
    // Invalidated, and known to be; not known to be; not at all.
    if (i % 3 != 2) {
      invalidate.signalled = i % 3 == 0;
      ASSERT_EQ(former->Post({invalidate}), 1u);
      if (invalidate.signalled) {
        ASSERT_EQ(Wait(*pair.b.completions, 1), Result::kOk);
      }
    }
    former = owners[i % 2];
    ASSERT_EQ(former->Post({bind}), 1u);
    ASSERT_EQ(Wait(*pair.b.completions, 1), Result::kOk) << i;
    ASSERT_EQ(readers[i % 2]->Post({exposed.Request(Kind::kRead, pair.a.PieceOf(room))}), 1u);
    ASSERT_EQ(Wait(*pair.a.completions, 2), Result::kOk) << i;
  }
}

TEST(VerbsRcTest, UnsignalledRequestsAreSilentAndGiveTheirSlotsBack) {
  RcPair pair(/*slots=*/16);
  Exposed exposed(pair, 64, 1);
  const Buffer room = Room(pair.a, 64);
  RcRequest write = exposed.Request(Kind::kWrite, pair.a.PieceOf(room));
  write.signalled = false;
  size_t posted = 0;
  RcCompletion completion;
  ASSERT_TRUE(Eventually([&] {
    posted += pair.to_b->Post({write, write, write});
    EXPECT_EQ(pair.a.completions->Poll(absl::MakeSpan(&completion, 1)), 0u);
    return posted >= 100;
  }));
  write.signalled = true;
  write.context = 9;
  ASSERT_TRUE(Eventually([&] {
    EXPECT_EQ(pair.a.completions->Poll(absl::MakeSpan(&completion, 1)), 0u);
    return pair.to_b->Post({write}) == 1;
  }));
  EXPECT_EQ(Wait(*pair.a.completions, 9), Result::kOk);
}

TEST(VerbsRcTest, MayEndWhileRequestsAreUnderWay) {
  RcPair pair;
  Exposed exposed(pair, 8000, 1);
  const Buffer room = Room(pair.a, 8000);
  auto other_b = *pair.a.completions->OpenRcQueue({});
  auto other_a = *pair.b.completions->OpenRcQueue({});
  ASSERT_TRUE(other_a->Connect(other_b->address()).ok());
  ASSERT_TRUE(other_b->Connect(other_a->address()).ok());
  const auto window = *pair.a.nic->OpenWindow();
  const std::vector<RcRequest> reads(60, exposed.Request(Kind::kRead, pair.a.PieceOf(room), 5));
  ASSERT_EQ(other_b->Post({Bind(window.get(), pair.a.PieceOf(room), 77)}), 1u);
  ASSERT_EQ(pair.to_b->Post(reads), 60u);
  pair.to_b.reset();
  // Of the other connection all completions come, of this one none.
  EXPECT_EQ(Wait(*pair.a.completions, 77), Result::kOk);
  RcCompletion completion;
  EXPECT_EQ(pair.a.completions->Poll(absl::MakeSpan(&completion, 1)), 0u);
}

TEST(VerbsRcTest, TheCompletionQueueGrowsWithConnections) {
  RcPair pair;
  Exposed exposed(pair, 64, 1);
  std::vector<std::unique_ptr<RcQueue>> more;
  for (int i = 0; i < 40; ++i) more.push_back(*pair.a.completions->OpenRcQueue({.slots = 128}));
  const Buffer room = Room(pair.a, 64);
  ASSERT_EQ(pair.to_b->Post({exposed.Request(Kind::kRead, pair.a.PieceOf(room))}), 1u);
  EXPECT_EQ(Wait(*pair.a.completions, 2), Result::kOk);
}

TEST(VerbsRcTest, ASleeperWakesForACompletion) {
  RcPair pair;
  Exposed exposed(pair, 4096, 1);
  const Buffer room = Room(pair.a, 4096);
  for (int round = 0; round < 2; ++round) {
    ASSERT_TRUE(pair.a.completions->Arm());
    ASSERT_EQ(pair.to_b->Post({exposed.Request(Kind::kRead, pair.a.PieceOf(room))}), 1u);
    EXPECT_TRUE(IsReadable(pair.a.completions->wait_fd(), 20000));
    pair.a.completions->Disarm();
    EXPECT_EQ(Wait(*pair.a.completions, 2), Result::kOk);
  }
}

}  // namespace
}  // namespace weft::rdma
