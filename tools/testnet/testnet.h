// SPDX-License-Identifier: Apache-2.0
//
// Networks that a test makes for itself: namespaces joined by veth pairs, and switches. Nothing
// leaves them, nothing else sees them, and they go with the process.
//
//   static absl::StatusOr<Namespace> peer = Namespace::Make();
//   static absl::StatusOr<Namespace> own = Namespace::Make();  // the thread is in this one now
//   if (!own.ok()) GTEST_SKIP() << own.status();
//   ASSERT_TRUE(MakeVeth(*own, "near0", *peer, "far0", {.mtu = 9000}).ok());
//   ASSERT_TRUE(peer->AddAddress("far0", "10.0.0.2/24").ok());
//   EXPECT_TRUE(own->Run("ping -c 1 10.0.0.2").ok());
//
// A thread is in one namespace, its children inherit it, and sockets and devices stay for good in
// that in which they were opened: make the first one before threads start. Without root the process
// enters a user namespace of its own, which only a process of one thread can.
#ifndef WEFT_TOOLS_TESTNET_TESTNET_H_
#define WEFT_TOOLS_TESTNET_TESTNET_H_

#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "weft/core/unique_fd.h"
#include "weft/tools/testnet/process.h"

namespace weft::testnet {

// A network namespace. It lives as long as this object, a thread, a process or a socket is in it.
class Namespace {
 public:
  // Makes one, with loopback up, and moves the calling thread to it. In it devices get no IPv6
  // addresses by themselves. The error says why this
  // user on this machine cannot: skip the test with it.
  static absl::StatusOr<Namespace> Make();

  // Moves the calling thread to it.
  absl::Status Enter() const;

  // Runs a command of the shell in it, and waits for its end; after `timeout` it is killed.
  CommandResult Run(const std::string& command, absl::Duration timeout = kCommandTimeout) const;
  Process Start(const std::string& command) const { return Process::Start(command, fd_.get()); }
  // `ip ARGUMENTS`; the error has its output.
  absl::Status Ip(const std::string& arguments) const;

  // Gives `device` an address with the length of its prefix, as in "fd00::2/64", which sockets may
  // be bound to at once. (By `ip addr add` an IPv6 address is tentative until a work queue of the
  // kernel has come round, even where no duplicates are looked for.)
  absl::Status AddAddress(const std::string& device, const std::string& address) const;

  // For programs, as in `ip link set eth0 netns PATH`; good while this object lives.
  std::string path() const;

 private:
  explicit Namespace(UniqueFd fd) : fd_(std::move(fd)) {}
  UniqueFd fd_;
};

// The calling thread is elsewhere for a while; it must be in a namespace of Make() before.
class ScopedNamespace {
 public:
  explicit ScopedNamespace(const Namespace& there);
  ~ScopedNamespace();
  ScopedNamespace(const ScopedNamespace&) = delete;
  ScopedNamespace& operator=(const ScopedNamespace&) = delete;

 private:
  UniqueFd before_;
};

struct LinkOptions {
  int mtu = 1500;
  int queues = 1;     // each way
  bool ipv6 = false;  // without it the kernel sends nothing by itself
};

// Joins two namespaces, or two places of one, by a veth pair. Both ends are up on return.
absl::Status MakeVeth(const Namespace& a, const std::string& name_a, const Namespace& b,
                      const std::string& name_b, const LinkOptions& options = {});

// A switch in `place` with a veth pair for each of `ends`, which are its other ends, in `place` too
// and up on return. Names have at most 13 characters; the switch's own ports have "-p" behind them.
absl::Status MakeSwitch(const Namespace& place, const std::string& name,
                        const std::vector<std::string>& ends, const LinkOptions& options = {});

// Makes `device` of `place` a port of its switch `name`, as a TAP device may be, and brings it up.
absl::Status AddToSwitch(const Namespace& place, const std::string& name,
                         const std::string& device);

// Waits until `device` of `place` carries frames, or no longer does.
absl::Status WaitForLink(const Namespace& place, const std::string& device, bool up);

}  // namespace weft::testnet

#endif  // WEFT_TOOLS_TESTNET_TESTNET_H_
