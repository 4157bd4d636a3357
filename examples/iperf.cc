// SPDX-License-Identifier: Apache-2.0
//
// How many bytes a second go through byte streams, as iperf measures it, over whatever transport
// the configuration names.
//
//   iperf --listen 127.0.0.1:5201                                   the server
//   iperf --connect 127.0.0.1:5201 --duration 5s                    from here to there
//   iperf --connect 127.0.0.1:5201 --direction both --streams 4 --json -
//
// The client measures from when the server has let it connect: what is slow only once, such as a
// device that starts or a neighbour whose address is asked for, is not in the figures.
//
// It speaks a format of its own (examples/perf/bulk.h), not that of other programs of the name.

#include <atomic>
#include <cstdio>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/flags/flag.h"
#include "absl/flags/parse.h"
#include "absl/flags/usage.h"
#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "weft/config/flags.h"
#include "weft/core/json_writer.h"
#include "weft/core/task.h"
#include "weft/core/task_group.h"
#include "weft/examples/json_output.h"
#include "weft/examples/perf/bulk.h"
#include "weft/examples/perf/bulk_client.h"
#include "weft/examples/perf/bulk_server.h"
#include "weft/examples/start_line.h"
#include "weft/host/host.h"
#include "weft/host/network.h"
#include "weft/tcp/connections.h"

ABSL_FLAG(std::string, listen, "",
          "address to serve at; without it, port 5201 of 127.0.0.1 or of the first of "
          "netstack.addresses or, over shared memory, shm:iperf");
ABSL_FLAG(std::string, connect, "", "be a client of the server at this address");
ABSL_FLAG(absl::Duration, duration, absl::Seconds(10), "client: send for so long, up to an hour");
ABSL_FLAG(std::string, direction, "up", "client: up (to the server), down, or both at once");
ABSL_FLAG(uint32_t, streams, 1, "client: connections in each direction, 1 to 1024");
ABSL_FLAG(bool, verify, false, "client: have every byte checked");
ABSL_FLAG(std::string, json, "", "client: file to write the result to; - is standard output");

namespace {

using weft::perf::BulkClient;
using weft::perf::BulkCounters;
using weft::perf::BulkHeader;
using weft::perf::BulkResult;
using weft::perf::BulkServer;

constexpr uint16_t kPort = 5201;

std::FILE* Text() { return weft::TextBeside(absl::GetFlag(FLAGS_json)); }

double Megabits(uint64_t bytes, double seconds) {
  return seconds > 0 ? static_cast<double>(bytes) * 8 / 1e6 / seconds : 0;
}

// The application's part of a server's worker.
struct Server {
  BulkCounters counters;
  std::unique_ptr<weft::tcp::Connections> connections;
};

// The workers share the address: `*listen` becomes the one that the first has got.
absl::StatusOr<std::shared_ptr<void>> Serve(weft::Worker& worker, std::string* listen) {
  auto address = weft::Address::Parse(*listen);
  if (!address.ok()) return address.status();
  auto port = worker.OpenStreamPort();
  if (!port.ok()) return port.status();
  auto server = std::make_shared<Server>();
  server->connections = std::make_unique<weft::tcp::Connections>(
      worker.loop(), *std::move(port),
      weft::tcp::ConnectionsOptions{
          .on_dead = [&worker](const absl::Status& status) { worker.Stop(status); }});
  auto bound = server->connections->Listen(
      *address, 128, [&worker, server = server.get()](weft::tcp::Connection connection) {
        std::move(connection).Serve(std::make_unique<BulkServer>(worker.loop(), server->counters));
      });
  if (!bound.ok()) return bound.status();
  *listen = bound->ToString();
  worker.Show(server->connections->port());
  std::printf("listening on %s (%s)\n", listen->c_str(),
              worker.config().transport().name().c_str());
  std::fflush(stdout);
  return server;
}

struct Interval {
  double seconds;
  uint64_t up_bytes;
  uint64_t down_bytes;
};

// A measurement of so many streams: the workers share it.
class Measurement {
 public:
  Measurement(int workers, size_t streams)
      : line_(workers),
        counters_(static_cast<size_t>(workers)),
        results_(static_cast<size_t>(workers)),
        streams_left_(streams) {}

  weft::StartLine& line() { return line_; }
  BulkCounters& counters(int worker) { return counters_[static_cast<size_t>(worker)]; }

  // By worker 0, when all are at the line.
  void Begin(int64_t now_ns) { begin_ns_ = interval_begin_ns_ = now_ns; }
  // A stream of this worker has ended. True: it was the last of all.
  bool OnDone(int worker, const BulkResult& result, int64_t now_ns) {
    results_[static_cast<size_t>(worker)].push_back(result);
    if (--streams_left_ > 0) return false;
    end_ns_ = now_ns;
    return true;
  }

  // By worker 0, each second, and at the end: prints what has gone through since the last one.
  void AddInterval(int64_t now_ns) {
    const double seconds = static_cast<double>(now_ns - interval_begin_ns_) / 1e9;
    interval_begin_ns_ = now_ns;
    uint64_t up = 0;
    uint64_t down = 0;
    for (const BulkCounters& counters : counters_) {
      up += counters.sent.value();
      down += counters.received.value();
    }
    const Interval interval = {seconds, up - up_, down - down_};
    up_ = up;
    down_ = down;
    std::fprintf(Text(), "%6.2f s  up %10.1f Mbit/s  down %10.1f Mbit/s\n", seconds,
                 Megabits(interval.up_bytes, seconds), Megabits(interval.down_bytes, seconds));
    std::fflush(Text());
    intervals_.push_back(interval);
  }

  // When all workers have ended.
  absl::Status Report();

 private:
  weft::StartLine line_;
  std::vector<BulkCounters> counters_;            // by worker
  std::vector<std::vector<BulkResult>> results_;  // by worker, of those streams that ended well
  std::atomic<size_t> streams_left_;
  int64_t begin_ns_ = 0;
  int64_t end_ns_ = 0;  // of the last stream; 0: they have not ended
  int64_t interval_begin_ns_ = 0;
  std::vector<Interval> intervals_;
  uint64_t up_ = 0;
  uint64_t down_ = 0;
};

absl::Status Measurement::Report() {
  if (begin_ns_ == 0) return absl::CancelledError("interrupted before the server was reached");
  if (end_ns_ == 0) end_ns_ = weft::RealClock().NowNs();
  AddInterval(end_ns_);
  const double seconds = static_cast<double>(end_ns_ - begin_ns_) / 1e9;
  uint64_t up = 0;
  uint64_t down = 0;
  uint64_t retransmissions = 0;
  size_t streams = 0;
  for (const auto& results : results_) {
    for (const BulkResult& result : results) {
      up += result.sent;
      down += result.received;
      retransmissions += result.retransmissions;
      ++streams;
    }
  }
  std::fprintf(Text(),
               "in all: %zu streams, %.2f s, up %llu bytes, %.1f Mbit/s, down %llu bytes, "
               "%.1f Mbit/s, %llu retransmissions\n",
               streams, seconds, static_cast<unsigned long long>(up), Megabits(up, seconds),
               static_cast<unsigned long long>(down), Megabits(down, seconds),
               static_cast<unsigned long long>(retransmissions));
  weft::JsonWriter json;
  json.BeginObject();
  json.Field("direction", absl::GetFlag(FLAGS_direction));
  json.Field("streams", streams);
  json.Field("seconds", seconds);
  json.Field("up_bytes", up);
  json.Field("up_mbps", Megabits(up, seconds));
  json.Field("down_bytes", down);
  json.Field("down_mbps", Megabits(down, seconds));
  json.Field("retransmissions", retransmissions);
  json.Key("intervals").BeginArray();
  for (const Interval& interval : intervals_) {
    json.BeginObject();
    json.Field("seconds", interval.seconds);
    json.Field("up_mbps", Megabits(interval.up_bytes, interval.seconds));
    json.Field("down_mbps", Megabits(interval.down_bytes, interval.seconds));
    json.EndObject();
  }
  json.EndArray();
  json.EndObject();
  return weft::WriteJson(json, absl::GetFlag(FLAGS_json));
}

// What lives as long as a client's worker: tasks end before what they use.
struct Client {
  std::unique_ptr<weft::tcp::Connections> connections;
  weft::TaskGroup tasks;
};

weft::Task<void> PrintIntervals(weft::Loop& loop, Measurement& measurement) {
  for (;;) {
    co_await loop.Sleep(absl::Seconds(1));
    measurement.AddInterval(loop.clock().NowNs());
  }
}

// Opens this worker's part of the streams.
absl::Status OpenStreams(weft::Worker& worker, Client& client, const weft::Address& server,
                         Measurement& measurement) {
  const std::string direction = absl::GetFlag(FLAGS_direction);
  BulkHeader header = {.verify = absl::GetFlag(FLAGS_verify),
                       .duration_ms = static_cast<uint32_t>(
                           absl::ToInt64Milliseconds(absl::GetFlag(FLAGS_duration)))};
  const auto connect = [&](bool down) {
    header.down = down;
    return client.connections->Connect(
        server,
        std::make_unique<BulkClient>(
            worker.loop(), measurement.counters(worker.index()), header,
            [&worker, &measurement, &server](const absl::Status& status, const BulkResult& result) {
              if (!status.ok()) {
                return worker.Stop(absl::Status(
                    status.code(), absl::StrCat(server.ToString(), ": ", status.message())));
              }
              const int64_t now_ns = worker.loop().clock().NowNs();
              if (measurement.OnDone(worker.index(), result, now_ns)) worker.Stop();
            }));
  };
  const int streams = static_cast<int>(absl::GetFlag(FLAGS_streams));
  absl::Status status;
  for (int i = worker.index(); i < streams && status.ok(); i += worker.count()) {
    if (direction != "down") status.Update(connect(/*down=*/false));
    if (direction != "up") status.Update(connect(/*down=*/true));
  }
  return status;
}

// Measures, once the server has let each worker connect.
weft::Task<void> Send(weft::Worker& worker, Client& client, const weft::Address& server,
                      Measurement& measurement) {
  absl::StatusOr<weft::tcp::Connection> first = co_await client.connections->Connect(server);
  if (!first.ok()) co_return worker.Stop(first.status());
  *first = {};
  weft::Loop& loop = worker.loop();
  co_await measurement.line().Await(loop);
  if (worker.index() == 0) {
    measurement.Begin(loop.clock().NowNs());
    client.tasks.Spawn(PrintIntervals(loop, measurement));
  }
  const absl::Status status = OpenStreams(worker, client, server, measurement);
  if (!status.ok()) worker.Stop(status);
}

absl::StatusOr<std::shared_ptr<void>> SetUpClient(weft::Worker& worker, const weft::Address& server,
                                                  Measurement& measurement) {
  auto port = worker.OpenStreamPort();
  if (!port.ok()) return port.status();
  auto client = std::make_shared<Client>();
  client->connections = std::make_unique<weft::tcp::Connections>(worker.loop(), *std::move(port));
  client->tasks.Spawn(Send(worker, *client, server, measurement));
  return client;
}

absl::Status CheckFlags() {
  const absl::Duration duration = absl::GetFlag(FLAGS_duration);
  if (duration < absl::Milliseconds(1) ||
      duration > absl::Milliseconds(BulkHeader::kDurationMsMax)) {
    return absl::InvalidArgumentError("--duration must be from 1ms to 1h");
  }
  const std::string direction = absl::GetFlag(FLAGS_direction);
  if (direction != "up" && direction != "down" && direction != "both") {
    return absl::InvalidArgumentError("--direction must be up, down or both");
  }
  if (absl::GetFlag(FLAGS_streams) < 1 || absl::GetFlag(FLAGS_streams) > 1024) {
    return absl::InvalidArgumentError("--streams must be from 1 to 1024");
  }
  return absl::OkStatus();
}

absl::Status Measure(weft::Host& host, const std::string& server) {
  auto address = weft::Address::Parse(server);
  if (!address.ok()) return address.status();
  const bool both = absl::GetFlag(FLAGS_direction) == "both";
  Measurement measurement(host.workers(), size_t{absl::GetFlag(FLAGS_streams)} * (both ? 2 : 1));
  const absl::Status status =
      host.Run([&](weft::Worker& worker) { return SetUpClient(worker, *address, measurement); });
  return status.ok() ? measurement.Report() : status;
}

absl::Status Run() {
  if (absl::Status status = CheckFlags(); !status.ok()) return status;
  auto config = weft::config::FromFlags();
  if (!config.ok()) return config.status();
  auto host = weft::Host::Open(*config);
  if (!host.ok()) return host.status();
  if ((*host)->transport().virtual_time() != nullptr) {
    return absl::InvalidArgumentError("a simulated network lives within one process");
  }
  if (const std::string server = absl::GetFlag(FLAGS_connect); !server.empty()) {
    return Measure(**host, server);
  }
  std::string listen = absl::GetFlag(FLAGS_listen);
  if (listen.empty()) listen = weft::DefaultAddress(*config, kPort, "iperf");
  return (*host)->Run([&](weft::Worker& worker) { return Serve(worker, &listen); });
}

}  // namespace

int main(int argc, char** argv) {
  absl::SetProgramUsageMessage("Measures bulk transfer: server, or with --connect its client.");
  if (const std::vector<char*> words = absl::ParseCommandLine(argc, argv); words.size() > 1) {
    std::fprintf(stderr, "iperf: unexpected '%s'; it takes flags alone, see --help\n", words[1]);
    return 2;
  }
  const absl::Status status = Run();
  if (status.ok()) return 0;
  std::fprintf(stderr, "iperf: %s\n", std::string(status.message()).c_str());
  return 1;
}
