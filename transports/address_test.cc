// SPDX-License-Identifier: Apache-2.0
#include "weft/transports/address.h"

#include <net/if.h>

#include <string>

#include "absl/container/flat_hash_set.h"
#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"

namespace weft {
namespace {

constexpr char kForms[] =
    "expected 10.0.0.1:8000, [2001:db8::1]:8000, [fe80::1%eth0]:8000, shm:NAME or sim:NAME";

struct TextForm {
  const char* text;
  Address::Kind kind;
};

class RoundTrip : public testing::TestWithParam<TextForm> {};

TEST_P(RoundTrip, TextToAddressToText) {
  const absl::StatusOr<Address> address = Address::Parse(GetParam().text);
  ASSERT_TRUE(address.ok()) << address.status();
  EXPECT_EQ(address->kind(), GetParam().kind);
  EXPECT_EQ(address->ToString(), GetParam().text);
}

INSTANTIATE_TEST_SUITE_P(
    Address, RoundTrip,
    testing::Values(
        TextForm{"10.0.0.1:8000", Address::Kind::kIpv4},
        TextForm{"0.0.0.0:0", Address::Kind::kIpv4},
        TextForm{"255.255.255.255:65535", Address::Kind::kIpv4},
        TextForm{"[2001:db8::1]:8000", Address::Kind::kIpv6},
        TextForm{"[::]:0", Address::Kind::kIpv6}, TextForm{"[::1]:65535", Address::Kind::kIpv6},
        TextForm{"[::ffff:10.0.0.1]:80", Address::Kind::kIpv6},
        TextForm{"[fe80::1%lo]:8000", Address::Kind::kIpv6},
        // An interface that this machine does not have keeps its number.
        TextForm{"[fe80::1%4294967295]:8000", Address::Kind::kIpv6},
        TextForm{"shm:echo", Address::Kind::kShm}, TextForm{"shm:A-z_0.9", Address::Kind::kShm},
        TextForm{"sim:server-1", Address::Kind::kSim}, TextForm{"sim:x", Address::Kind::kSim}));

TEST(AddressTest, PartsAreThoseOfTheText) {
  const Address v4 = *Address::Parse("10.1.2.3:8000");
  EXPECT_EQ(v4, Address::Ipv4({10, 1, 2, 3}, 8000));
  EXPECT_EQ(v4.ipv4(), (Address::Ipv4Bytes{10, 1, 2, 3}));
  EXPECT_EQ(v4.port(), 8000);
  EXPECT_TRUE(v4.is_ip());

  const Address v6 = *Address::Parse("[fe80::2%lo]:9");
  EXPECT_EQ(v6.ipv6()[0], 0xfe);
  EXPECT_EQ(v6.ipv6()[15], 2);
  EXPECT_EQ(v6.port(), 9);
  EXPECT_EQ(v6.scope(), if_nametoindex("lo"));
  EXPECT_TRUE(v6.is_ip());

  const Address shm = *Address::Parse("shm:echo");
  EXPECT_EQ(shm, Address::Shm("echo"));
  EXPECT_EQ(shm.name(), "echo");
  EXPECT_FALSE(shm.is_ip());
  EXPECT_EQ(*Address::Parse("sim:echo"), Address::Sim("echo"));
}

TEST(AddressTest, OtherSpellingsOfTheSameAddress) {
  EXPECT_EQ(Address::Parse("localhost:8000")->ToString(), "127.0.0.1:8000");
  EXPECT_EQ(Address::Parse("10.0.0.1:0080")->ToString(), "10.0.0.1:80");
  EXPECT_EQ(Address::Parse("[2001:DB8:0:0:0:0:0:1]:1")->ToString(), "[2001:db8::1]:1");
  EXPECT_EQ(Address::Parse(absl::StrCat("[fe80::1%", if_nametoindex("lo"), "]:1"))->ToString(),
            "[fe80::1%lo]:1");
}

TEST(AddressTest, LongestName) {
  const std::string longest(64, 'n');
  EXPECT_TRUE(Address::Parse(absl::StrCat("shm:", longest)).ok());
  EXPECT_FALSE(Address::Parse(absl::StrCat("shm:", longest, "n")).ok());
}

TEST(AddressTest, DefaultIsNone) {
  EXPECT_EQ(Address().kind(), Address::Kind::kNone);
  EXPECT_EQ(Address().ToString(), "none");
  EXPECT_FALSE(Address::Parse("none").ok());
}

TEST(AddressTest, DifferentAddressesAreUnequal) {
  absl::flat_hash_set<Address> all;
  for (const char* text : {"10.0.0.1:1", "10.0.0.1:2", "10.0.0.2:1", "[::1]:1", "[::2]:1",
                           "[fe80::1%1000]:1", "[fe80::1%1001]:1", "shm:a", "shm:b", "sim:a"}) {
    EXPECT_TRUE(all.insert(*Address::Parse(text)).second) << text;
    EXPECT_TRUE(all.contains(*Address::Parse(text))) << text;
  }
  EXPECT_TRUE(all.insert(Address()).second);
}

struct BadText {
  std::string text;
  std::string message;
};

class Errors : public testing::TestWithParam<BadText> {};

TEST_P(Errors, SayWhatIsWrong) {
  const absl::StatusOr<Address> address = Address::Parse(GetParam().text);
  EXPECT_EQ(address.status(), absl::InvalidArgumentError(GetParam().message));
}

const char kName[] = "a name is 1 to 64 of A-Z a-z 0-9 _ . - and does not begin with a dot";
const char kPort[] = "the port must be 0 to 65535";
const char kBrackets[] = "an IPv6 address stands in brackets: [ADDRESS]:PORT";
const char kWritten[] = "an IPv6 address and port are written [ADDRESS]:PORT";

const char kAscii[] = "has a space or a character that is not ASCII";

BadText Bad(const std::string& text, const std::string& why) {
  return {text, absl::StrCat("address '", text, "': ", why)};
}

INSTANTIATE_TEST_SUITE_P(
    Address, Errors,
    testing::Values(
        Bad("", kForms), Bad("10.0.0.1", absl::StrCat("no port; ", kForms)),
        Bad("echo", absl::StrCat("no port; ", kForms)), Bad("10.0.0.1:", kPort),
        Bad("10.0.0.1:65536", kPort), Bad("10.0.0.1:99999999999", kPort), Bad("10.0.0.1:-1", kPort),
        Bad("10.0.0.1:+1", kPort), Bad("10.0.0.1: 1", kAscii), Bad("10.0.0.1:http", kPort),
        Bad("10.0.0:1", absl::StrCat("'10.0.0' is not an IPv4 address, and names are not "
                                     "looked up; ",
                                     kForms)),
        Bad("10.0.0.256:1", absl::StrCat("'10.0.0.256' is not an IPv4 address, and names are not "
                                         "looked up; ",
                                         kForms)),
        Bad("example.org:80", absl::StrCat("'example.org' is not an IPv4 address, and names are "
                                           "not looked up; ",
                                           kForms)),
        Bad(":80",
            absl::StrCat("'' is not an IPv4 address, and names are not looked up; ", kForms)),
        Bad("2001:db8::1", kBrackets), Bad("::1:8000", kBrackets), Bad("[::1]", kWritten),
        Bad("[::1", kWritten), Bad("[", kWritten), Bad("[::1]8000", kWritten), Bad("[::1]:", kPort),
        Bad("[::1]:65536", kPort), Bad("[10.0.0.1]:80", "'10.0.0.1' is not an IPv6 address"),
        Bad("[]:80", "'' is not an IPv6 address"),
        Bad("[fe80::1%no-such]:80", "no interface 'no-such' on this machine"),
        Bad("[fe80::1%]:80", "no interface '' on this machine"),
        Bad("[fe80::1%0]:80", "no interface '0' on this machine"),
        Bad("[fe80::1%4294967296]:80", "no interface '4294967296' on this machine"),
        Bad("shm:", kName), Bad("shm:.hidden", kName), Bad("shm:a/b", kName),
        Bad("shm:a b", kAscii), Bad("sim:", kName), Bad("sim:a:b", kName),
        BadText{std::string("127.0.0.1\0x:80", 14),
                absl::StrCat("address '127.0.0.1\\x00x:80': ", kAscii)},
        BadText{"shm:\xff\n", absl::StrCat("address 'shm:\xff\\n': ", kAscii)}));

TEST(AddressTest, KindNames) {
  EXPECT_EQ(KindName(Address::Kind::kNone), "none");
  EXPECT_EQ(KindName(Address::Kind::kIpv4), "IPv4");
  EXPECT_EQ(KindName(Address::Kind::kIpv6), "IPv6");
  EXPECT_EQ(KindName(Address::Kind::kShm), "shm");
  EXPECT_EQ(KindName(Address::Kind::kSim), "sim");
}

}  // namespace
}  // namespace weft
