// SPDX-License-Identifier: Apache-2.0
//
// Fetches over HTTP/1.1, over whatever transport the configuration names; or measures how fast a
// server answers, as wrk does.
//
//   http_client http://127.0.0.1:8080/page.html
//   http_client --head http://127.0.0.1:8080/
//   http_client --range 100-199 --output part http://127.0.0.1:8080/large
//   http_client --connections 64 --duration 5s http://127.0.0.1:8080/         load
//   http_client --connections 64 --duration 5s --close http://...             new connections
//
// The measuring begins when the server has answered: what is slow only once, such as a device that
// starts or a neighbour whose address is asked for, is not in the figures.
//
// It is written with coroutines: one for each connection.

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
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "weft/config/flags.h"
#include "weft/core/histogram.h"
#include "weft/core/json_writer.h"
#include "weft/core/task.h"
#include "weft/core/task_group.h"
#include "weft/examples/http/response.h"
#include "weft/examples/http/url.h"
#include "weft/examples/json_output.h"
#include "weft/examples/start_line.h"
#include "weft/host/host.h"
#include "weft/tcp/connections.h"

ABSL_FLAG(bool, head, false, "ask with HEAD, and print the head of the answer");
ABSL_FLAG(bool, include, false, "print the head of the answer too");
ABSL_FLAG(std::string, range, "", "of the bytes: 0-99, 100- or -10");
ABSL_FLAG(std::string, output, "-", "file to write the body to; - is standard output");
ABSL_FLAG(absl::Duration, timeout, absl::Seconds(10), "of connecting, and of silence");
ABSL_FLAG(uint32_t, connections, 0,
          "measure with so many connections at a time, once the server has answered each worker");
ABSL_FLAG(absl::Duration, duration, absl::Seconds(5),
          "measure for so long, and until the first answer or failure");
ABSL_FLAG(bool, close, false, "measure with a connection for each request");
ABSL_FLAG(std::string, json, "", "file to write what was measured to; - is standard output");

namespace {

using weft::http::AnswerReader;
using weft::http::Url;

absl::Span<const uint8_t> BytesOf(const std::string& text) {
  return {reinterpret_cast<const uint8_t*>(text.data()), text.size()};
}

std::string RequestTo(const Url& url) {
  const std::string range = absl::GetFlag(FLAGS_range);
  return absl::StrCat(absl::GetFlag(FLAGS_head) ? "HEAD " : "GET ", url.target,
                      " HTTP/1.1\r\nHost: ", url.host, "\r\nUser-Agent: weft\r\n",
                      range.empty() ? "" : absl::StrCat("Range: bytes=", range, "\r\n"),
                      absl::GetFlag(FLAGS_close) ? "Connection: close\r\n" : "", "\r\n");
}

// Reads one answer to its end; its body goes to `out` unless that is null.
weft::Task<absl::Status> ReadAnswer(weft::tcp::Connection& connection, AnswerReader& reader,
                                    std::FILE* out, uint64_t* bytes) {
  reader.Begin(absl::GetFlag(FLAGS_head));
  const absl::Duration timeout = absl::GetFlag(FLAGS_timeout);
  while (!reader.complete()) {
    const absl::StatusOr<absl::Span<const uint8_t>> in = co_await connection.Read(timeout);
    if (!in.ok()) co_return in.status();
    if (in->empty()) {
      if (reader.End()) break;
      co_return absl::DataLossError("the server closed before its answer had ended");
    }
    absl::string_view body;
    const ptrdiff_t taken =
        reader.Take({reinterpret_cast<const char*>(in->data()), in->size()}, &body);
    if (taken < 0) co_return absl::DataLossError("the answer is malformed");
    if (out != nullptr && std::fwrite(body.data(), 1, body.size(), out) != body.size()) {
      co_return absl::ErrnoToStatus(errno, "cannot write the body");
    }
    *bytes += body.size();
    connection.Consume(static_cast<size_t>(taken));
  }
  co_return absl::OkStatus();
}

// Asks once over a connection of its own; the body goes to `out` as it comes, unless that is null.
weft::Task<absl::Status> AskOnce(weft::tcp::Connections& connections, const Url& url,
                                 AnswerReader& reader, std::FILE* out) {
  absl::StatusOr<weft::tcp::Connection> connection =
      co_await connections.Connect(url.server, absl::GetFlag(FLAGS_timeout));
  if (!connection.ok()) co_return connection.status();
  const std::string request = RequestTo(url);
  absl::Status status = co_await connection->Write(BytesOf(request), absl::GetFlag(FLAGS_timeout));
  if (!status.ok()) co_return status;
  uint64_t bytes = 0;
  status = co_await ReadAnswer(*connection, reader, out, &bytes);
  co_return status;
}

weft::Task<absl::Status> Fetch(weft::tcp::Connections& connections, const Url& url,
                               std::FILE* out) {
  AnswerReader reader;
  const absl::Status status = co_await AskOnce(connections, url, reader, out);
  const bool show_head = absl::GetFlag(FLAGS_head) || absl::GetFlag(FLAGS_include);
  if (show_head && reader.has_head()) std::fputs(reader.head().c_str(), stderr);
  if (status.ok() && reader.status() >= 400) {
    co_return absl::UnavailableError(absl::StrCat("the server answered ", reader.status()));
  }
  co_return status;
}

// Of one worker.
struct Load {
  weft::Histogram latency_ns;
  weft::Counter requests;
  weft::Counter failures;  // connections that ended in the middle of something
  weft::Counter errors;    // answers of 400 and above
  weft::Counter bytes;     // of bodies
};

// One after the other, until it is destroyed.
weft::Task<void> Ask(weft::tcp::Connections& connections, const Url& url, Load& load) {
  const std::string request = RequestTo(url);
  const weft::Clock& clock = connections.loop().clock();
  AnswerReader reader;
  weft::tcp::Connection connection;
  for (;;) {
    const int64_t begin_ns = clock.NowNs();
    if (!connection) {
      absl::StatusOr<weft::tcp::Connection> fresh =
          co_await connections.Connect(url.server, absl::GetFlag(FLAGS_timeout));
      if (!fresh.ok()) {
        ++load.failures;
        co_await connections.loop().Sleep(absl::Milliseconds(10));
        continue;
      }
      connection = *std::move(fresh);
    }
    uint64_t bytes = 0;
    absl::Status status = co_await connection.Write(BytesOf(request), absl::GetFlag(FLAGS_timeout));
    if (status.ok()) status = co_await ReadAnswer(connection, reader, nullptr, &bytes);
    if (!status.ok()) {
      ++load.failures;
      connection = {};
      co_await connections.loop().Sleep(absl::ZeroDuration());
      continue;
    }
    ++load.requests;
    load.bytes += bytes;
    if (reader.status() >= 400) ++load.errors;
    load.latency_ns.Record(clock.NowNs() - begin_ns);
    if (!reader.keep_alive()) connection = {};
  }
}

// What lives as long as a worker: tasks end before what they use.
struct Application {
  std::unique_ptr<weft::tcp::Connections> connections;
  weft::TaskGroup tasks;
};

// A measurement: the workers share it.
struct Measurement {
  Measurement(const Url& url, int workers) : url(url), line(workers) {
    for (int i = 0; i < workers; ++i) loads.push_back(std::make_unique<Load>());
  }
  // Whether a request has ended, well or not.
  bool any_ended() const {
    return std::any_of(loads.begin(), loads.end(),
                       [](const auto& load) { return load->requests + load->failures > 0; });
  }

  const Url& url;
  weft::StartLine line;
  std::vector<std::unique_ptr<Load>> loads;  // by worker
  int64_t begin_ns = 0;                      // by worker 0; 0: it has not come to that
  int64_t end_ns = 0;                        // likewise
};

// All workers' loads, in one report.
absl::Status Report(const Measurement& measurement) {
  weft::HistogramSnapshot latency;
  uint64_t requests = 0;
  uint64_t failures = 0;
  uint64_t errors = 0;
  uint64_t bytes = 0;
  for (const auto& load : measurement.loads) {
    latency.Merge(load->latency_ns.Snapshot());
    requests += load->requests.value();
    failures += load->failures.value();
    errors += load->errors.value();
    bytes += load->bytes.value();
  }
  const double seconds = static_cast<double>(measurement.end_ns - measurement.begin_ns) / 1e9;
  const double p50_us = static_cast<double>(latency.Percentile(50)) / 1e3;
  const double p99_us = static_cast<double>(latency.Percentile(99)) / 1e3;
  const double rate = static_cast<double>(requests) / seconds;
  const double mbytes = static_cast<double>(bytes) / seconds / 1e6;
  std::fprintf(weft::TextBeside(absl::GetFlag(FLAGS_json)),
               "%llu requests in %.2f s: %.0f/s, %.2f MB/s; p50 %.1f us, p99 %.1f us; "
               "%llu failures, %llu answers of 400 and above\n",
               static_cast<unsigned long long>(requests), seconds, rate, mbytes, p50_us, p99_us,
               static_cast<unsigned long long>(failures), static_cast<unsigned long long>(errors));
  weft::JsonWriter json;
  json.BeginObject();
  json.Field("seconds", seconds);
  json.Field("requests", requests);
  json.Field("requests_per_second", rate);
  json.Field("body_bytes", bytes);
  json.Field("p50_us", p50_us);
  json.Field("p99_us", p99_us);
  json.Field("failures", failures);
  json.Field("errors", errors);
  json.EndObject();
  const absl::Status status = weft::WriteJson(json, absl::GetFlag(FLAGS_json));
  if (!status.ok() || requests > 0) return status;
  return absl::UnavailableError("no request was answered");
}

weft::Task<void> FetchAndStop(weft::Worker& worker, weft::tcp::Connections& connections,
                              const Url& url, std::FILE* out) {
  const absl::Status status = co_await Fetch(connections, url, out);
  worker.Stop(status);
}

absl::StatusOr<std::shared_ptr<Application>> Open(weft::Worker& worker) {
  auto port = worker.OpenStreamPort();
  if (!port.ok()) return port.status();
  auto application = std::make_shared<Application>();
  application->connections =
      std::make_unique<weft::tcp::Connections>(worker.loop(), *std::move(port));
  return application;
}

// Of one worker.
weft::Task<void> MakeLoad(weft::Worker& worker, Application& application,
                          Measurement& measurement) {
  AnswerReader reader;
  const absl::Status status =
      co_await AskOnce(*application.connections, measurement.url, reader, /*out=*/nullptr);
  if (!status.ok()) {
    worker.Stop(
        absl::Status(status.code(), absl::StrCat("no request was answered: ", status.message())));
    co_return;
  }
  weft::Loop& loop = worker.loop();
  co_await measurement.line.Await(loop);
  const auto index = static_cast<size_t>(worker.index());
  if (index == 0) measurement.begin_ns = loop.clock().NowNs();
  const size_t connections = absl::GetFlag(FLAGS_connections);
  for (size_t i = index; i < connections; i += static_cast<size_t>(worker.count())) {
    application.tasks.Spawn(
        Ask(*application.connections, measurement.url, *measurement.loads[index]));
  }
  if (index != 0) co_return;
  co_await loop.Sleep(absl::GetFlag(FLAGS_duration));
  // A window in which nothing happened would say nothing.
  while (!measurement.any_ended()) co_await loop.Sleep(absl::Milliseconds(1));
  measurement.end_ns = loop.clock().NowNs();
  worker.Stop();
}

absl::Status Measure(weft::Host& host, const Url& url) {
  Measurement measurement(url, host.workers());
  const absl::Status status =
      host.Run([&](weft::Worker& worker) -> absl::StatusOr<std::shared_ptr<void>> {
        auto application = Open(worker);
        if (!application.ok()) return application.status();
        (*application)->tasks.Spawn(MakeLoad(worker, **application, measurement));
        return std::shared_ptr<void>(*std::move(application));
      });
  if (!status.ok()) return status;
  if (measurement.begin_ns == 0) return absl::CancelledError("interrupted before an answer came");
  if (measurement.end_ns == 0) measurement.end_ns = weft::RealClock().NowNs();
  return Report(measurement);
}

absl::Status FetchOnce(weft::Host& host, const Url& url) {
  const std::string path = absl::GetFlag(FLAGS_output);
  std::FILE* out = path == "-" ? stdout : std::fopen(path.c_str(), "w");
  if (out == nullptr) return absl::ErrnoToStatus(errno, absl::StrCat("cannot write ", path));
  absl::Status status =
      host.Run([&](weft::Worker& worker) -> absl::StatusOr<std::shared_ptr<void>> {
        auto application = Open(worker);
        if (!application.ok()) return application.status();
        (*application)->tasks.Spawn(FetchAndStop(worker, *(*application)->connections, url, out));
        return std::shared_ptr<void>(*std::move(application));
      });
  if ((out == stdout ? std::fflush(out) : std::fclose(out)) != 0) {
    status.Update(absl::ErrnoToStatus(errno, absl::StrCat("cannot write ", path)));
  }
  return status;
}

absl::Status CheckFlags() {
  constexpr uint32_t kConnectionsMax = 1'000'000;
  if (absl::GetFlag(FLAGS_timeout) <= absl::ZeroDuration()) {
    return absl::InvalidArgumentError("--timeout must be more than 0");
  }
  const absl::Duration duration = absl::GetFlag(FLAGS_duration);
  if (duration < absl::Milliseconds(1) || duration > absl::Hours(1)) {
    return absl::InvalidArgumentError("--duration must be from 1ms to 1h");
  }
  if (absl::GetFlag(FLAGS_connections) > kConnectionsMax) {
    return absl::InvalidArgumentError(
        absl::StrCat("--connections must be at most ", kConnectionsMax));
  }
  return absl::OkStatus();
}

absl::Status Run(const std::string& text) {
  if (absl::Status status = CheckFlags(); !status.ok()) return status;
  auto url = weft::http::ParseUrl(text);
  if (!url.ok()) return url.status();
  auto config = weft::config::FromFlags();
  if (!config.ok()) return config.status();
  const bool measures = absl::GetFlag(FLAGS_connections) > 0;
  if (!measures) config->mutable_host()->set_workers(1);
  auto host = weft::Host::Open(*config);
  if (!host.ok()) return host.status();
  if ((*host)->transport().virtual_time() != nullptr) {
    return absl::InvalidArgumentError("a simulated network lives within one process");
  }
  return measures ? Measure(**host, *url) : FetchOnce(**host, *url);
}

}  // namespace

int main(int argc, char** argv) {
  absl::SetProgramUsageMessage("Fetches URL over HTTP/1.1, or measures how fast it is answered.");
  const std::vector<char*> words = absl::ParseCommandLine(argc, argv);
  if (words.size() != 2) {
    std::fprintf(stderr, "http_client: give one URL: http://HOST:PORT/PATH\n");
    return 2;
  }
  const absl::Status status = Run(words[1]);
  if (status.ok()) return 0;
  std::fprintf(stderr, "http_client: %s\n", std::string(status.message()).c_str());
  return 1;
}
