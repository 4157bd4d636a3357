// SPDX-License-Identifier: Apache-2.0
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "weft/core/prng.h"
#include "weft/core/task.h"
#include "weft/core/task_group.h"
#include "weft/tcp/connections.h"
#include "weft/tcp/connections_fixture.h"

namespace weft::tcp {
namespace {

class CoroutinesTest : public ConnectionsTest {
 public:
  void SetUp() override {
    ConnectionsTest::SetUp();
    auto listener = server_->Listen(AnyAddress(), 8);
    ASSERT_TRUE(listener.ok()) << listener.status();
    listener_.emplace(*std::move(listener));
    address_ = listener_->address();
  }
  void TearDown() override {
    tasks_.Cancel();
    listener_.reset();
    ConnectionsTest::TearDown();
  }

  // Runs `task` to its end.
  void Run(Task<void> task) {
    bool done = false;
    tasks_.Spawn(Finish(std::move(task), &done));
    EXPECT_TRUE(Until([&done] { return done; })) << "it never ended";
  }

  // Takes one connection on the server's side.
  Task<Connection> Accept() {
    absl::StatusOr<Connection> connection = co_await listener_->Accept();
    EXPECT_TRUE(connection.ok()) << connection.status();
    co_return connection.ok() ? *std::move(connection) : Connection();
  }
  Task<Connection> Connect() {
    absl::StatusOr<Connection> connection = co_await client_->Connect(address_);
    EXPECT_TRUE(connection.ok()) << connection.status();
    co_return connection.ok() ? *std::move(connection) : Connection();
  }

  // Everything up to the end.
  static Task<std::string> ReadAll(Connection& connection) {
    std::string all;
    for (;;) {
      const absl::StatusOr<absl::Span<const uint8_t>> in = co_await connection.Read();
      EXPECT_TRUE(in.ok()) << in.status();
      if (!in.ok() || in->empty()) co_return all;
      all += TextOf(*in);
      connection.Consume(in->size());
    }
  }

  std::optional<Listener> listener_;
  Address address_;
  TaskGroup tasks_;

 private:
  static Task<void> Finish(Task<void> task, bool* done) {
    co_await std::move(task);
    *done = true;
  }
};

INSTANTIATE_TEST_SUITE_P(Coroutines, CoroutinesTest, testing::Values("linux", "shm", "sim"),
                         TransportName);

TEST_P(CoroutinesTest, ALongMessageBothWays) {
  std::string bytes(2'000'000, '\0');
  Prng prng(2);
  for (char& byte : bytes) byte = static_cast<char>(prng.Next());
  const auto echo = [](CoroutinesTest* test) -> Task<void> {
    Connection connection = co_await test->Accept();
    for (;;) {
      const absl::StatusOr<absl::Span<const uint8_t>> in = co_await connection.Read();
      if (!in.ok() || in->empty()) break;
      const std::string copy = TextOf(*in);
      connection.Consume(in->size());
      const absl::Status sent = co_await connection.Write(BytesOf(copy));
      EXPECT_TRUE(sent.ok()) << sent;
    }
  };
  const auto write = [](Connection* connection, const std::string* bytes) -> Task<void> {
    const absl::Status sent = co_await connection->Write(BytesOf(*bytes));
    EXPECT_TRUE(sent.ok()) << sent;
    connection->CloseWrite();
    EXPECT_FALSE(connection->writable());
    const absl::Status late = co_await connection->Write(BytesOf("x"));
    EXPECT_EQ(late.code(), absl::StatusCode::kFailedPrecondition) << late;
  };
  const auto talk = [](CoroutinesTest* test, const std::string* bytes, auto write) -> Task<void> {
    Connection connection = co_await test->Connect();
    test->tasks_.Spawn(write(&connection, bytes));
    const std::string got = co_await ReadAll(connection);
    EXPECT_TRUE(got == *bytes) << got.size();
  };
  tasks_.Spawn(echo(this));
  Run(talk(this, &bytes, write));
}

TEST_P(CoroutinesTest, RefusedConnections) {
  const auto run = [](CoroutinesTest* test) -> Task<void> {
    const absl::StatusOr<Connection> connection = co_await test->client_->Connect(test->address_);
    EXPECT_EQ(connection.status().code(), absl::StatusCode::kUnavailable) << connection.status();
    EXPECT_TRUE(absl::StrContains(connection.status().message(), test->address_.ToString()));
    const absl::StatusOr<Connection> foreign = co_await test->client_->Connect(Address());
    EXPECT_EQ(foreign.status().code(), absl::StatusCode::kInvalidArgument) << foreign.status();
  };
  listener_.reset();
  server_.reset();
  Run(run(this));
  EXPECT_EQ(client_->size(), 0u);
}

TEST_P(CoroutinesTest, WaitsHaveAnEnd) {
  const auto run = [](CoroutinesTest* test) -> Task<void> {
    absl::StatusOr<Connection> nobody = co_await test->listener_->Accept(absl::Milliseconds(5));
    EXPECT_EQ(nobody.status().code(), absl::StatusCode::kDeadlineExceeded) << nobody.status();
    Connection client = co_await test->Connect();
    Connection server = co_await test->Accept();
    for (int i = 0; i < 2; ++i) {
      const auto in = co_await client.Read(absl::Milliseconds(5));
      EXPECT_EQ(in.status().code(), absl::StatusCode::kDeadlineExceeded) << in.status();
    }
    const std::string much(64 << 20, 'm');
    // A slow machine may not have filled all buffers when the time is over.
    absl::Status room;
    while (room.ok()) {
      const absl::Status sent = co_await client.Write(BytesOf(much), absl::Milliseconds(100));
      EXPECT_EQ(sent.code(), absl::StatusCode::kDeadlineExceeded) << sent;
      room = co_await client.Writable(absl::Milliseconds(100));
    }
    EXPECT_EQ(room.code(), absl::StatusCode::kDeadlineExceeded) << room;
    // It is as good as before.
    EXPECT_EQ(server.Send(BytesOf("still here")), 10u);
    const auto in = co_await client.Read();
    EXPECT_EQ(TextOf(*in), "still here");
    client.Abort();
    const auto after = co_await client.Read();
    EXPECT_EQ(after.status().code(), absl::StatusCode::kFailedPrecondition) << after.status();
  };
  Run(run(this));
}

TEST_P(CoroutinesTest, WhatIsNotConsumedComesAgain) {
  const auto run = [](CoroutinesTest* test) -> Task<void> {
    Connection client = co_await test->Connect();
    Connection server = co_await test->Accept();
    EXPECT_EQ(client.Send(BytesOf("abc")), 3u);
    client.Close();
    std::string got;
    for (const char* rest : {"abc", "bc", "c"}) {
      const auto in = co_await server.Read();
      EXPECT_EQ(TextOf(*in), rest);
      server.Consume(1);
    }
    const auto end = co_await server.Read();
    EXPECT_TRUE(end.ok() && end->empty()) << end.status();
    EXPECT_TRUE(server.remote_closed());
  };
  Run(run(this));
  EXPECT_TRUE(Until([&] { return client_->size() == 0 && server_->size() == 0; }));
}

TEST_P(CoroutinesTest, AResetEndsBothWaits) {
  bool reader_ended = false;
  const auto read = [](Connection* connection, bool* ended) -> Task<void> {
    const auto in = co_await connection->Read();
    EXPECT_EQ(in.status().code(), absl::StatusCode::kUnavailable) << in.status();
    *ended = true;
  };
  const auto run = [](CoroutinesTest* test, auto read, bool* ended) -> Task<void> {
    Connection client = co_await test->Connect();
    Connection server = co_await test->Accept();
    test->tasks_.Spawn(read(&client, ended));
    const std::string much(64 << 20, 'm');
    server.Abort();
    const absl::Status sent = co_await client.Write(BytesOf(much));
    EXPECT_EQ(sent.code(), absl::StatusCode::kUnavailable) << sent;
    EXPECT_EQ(client.status().code(), absl::StatusCode::kUnavailable);
  };
  Run(run(this, read, &reader_ended));
  EXPECT_TRUE(reader_ended);
}

// The handle goes while another coroutine waits for the connection: that one is told.
TEST_P(CoroutinesTest, ClosingWakesWhoeverReads) {
  absl::Status status;
  const auto read = [](Connection* connection, absl::Status* status) -> Task<void> {
    const auto in = co_await connection->Read();
    *status = in.status();
  };
  const auto run = [](CoroutinesTest* test, auto read, absl::Status* status) -> Task<void> {
    Connection client = co_await test->Connect();
    Connection server = co_await test->Accept();
    test->tasks_.Spawn(read(&client, status));
    client.Close();
    while (status->ok()) co_await test->loop_->Sleep(absl::Milliseconds(1));
  };
  Run(run(this, read, &status));
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition) << status;
}

// A task that is destroyed withdraws what it waited for, and closes its connection.
TEST_P(CoroutinesTest, CancellationIsDestruction) {
  const auto connect_and_read = [](CoroutinesTest* test) -> Task<void> {
    Connection connection = co_await test->Connect();
    const auto in = co_await connection.Read(absl::Seconds(60));
    ADD_FAILURE() << "resumed";
  };
  {
    TaskGroup tasks;
    tasks.Spawn(connect_and_read(this));  // still connecting
  }
  TaskGroup tasks;
  tasks.Spawn(connect_and_read(this));
  const auto serve = [](CoroutinesTest* test, TaskGroup* tasks) -> Task<void> {
    for (;;) {
      Connection server = co_await test->Accept();
      const auto in = co_await server.Read(absl::Milliseconds(100));
      if (!absl::IsDeadlineExceeded(in.status())) continue;  // that of the first
      tasks->Cancel();
      const auto end = co_await server.Read();
      EXPECT_TRUE(end.ok() && end->empty()) << end.status();
      co_return;
    }
  };
  Run(serve(this, &tasks));
  // Accepting, writing and waiting for room are withdrawn too.
  const auto wait = [](CoroutinesTest* test) -> Task<void> {
    Connection connection = co_await test->Accept();
    const std::string much(64 << 20, 'm');
    const absl::Status sent = co_await connection.Write(BytesOf(much));
    ADD_FAILURE() << "resumed";
  };
  tasks.Spawn(wait(this));
  tasks.Cancel();
  tasks.Spawn(wait(this));
  const auto go = [](CoroutinesTest* test, TaskGroup* tasks) -> Task<void> {
    Connection client = co_await test->Connect();
    const auto in = co_await client.Read();
    EXPECT_TRUE(in.ok() && !in->empty()) << in.status();
    tasks->Cancel();
  };
  Run(go(this, &tasks));
}

TEST_P(CoroutinesTest, CoroutinesThatAcceptTakeTurns) {
  std::string order;
  const auto accept = [](CoroutinesTest* test, char name, std::string* order) -> Task<void> {
    const Connection connection = co_await test->Accept();
    *order += name;
  };
  for (const char name : {'a', 'b', 'c'}) tasks_.Spawn(accept(this, name, &order));
  const auto connect = [](CoroutinesTest* test) -> Task<void> {
    for (int i = 0; i < 3; ++i) const Connection client = co_await test->Connect();
  };
  Run(connect(this));
  EXPECT_TRUE(Until([&] { return order.size() == 3; })) << order;
  EXPECT_EQ(order, "abc");
}

TEST_P(CoroutinesTest, BeyondTheBacklogConnectionsAreReset) {
  const auto connect = [](CoroutinesTest* test, std::vector<Connection>* clients) -> Task<void> {
    for (int i = 0; i < 12; ++i) {
      absl::StatusOr<Connection> client = co_await test->client_->Connect(test->address_);
      if (client.ok()) clients->push_back(*std::move(client));
    }
  };
  std::vector<Connection> clients;
  Run(connect(this, &clients));
  EXPECT_TRUE(Until([&] { return server_->stats().refused.value() == 4; }));
  // Those that wait come out, and the others go with their Listener.
  const Connection first = [&] {
    Connection first;
    const auto accept = [](CoroutinesTest* test, Connection* first) -> Task<void> {
      *first = co_await test->Accept();
    };
    Run(accept(this, &first));
    return first;
  }();
  EXPECT_TRUE(first);
  listener_.reset();
  EXPECT_EQ(server_->stats().refused.value(), 11u);
  EXPECT_TRUE(Until([&] { return server_->size() == 1; }));
}

TEST_P(CoroutinesTest, TheEndOfConnectionsLeavesTasksToBeDestroyed) {
  const auto wait = [](CoroutinesTest* test) -> Task<void> {
    Connection connection = co_await test->Connect();
    const auto in = co_await connection.Read(absl::Seconds(60));
    ADD_FAILURE() << "resumed";
  };
  tasks_.Spawn(wait(this));
  EXPECT_TRUE(Until([&] { return client_->stats().connected.value() == 1; }));
  const auto connecting = [](CoroutinesTest* test) -> Task<void> {
    const Connection connection = co_await test->Connect();
    ADD_FAILURE() << "resumed";
  };
  tasks_.Spawn(connecting(this));
  client_.reset();
  loop_->RunOnce();
  tasks_.Cancel();
}

TEST_P(CoroutinesTest, AListenerMayOutliveItsConnections) {
  server_.reset();
  absl::Status status;
  const auto accept = [](CoroutinesTest* test, absl::Status* status) -> Task<void> {
    *status = (co_await test->listener_->Accept()).status();
  };
  Run(accept(this, &status));
  EXPECT_TRUE(absl::IsFailedPrecondition(status)) << status;
}

}  // namespace
}  // namespace weft::tcp
