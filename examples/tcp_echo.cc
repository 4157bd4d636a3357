// SPDX-License-Identifier: Apache-2.0
//
// Echo over byte streams, server and client, over whatever transport the configuration names: TCP
// of the kernel or of weft, shared memory.
//
//   tcp_echo --listen 127.0.0.1:7000                     then, elsewhere, nc 127.0.0.1 7000, or:
//   tcp_echo --connect 127.0.0.1:7000 hello              prints what comes back
//   tcp_echo --connect 127.0.0.1:7000 --count 100000     round trips of --bytes 64
//
// The server is written with handlers, the client with coroutines.

#include <algorithm>
#include <cstdio>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/flags/flag.h"
#include "absl/flags/parse.h"
#include "absl/flags/usage.h"
#include "absl/status/status.h"
#include "absl/strings/str_join.h"
#include "absl/time/time.h"
#include "weft/config/flags.h"
#include "weft/core/histogram.h"
#include "weft/core/task.h"
#include "weft/core/task_group.h"
#include "weft/host/host.h"
#include "weft/host/network.h"
#include "weft/tcp/connections.h"

ABSL_FLAG(std::string, listen, "",
          "address to serve at; without it, port 7000 of 127.0.0.1 or of the first of "
          "netstack.addresses or, over shared memory, shm:echo");
ABSL_FLAG(std::string, connect, "", "be a client of the server at this address");
ABSL_FLAG(uint32_t, count, 0, "client: measure so many round trips");
ABSL_FLAG(uint32_t, bytes, 64, "client: size of each message, 1 to 1048576");

namespace {

constexpr absl::Duration kPatience = absl::Seconds(20);

// Sends back what comes, from where it lies to where it leaves. When there is no more room to send,
// nothing is read: the other side has to wait, and no memory is needed for it.
class Echo : public weft::tcp::ConnectionHandler {
 public:
  void OnData(weft::tcp::Connection& connection) override {
    for (auto in = connection.ReadView(); !in.empty(); in = connection.ReadView()) {
      const size_t sent = connection.Send(in);
      connection.Consume(sent);
      if (sent < in.size()) return;
    }
    if (connection.remote_closed()) connection.Close();
  }
  void OnWritable(weft::tcp::Connection& connection) override { OnData(connection); }
  void OnRemoteClose(weft::tcp::Connection& connection) override { OnData(connection); }
};

// The workers share the address: `*listen` becomes the one that the first has got.
absl::StatusOr<std::shared_ptr<void>> Serve(weft::Worker& worker, std::string* listen) {
  auto address = weft::Address::Parse(*listen);
  if (!address.ok()) return address.status();
  auto port = worker.OpenStreamPort();
  if (!port.ok()) return port.status();
  auto connections = std::make_shared<weft::tcp::Connections>(
      worker.loop(), *std::move(port),
      weft::tcp::ConnectionsOptions{
          .on_dead = [&worker](const absl::Status& status) { worker.Stop(status); }});
  auto bound = connections->Listen(*address, 128, [](weft::tcp::Connection connection) {
    std::move(connection).Serve(std::make_unique<Echo>());
  });
  if (!bound.ok()) return bound.status();
  *listen = bound->ToString();
  worker.Show(connections->port());
  std::printf("listening on %s (%s)\n", listen->c_str(),
              worker.config().transport().name().c_str());
  std::fflush(stdout);
  return connections;
}

// Sends `text` and waits until as many bytes have come back; they are left in `*reply`. No more is
// on its way than either side can hold: who writes all before it reads waits for a server that
// waits for it.
weft::Task<absl::Status> Exchange(weft::tcp::Connection& connection, const std::string& text,
                                  std::string* reply) {
  constexpr size_t kOnTheWayMax = 16 << 10;
  size_t written = 0;
  reply->clear();
  while (reply->size() < text.size()) {
    const size_t end = std::min(text.size(), reply->size() + kOnTheWayMax);
    const absl::Status sent = co_await connection.Write(
        {reinterpret_cast<const uint8_t*>(text.data()) + written, end - written}, kPatience);
    if (!sent.ok()) co_return sent;
    written = end;
    const absl::StatusOr<absl::Span<const uint8_t>> in = co_await connection.Read(kPatience);
    if (!in.ok()) co_return in.status();
    if (in->empty()) co_return absl::DataLossError("the server closed before it had echoed all");
    reply->append(reinterpret_cast<const char*>(in->data()), in->size());
    connection.Consume(in->size());
  }
  co_return absl::OkStatus();
}

weft::Task<absl::Status> Talk(weft::tcp::Connections& connections, const weft::Address& server,
                              const std::string& text) {
  absl::StatusOr<weft::tcp::Connection> connection =
      co_await connections.Connect(server, kPatience);
  if (!connection.ok()) co_return connection.status();
  std::string reply;
  const uint32_t count = absl::GetFlag(FLAGS_count);
  if (count == 0) {
    const absl::Status status = co_await Exchange(*connection, text, &reply);
    if (status.ok()) std::printf("%s\n", reply.c_str());
    co_return status;
  }
  const weft::Clock& clock = connections.loop().clock();
  const std::string message(absl::GetFlag(FLAGS_bytes), 'e');
  weft::Histogram latency;
  for (uint32_t i = 0; i < count; ++i) {
    const int64_t begin_ns = clock.NowNs();
    const absl::Status status = co_await Exchange(*connection, message, &reply);
    if (!status.ok()) co_return status;
    if (reply != message) co_return absl::DataLossError("other bytes came back than were sent");
    latency.Record(clock.NowNs() - begin_ns);
  }
  const weft::HistogramSnapshot seen = latency.Snapshot();
  std::printf("%u round trips of %zu bytes: p50 %.1f us, p99 %.1f us, max %.1f us\n", count,
              message.size(), static_cast<double>(seen.Percentile(50)) / 1e3,
              static_cast<double>(seen.Percentile(99)) / 1e3,
              static_cast<double>(seen.max()) / 1e3);
  co_return absl::OkStatus();
}

// What lives as long as the client's worker: tasks end before what they use.
struct Client {
  std::unique_ptr<weft::tcp::Connections> connections;
  weft::TaskGroup tasks;
};

weft::Task<void> TalkAndStop(weft::Worker& worker, weft::tcp::Connections& connections,
                             weft::Address server, std::string text) {
  const absl::Status status = co_await Talk(connections, server, text);
  worker.Stop(status);
}

absl::StatusOr<std::shared_ptr<void>> Ask(weft::Worker& worker, const std::string& server,
                                          const std::string& text) {
  auto address = weft::Address::Parse(server);
  if (!address.ok()) return address.status();
  auto port = worker.OpenStreamPort();
  if (!port.ok()) return port.status();
  auto client = std::make_shared<Client>();
  client->connections = std::make_unique<weft::tcp::Connections>(worker.loop(), *std::move(port));
  client->tasks.Spawn(TalkAndStop(worker, *client->connections, *address, text));
  return client;
}

absl::Status Run(const std::string& text) {
  auto config = weft::config::FromFlags();
  if (!config.ok()) return config.status();
  const std::string server = absl::GetFlag(FLAGS_connect);
  const uint32_t bytes = absl::GetFlag(FLAGS_bytes);
  if (bytes < 1 || bytes > 1 << 20) {
    return absl::InvalidArgumentError("--bytes must be from 1 to 1048576");
  }
  if (!server.empty()) config->mutable_host()->set_workers(1);
  auto host = weft::Host::Open(*config);
  if (!host.ok()) return host.status();
  if ((*host)->transport().virtual_time() != nullptr) {
    return absl::InvalidArgumentError("a simulated network lives within one process");
  }
  std::string listen = absl::GetFlag(FLAGS_listen);
  if (listen.empty()) listen = weft::DefaultAddress(*config);
  return (*host)->Run([&](weft::Worker& worker) {
    return server.empty() ? Serve(worker, &listen) : Ask(worker, server, text);
  });
}

}  // namespace

int main(int argc, char** argv) {
  absl::SetProgramUsageMessage("Echo over byte streams: server, or with --connect its client.");
  const std::vector<char*> words = absl::ParseCommandLine(argc, argv);
  const std::string text = absl::StrJoin(words.begin() + 1, words.end(), " ");
  const absl::Status status = Run(text.empty() ? "hello" : text);
  if (status.ok()) return 0;
  std::fprintf(stderr, "tcp_echo: %s\n", std::string(status.message()).c_str());
  return 1;
}
