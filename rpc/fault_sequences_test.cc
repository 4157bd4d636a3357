// SPDX-License-Identifier: Apache-2.0
//
// Short exchanges, exhaustively: each of the first packets is delivered, lost, duplicated,
// overtaken or very late, in every combination. Calls are also given up, and sessions and servers
// ended, at every moment of an exchange, each under all scripts that are two packets shorter. A
// scenario and the number of a script fix a run:
//
//   bazel test //rpc:fault_sequences_test                     scripts of five packets
//   bazel run //rpc:fault_sequences_test -- 7                 of seven
//   bazel run //rpc:fault_sequences_test -- 5 3 1234          scenario 3, script 1234 alone
#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "weft/core/task.h"
#include "weft/core/virtual_time.h"
#include "weft/rpc/call_status.h"
#include "weft/rpc/client.h"
#include "weft/rpc/fault_script.h"
#include "weft/rpc/server.h"
#include "weft/transports/sim/sim_transport.h"

namespace weft::rpc {
namespace {

size_t script_length = 5;
int only_scenario = -1;
int64_t only_script = -1;

constexpr int64_t kNever = 0;

struct Scenario {
  const char* name;
  bool connected = true;  // before the script begins
  size_t request_bytes = 64;
  size_t reply_bytes = 64;
  int64_t handler_ns = 0;          // that it sleeps; 0: it answers at once
  int64_t cancel_ns = kNever;      // after the calls have begun
  int64_t disconnect_ns = kNever;  // likewise
  int64_t drain_ns = kNever;       // likewise
  int64_t timeout_ns = 2'000'000'000;
  size_t calls = 1;
  size_t slots = 4;
  Wire wire = Wire::kExtended;
  bool reconnects = false;  // disconnects an idle session, and calls through one that follows it
  bool moment = false;      // one of AtEveryMoment()
};

const Scenario kScenarios[] = {
    {.name = "connect and call", .connected = false},
    {.name = "negotiate and call", .connected = false, .wire = Wire::kAuto},
    {.name = "call"},
    {.name = "a handler beyond the timeout", .handler_ns = 3'000'000},
    {.name = "a handler that sleeps a little", .handler_ns = 30'000},
    {.name = "a request of three packets", .request_bytes = 4000},
    {.name = "a reply of three packets", .reply_bytes = 4000},
    {.name = "cancelled at once", .handler_ns = 3'000'000, .cancel_ns = 1},
    {.name = "cancelled while it executes", .handler_ns = 3'000'000, .cancel_ns = 200'000},
    {.name = "a long request, cancelled", .request_bytes = 4000, .cancel_ns = 9'000},
    {.name = "a long reply, cancelled", .reply_bytes = 4000, .cancel_ns = 12'000},
    {.name = "a deadline", .handler_ns = 3'000'000, .timeout_ns = 1'500'000},
    {.name = "a long reply against a deadline", .reply_bytes = 4000, .timeout_ns = 700'000},
    {.name = "four calls through one slot", .calls = 4, .slots = 1},
    {.name = "disconnected", .handler_ns = 1'000'000, .disconnect_ns = 100'000},
    {.name = "drained", .handler_ns = 1'000'000, .drain_ns = 100'000},
    {.name = "reconnected", .connected = false, .reconnects = true},
    {.name = "connected and reconnected", .reconnects = true},
};

// What may happen in the middle of an exchange, at any time from its first packet to long after.
std::vector<Scenario> AtEveryMoment() {
  constexpr int64_t kMomentsNs[] = {1, 3'000, 7'000, 11'000, 15'000, 30'000, 300'000, 1'100'000};
  const Scenario shapes[] = {
      {.name = "connect and call", .connected = false},
      {.name = "call"},
      {.name = "slow call", .handler_ns = 1'500'000},
      {.name = "long request", .request_bytes = 4000},
      {.name = "long reply", .reply_bytes = 4000},
      {.name = "four calls, one slot", .handler_ns = 20'000, .calls = 4, .slots = 1},
  };
  std::vector<Scenario> all;
  for (Scenario scenario : shapes) {
    scenario.moment = true;
    for (int64_t Scenario::*const what : {&Scenario::cancel_ns, &Scenario::disconnect_ns,
                                          &Scenario::drain_ns, &Scenario::timeout_ns}) {
      for (const int64_t moment_ns : kMomentsNs) {
        all.push_back(scenario);
        all.back().*what = moment_ns;
      }
    }
  }
  return all;
}

const std::vector<Scenario>& AllScenarios() {
  static const auto* const all = [] {
    auto* scenarios = new std::vector<Scenario>(std::begin(kScenarios), std::end(kScenarios));
    for (const Scenario& scenario : AtEveryMoment()) scenarios->push_back(scenario);
    return scenarios;
  }();
  return *all;
}

std::string Describe(const Scenario& s) {
  return absl::StrCat(s.name, s.connected ? "" : " (not connected)", ", cancel ", s.cancel_ns,
                      ", disconnect ", s.disconnect_ns, ", drain ", s.drain_ns, ", timeout ",
                      s.timeout_ns, " ns");
}

std::string Text(size_t size, size_t number) {
  std::string text(size, static_cast<char>('a' + number % 26));
  for (size_t i = 0; i < size; i += 7) text[i] = static_cast<char>(i * 31 + number);
  if (size > 0) text[0] = static_cast<char>(number);
  return text;
}

absl::Span<const uint8_t> Bytes(const std::string& text) {
  return {reinterpret_cast<const uint8_t*>(text.data()), text.size()};
}

class Exchange {
 public:
  Exchange(const Scenario& scenario, FaultScript script)
      : scenario_(scenario),
        script_(std::move(script)),
        network_(1, {.latency_ns = 4'000}),
        transport_(sim::OpenTransport(&network_, {.count = 128})),
        loop_({}, network_) {
    const SessionOptions session = {.timeout = absl::Seconds(1), .slots = scenario.slots};
    server_ = *Server::Create(loop_, Open("server"), {.session = session, .key_seed = 1},
                              [this](ServerCall call) { return Serve(std::move(call)); });
    client_ = *Client::Create(loop_, Open("client"),
                              {.timeout = absl::Nanoseconds(scenario.timeout_ns),
                               .request_id_seed = 1,
                               .wire = scenario.wire,
                               .session = session});
    server_peer_ = *client_->Resolve(Address::Sim("server"));
  }

  void Go() {
    Target target = server_peer_;
    if (OwnSession()) target = session_ = *client_->Connect(server_peer_);
    if (scenario_.connected) WarmUp(target);
    script_.active = true;
    if (scenario_.reconnects) {
      RunFor(3'000);  // a HELLO is under way
      client_->Disconnect(session_);
      RunFor(20'000);
      target = session_ = *client_->Connect(server_peer_);
    }
    for (size_t i = 0; i < scenario_.calls; ++i) Begin(target, i);
    ScheduleAll();
    RunVirtual(network_, {&loop_}, [&] { return ended() == scenario_.calls; });
    // What is late comes, and what was given up is told to the server.
    RunFor(80'000'000);
    // Partial requests of callers that gave up at their deadline.
    if (server_->incomplete() > 0) RunFor(3'000'000'000);
    Check();
    CheckSessions();
    if (!server_->draining()) WarmUp(server_peer_);
  }

 private:
  struct Outcome {
    int ended = 0;
    int executed = 0;
    bool cancelled = false;
    absl::Status status;
  };

  std::unique_ptr<DatagramPort> Open(const std::string& name) {
    return std::make_unique<ScriptedPort>(
        *transport_->OpenDatagramPort({.local = Address::Sim(name)}), network_, script_);
  }

  bool OwnSession() const { return scenario_.disconnect_ns != kNever || scenario_.reconnects; }

  // A call that must succeed, as nothing disturbs it.
  void WarmUp(const Target& target) {
    std::optional<absl::Status> status;
    const std::string warm_up(1, '\xff');
    const auto begun = client_->Call(
        target, Bytes(warm_up), [&](absl::StatusOr<BufferChain> reply) { status = reply.status(); },
        {.timeout = absl::Seconds(2)});
    ASSERT_TRUE(begun.ok()) << begun.status();
    RunVirtual(network_, {&loop_}, [&] { return status.has_value(); });
    EXPECT_EQ(status, absl::OkStatus()) << "an undisturbed call";
  }

  void Begin(const Target& target, size_t i) {
    outcomes_.emplace_back();
    const absl::StatusOr<CallId> begun =
        client_->Call(target, Bytes(Text(scenario_.request_bytes, i)),
                      [this, i](absl::StatusOr<BufferChain> reply) { OnEnd(i, std::move(reply)); });
    ASSERT_TRUE(begun.ok()) << begun.status();
    ids_.push_back(*begun);
  }

  void OnEnd(size_t i, absl::StatusOr<BufferChain> reply) {
    ++outcomes_[i].ended;
    outcomes_[i].status = reply.status();
    if (!reply.ok()) return;
    EXPECT_EQ(reply->ToString(), Text(scenario_.reply_bytes, i + 100));
  }

  void ScheduleAll() {
    const int64_t now_ns = network_.NowNs();
    if (scenario_.cancel_ns != kNever) {
      network_.events().At(now_ns + scenario_.cancel_ns, [this] {
        for (size_t i = 0; i < ids_.size(); ++i) {
          if (outcomes_[i].ended > 0) continue;
          client_->Cancel(ids_[i]);
          outcomes_[i].cancelled = true;
        }
      });
    }
    if (scenario_.disconnect_ns != kNever) {
      network_.events().At(now_ns + scenario_.disconnect_ns,
                           [this] { client_->Disconnect(session_); });
    }
    if (scenario_.drain_ns != kNever) {
      network_.events().At(now_ns + scenario_.drain_ns, [this] { server_->Drain(nullptr); });
    }
  }

  Task<void> Serve(ServerCall call) {
    const std::string request = call.request().ToString();
    const auto number = static_cast<uint8_t>(request[0]);
    if (number != 0xff) {
      EXPECT_EQ(request, Text(scenario_.request_bytes, number));
      ++outcomes_[number].executed;
      if (scenario_.handler_ns > 0) co_await loop_.Sleep(absl::Nanoseconds(scenario_.handler_ns));
    }
    const std::string reply = Text(scenario_.reply_bytes, number + 100u);
    (void)call.Reply(Bytes(reply));
  }

  size_t ended() const {
    size_t n = 0;
    for (const Outcome& outcome : outcomes_) n += outcome.ended > 0 || outcome.cancelled;
    return n;
  }

  void RunFor(int64_t ns) {
    bool over = false;
    network_.events().At(network_.NowNs() + ns, [&over] { over = true; });
    RunVirtual(network_, {&loop_}, [&] { return over; });
  }

  void Check() {
    const bool disturbed = scenario_.cancel_ns != kNever || scenario_.disconnect_ns != kNever ||
                           scenario_.timeout_ns < 1'000'000'000;
    for (const Outcome& outcome : outcomes_) {
      EXPECT_EQ(outcome.ended, outcome.cancelled ? 0 : 1) << "a call ends exactly once";
      EXPECT_LE(outcome.executed, 1) << "a request is executed at most once";
      if (outcome.cancelled) continue;
      if (outcome.status.ok()) {
        EXPECT_EQ(outcome.executed, 1);
      } else if (WasNotExecuted(outcome.status)) {
        EXPECT_EQ(outcome.executed, 0) << outcome.status;
      }
      const bool refused = scenario_.drain_ns != kNever && absl::IsUnavailable(outcome.status) &&
                           WasNotExecuted(outcome.status);
      EXPECT_TRUE(disturbed || refused || outcome.status.ok()) << outcome.status;
    }
    EXPECT_EQ(client_->outstanding(), 0u);
    EXPECT_EQ(client_->port().pool().available(), client_->port().pool().count());
    EXPECT_EQ(server_->port().pool().available(), server_->port().pool().count());
    EXPECT_EQ(server_->stats().executing.value(), 0);
    EXPECT_EQ(server_->incomplete(), 0u);
  }

  void CheckSessions() {
    client_->sessions().ForEach([this](const ClientSession& session) {
      EXPECT_EQ(session.in_flight, 0u);
      EXPECT_TRUE(session.waiting.empty());
      EXPECT_TRUE(session.sending.empty());
      EXPECT_EQ(session.free_slots.size(), session.slots.size());
      EXPECT_NE(session.state, ClientSession::State::kClosing);
      EXPECT_NE(session.state, ClientSession::State::kDraining);
      if (scenario_.disconnect_ns != kNever) {
        EXPECT_FALSE(session.own) << "it was disconnected";
      }
    });
    server_->ForEachSession([](const SessionInfo& session) { EXPECT_EQ(session.executing, 0u); });
  }

  const Scenario& scenario_;
  FaultScript script_;
  sim::Network network_;
  std::unique_ptr<Transport> transport_;
  Loop loop_;
  std::vector<Outcome> outcomes_;
  std::vector<CallId> ids_;
  std::unique_ptr<Server> server_;
  std::unique_ptr<Client> client_;
  Peer server_peer_;
  SessionId session_;
};

class FaultSequencesTest : public testing::TestWithParam<size_t> {};

TEST_P(FaultSequencesTest, EveryCallEndsOnceAndRunsAtMostOnce) {
  if (only_scenario >= 0 && GetParam() != static_cast<size_t>(only_scenario)) GTEST_SKIP();
  const Scenario& scenario = AllScenarios()[GetParam()];
  const size_t length = scenario.moment ? std::max<size_t>(script_length, 3) - 2 : script_length;
  int64_t scripts = 1;
  for (size_t i = 0; i < length; ++i) scripts *= kFates;
  for (int64_t n = 0; n < scripts; ++n) {
    if (only_script >= 0 && n != only_script) continue;
    const FaultScript script = FaultScript::Nth(static_cast<uint64_t>(n), length);
    Exchange exchange(scenario, script);
    exchange.Go();
    if (testing::Test::HasFailure()) {
      FAIL() << Describe(scenario) << ": scenario " << GetParam() << ", script " << n << " ("
             << script.ToString() << ")";
    }
  }
}

INSTANTIATE_TEST_SUITE_P(All, FaultSequencesTest, testing::Range<size_t>(0, AllScenarios().size()));

}  // namespace
}  // namespace weft::rpc

int main(int argc, char** argv) {
  testing::InitGoogleTest(&argc, argv);
  if (argc > 1) weft::rpc::script_length = std::strtoul(argv[1], nullptr, 10);
  if (argc > 2) weft::rpc::only_scenario = std::atoi(argv[2]);
  if (argc > 3) weft::rpc::only_script = std::atoll(argv[3]);
  return RUN_ALL_TESTS();
}
