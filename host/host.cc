// SPDX-License-Identifier: Apache-2.0
#include "weft/host/host.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <future>
#include <iterator>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "weft/config/validate.h"
#include "weft/core/clock.h"
#include "weft/core/cpu.h"
#include "weft/core/log.h"
#include "weft/core/virtual_time.h"
#include "weft/host/signals.h"
#include "weft/host/status_page/status_page.h"

namespace weft {
namespace {

constexpr std::chrono::milliseconds kFinishTime(1000);
constexpr size_t kMetricsMax = 1 << 18;  // Some hundreds for each of 1024 workers.

LoopOptions OptionsOf(const config::Loop& loop) {
  LoopOptions options;
  options.spin = absl::Microseconds(loop.spin_us());
  switch (loop.mode()) {
    case config::Loop::BUSY:
      options.mode = LoopMode::kBusy;
      break;
    case config::Loop::ADAPTIVE:
      options.mode = LoopMode::kAdaptive;
      break;
    case config::Loop::SLEEP:
      options.mode = LoopMode::kSleep;
      break;
  }
  return options;
}

absl::Status ConfigureLogFrom(const config::Config& config) {
  if (!config.has_log()) return absl::OkStatus();
  LogOptions options;
  // The schema counts as LogLevel does.
  static_assert(static_cast<int>(LogLevel::kDebug) == config::Log::DEBUG);
  static_assert(static_cast<int>(LogLevel::kOff) == config::Log::OFF);
  options.level = static_cast<LogLevel>(config.log().level());
  options.format = config.log().format() == config::Log::JSON ? LogFormat::kJson : LogFormat::kText;
  options.file = config.log().file();
  const absl::Status status = ConfigureLog(options);
  return absl::Status(status.code(), absl::StrCat("log.file: ", status.message()));
}

// Null if there is no such section.
absl::StatusOr<std::shared_ptr<rpc::SpanWriter>> StartTracing(const config::Config& config,
                                                              bool virtual_time) {
  if (!config.has_tracing()) return nullptr;
  auto writer = rpc::SpanWriter::Start({.file = config.tracing().file(),
                                        .service_name = config.tracing().service_name(),
                                        .queue_spans = config.tracing().queue_spans(),
                                        .virtual_time = virtual_time});
  if (writer.ok()) return writer;
  return absl::Status(writer.status().code(),
                      absl::StrCat("tracing.file: ", writer.status().message()));
}

absl::Status OfWorker(const Worker& worker, const absl::Status& status) {
  if (worker.count() == 1) return status;
  return absl::Status(status.code(),
                      absl::StrCat("worker ", worker.index(), ": ", status.message()));
}

}  // namespace

absl::StatusOr<std::unique_ptr<Host>> Host::Open(const config::Config& config,
                                                 const HostOptions& options) {
  if (absl::Status status = config::Validate(config); !status.ok()) return status;
  std::vector<int> cores;
  if (!config.host().cores().empty()) cores = ParseCoreList(config.host().cores()).value();
  UniqueFd stop_event(eventfd(0, EFD_CLOEXEC));
  if (!stop_event) return absl::ErrnoToStatus(errno, "eventfd");
  if (absl::Status status = ConfigureLogFrom(config); !status.ok()) return status;
  auto network = OpenNetwork(config);
  if (!network.ok()) return network.status();
  auto spans = StartTracing(config, network->transport->virtual_time() != nullptr);
  if (!spans.ok()) return spans.status();
  std::unique_ptr<Host> host(new Host(config, options, *std::move(network), std::move(cores),
                                      std::move(stop_event), *std::move(spans)));
  if (absl::Status status = host->Serve(); !status.ok()) return status;
  return host;
}

Host::Host(const config::Config& config, const HostOptions& options, Network network,
           std::vector<int> cores, UniqueFd stop_event, std::shared_ptr<rpc::SpanWriter> spans)
    : config_(config),
      options_(options),
      cores_(std::move(cores)),
      opened_ns_(MonotonicClock().NowNs()),
      stop_event_(std::move(stop_event)),
      metrics_(kMetricsMax),
      network_(std::move(network)),
      spans_(std::move(spans)) {
  const VirtualTime* time = network_.transport->virtual_time();
  const Clock& clock = time != nullptr ? *time : RealClock();
  for (uint32_t i = 0; i < config_.host().workers(); ++i) {
    workers_.push_back(std::unique_ptr<Worker>(
        new Worker(*this, static_cast<int>(i), OptionsOf(config_.host().loop()), clock)));
  }
  std::vector<Loop*> loops;
  for (const auto& worker : workers_) loops.push_back(&worker->loop_);
  samples_ = std::make_unique<WorkerAnswers<std::vector<MetricSample>>>(
      loops, [this](size_t worker, size_t limit) { return workers_[worker]->Samples(limit); });
  if (time != nullptr) loops.resize(1);  // one thread, and one stack
  tcp_pages_ = std::make_unique<TcpPages>(loops, network_.tcp);
  net_pages_ = std::make_unique<NetPages>(std::move(loops), network_.netstack);
}

Host::~Host() = default;

absl::Status Host::Serve() {
  for (const auto& worker : workers_) {
    const LoopStats& stats = worker->loop_.stats();
    MetricGroup& group = loop_metrics_.emplace_back(metrics_, "weft_loop_", worker->labels());
    group.Add("iterations_total", "Rounds of the event loop.", &stats.iterations);
    group.Add("idle_iterations_total", "Rounds that found no work.", &stats.idle_iterations);
    group.Add("sleeps_total", "Times that the event loop slept.", &stats.sleeps);
    group.Add("busy_ns_total", "Nanoseconds in rounds that found work.", &stats.busy_ns);
    if (!group.status().ok()) return group.status();
  }
  if (config_.metrics().listen().empty()) return absl::OkStatus();
  auto http = HttpServer::Start(
      config_.metrics().listen(),
      {{"/metrics", [this](const HttpRequest&) { return Metrics(); }},
       {"/healthz", [this](const HttpRequest&) { return Health(); }},
       {"/", [](const HttpRequest&) { return RedirectToStatusPage(); }},
       {"/status", [](const HttpRequest&) { return StatusPage(); }},
       {"/host", [this](const HttpRequest&) { return DescribeSelf(); }},
       {"/net", [this](const HttpRequest& request) { return net_pages_->Show(request); }},
       {"/net/ping", [this](const HttpRequest& request) { return net_pages_->Ping(request); }},
       {"/tcp", [this](const HttpRequest& request) { return tcp_pages_->Show(request); }}});
  if (!http.ok()) return http.status();
  http_ = *std::move(http);
  return absl::OkStatus();
}

HttpResponse Host::Metrics() {
  const auto answer = [this](absl::Span<const MetricSample> samples) {
    return HttpResponse{
        .content_type = MetricRegistry::kContentType,
        .body = absl::StrCat(metrics_.RenderPrometheus(), RenderPrometheus(samples))};
  };
  const uint32_t peers_max = config_.metrics().peers_max();
  // In virtual time, loops that are not run do not answer.
  if (peers_max == 0 || !ready_ || stopping()) return answer({});
  return {
      .later = [answer, round = samples_->Ask(peers_max)]() mutable -> std::optional<HttpResponse> {
        if (!round.Done()) return std::nullopt;
        std::vector<MetricSample> all;
        for (size_t i = 0; i < round.workers(); ++i) {
          if (round.Get(i) != nullptr)
            all.insert(all.end(), round.Get(i)->begin(), round.Get(i)->end());
        }
        return answer(all);
      }};
}

std::unique_ptr<rpc::Tracer> Host::MakeTracer(int worker, const Clock& clock) const {
  if (spans_ == nullptr) return nullptr;
  rpc::TracerOptions options = {.sample_ratio = config_.tracing().sample_ratio()};
  // A simulation can be repeated, with the ids of its traces.
  if (network_.transport->virtual_time() != nullptr) {
    options.seed = config_.transport().sim().seed() + static_cast<uint64_t>(worker);
  }
  return std::make_unique<rpc::Tracer>(spans_, clock, options);
}

const char* Host::StateName() const {
  if (stopping()) return "stopping";
  return ready_ ? "running" : "starting";
}

HttpResponse Host::Health() const {
  if (stopping() || !ready_) return {.status = 503, .body = absl::StrCat(StateName(), "\n")};
  return {.body = "ok\n"};
}

HttpResponse Host::DescribeSelf() {
  JsonWriter json;
  json.BeginObject();
  json.Field("program", program_invocation_short_name);
  json.Field("pid", getpid());
  json.Field("uptime_ms", (MonotonicClock().NowNs() - opened_ns_) / 1'000'000);
  json.Field("transport", transport().name());
  json.Field("workers", workers());
  json.Field("state", StateName());
  json.Key("pages").BeginArray();
  if (netstack() != nullptr) json.Value("net");
  if (tcp() != nullptr) json.Value("tcp");
  {
    const std::lock_guard<std::mutex> lock(pages_mutex_);
    std::vector<std::string> names;
    for (const auto& [name, page] : pages_) names.push_back(name);
    std::sort(names.begin(), names.end());
    for (const std::string& name : names) json.Value(name);
  }
  json.EndArray();
  {
    const std::lock_guard<std::mutex> lock(pages_mutex_);
    if (control_ != nullptr) json.Field("control", control_->address());
  }
  json.Key("loops").BeginArray();
  for (const auto& worker : workers_) {
    const LoopStats& stats = worker->loop_.stats();
    json.BeginObject();
    json.Field("worker", worker->index());
    json.Field("iterations", stats.iterations.value());
    json.Field("idle_iterations", stats.idle_iterations.value());
    json.Field("sleeps", stats.sleeps.value());
    json.Field("busy_ns", stats.busy_ns.value());
    json.EndObject();
  }
  json.EndArray();
  json.EndObject();
  return {.content_type = "application/json", .body = json.text() + "\n"};
}

void Host::Stop(absl::Status reason) {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    status_.Update(std::move(reason));
  }
  stopping_ = true;
  finished_.notify_all();
  eventfd_write(stop_event_.get(), 1);
}

void Host::AddPage(const std::string& name) {
  const std::lock_guard<std::mutex> lock(pages_mutex_);
  std::unique_ptr<WorkerPage>& page = pages_[name];
  if (page != nullptr || http_ == nullptr) return;
  std::vector<Loop*> loops;
  for (const auto& worker : workers_) loops.push_back(&worker->loop_);
  page = std::make_unique<WorkerPage>(std::move(loops),
                                      [this, name](size_t worker, size_t limit, JsonWriter& json) {
                                        workers_[worker]->DescribeAll(name, limit, json);
                                      });
  http_->Add("/" + name,
             [page = page.get()](const HttpRequest& request) { return page->Show(request); });
}

absl::Status Host::ShowTcp(const MetricGroup::Labels& labels) {
  const tcp::TcpStats* stats = tcp() == nullptr ? nullptr : tcp()->StatsOfThisThread();
  if (stats == nullptr) return absl::OkStatus();
  const std::lock_guard<std::mutex> lock(mutex_);
  const auto [shown, fresh] = tcp_metrics_.try_emplace(stats, metrics_, "weft_tcp_", labels);
  if (fresh) stats->AddTo(shown->second);
  return shown->second.status();
}

void Host::AddCommand(const std::string& command, size_t worker) {
  const std::lock_guard<std::mutex> lock(pages_mutex_);
  if (http_ == nullptr) return;
  if (control_ == nullptr) {
    std::vector<Loop*> loops;
    for (const auto& worker : workers_) loops.push_back(&worker->loop_);
    auto control = Control::Start(std::move(loops), [this](size_t worker, const std::string& name,
                                                           const HttpRequest& request) {
      return workers_[worker]->ExecuteCommand(name, request);
    });
    if (!control.ok()) {
      WEFT_LOG(kWarning, "the program takes no commands", {"error", control.status().message()});
      return;
    }
    control_ = *std::move(control);
  }
  control_->Add(command, worker);
}

void Host::FinishWorkers() {
  std::unique_lock<std::mutex> lock(mutex_);
  // There is no loop to run on where a set-up failed, and no time in virtual time.
  if (!status_.ok() || transport().virtual_time() != nullptr) return;
  for (const auto& worker : workers_) {
    if (worker->has_finished()) continue;
    worker->loop_.Post([worker = worker.get()] { worker->BeginEnd(); });
  }
  const bool finished = finished_.wait_for(lock, kFinishTime, [this] {
    return !status_.ok() || std::all_of(workers_.begin(), workers_.end(),
                                        [](const auto& worker) { return worker->has_finished(); });
  });
  if (!finished) {
    WEFT_LOG(kWarning, "the program ends before all of its work has",
             {"waited_ms", kFinishTime.count()});
  }
}

void Host::OnFinished() {
  const std::lock_guard<std::mutex> lock(mutex_);
  finished_.notify_all();
}

absl::Status Host::Run(const SetUp& set_up) {
  if (started_.exchange(true)) {
    return absl::FailedPreconditionError("a host runs once; open another");
  }
  std::optional<ShutdownSignals> signals;
  std::optional<HangUpSignal> hang_up;
  if (options_.handle_signals) {
    auto caught = ShutdownSignals::Catch(stop_event_.get());
    if (!caught.ok()) return caught.status();
    signals.emplace(*std::move(caught));
    if (options_.reload) {
      auto event = HangUpSignal::Catch();
      if (!event.ok()) return event.status();
      hang_up.emplace(*std::move(event));
    }
  }
  std::vector<std::thread> threads;
  StartWorkers(set_up, &threads);

  WaitForEnd(hang_up ? hang_up->event_fd() : -1);
  stopping_ = true;
  WEFT_LOG(kDebug, "the program ends");
  FinishWorkers();
  for (const auto& worker : workers_) worker->loop_.Stop();
  for (std::thread& thread : threads) thread.join();
  const std::lock_guard<std::mutex> lock(mutex_);
  return status_;
}

void Host::WaitForEnd(int hang_up_fd) {
  pollfd polled[] = {{.fd = stop_event_.get(), .events = POLLIN, .revents = 0},
                     {.fd = hang_up_fd, .events = POLLIN, .revents = 0}};  // -1 is passed over
  while (polled[0].revents == 0) {
    if (poll(polled, std::size(polled), -1) < 0) continue;  // EINTR; revents are not written
    eventfd_t times = 0;
    if (polled[1].revents != 0 && eventfd_read(hang_up_fd, &times) == 0) Reload();
  }
}

void Host::Reload() {
  auto config = options_.reload();
  if (!config.ok()) {
    WEFT_LOG(kError, "the configuration stays as it was", {"error", config.status().message()});
    return;
  }
  WEFT_LOG(kInfo, "the configuration is read again");
  const auto shared = std::make_shared<const config::Config>(*std::move(config));
  for (const auto& worker : workers_) {
    worker->loop_.Post([shared, worker = worker.get()] { worker->Reload(*shared); });
  }
}

void Host::StartWorkers(const SetUp& set_up, std::vector<std::thread>* threads) {
  if (transport().virtual_time() != nullptr) {
    threads->emplace_back([this, &set_up] { RunAllVirtually(set_up); });
    return;
  }
  for (const auto& worker : workers_) {
    if (stopping()) return;
    std::promise<bool> is_up;
    std::future<bool> up = is_up.get_future();
    threads->emplace_back(
        [this, &set_up, worker = worker.get(), is_up = std::move(is_up)]() mutable {
          const bool ok = SetUpWorker(*worker, set_up);
          is_up.set_value(ok);
          if (ok) RunWorker(*worker);
          TearDownWorker(*worker);
        });
    if (!up.get()) return;
  }
  ready_ = true;
}

absl::StatusOr<std::unique_ptr<DatagramPort>> Host::OpenAtFreePort(PortOptions options,
                                                                   size_t nth) {
  const std::lock_guard<std::mutex> lock(free_ports_mutex_);
  std::vector<Address>& chosen = free_ports_[options.local];
  if (nth < chosen.size()) options.local = chosen[nth];
  auto port = transport().OpenDatagramPort(options);
  if (port.ok() && nth == chosen.size()) chosen.push_back((*port)->local_address());
  return port;
}

bool Host::SetUpWorker(Worker& worker, const SetUp& set_up) {
  absl::Status status;
  if (!cores_.empty()) status = PinThisThread(cores_[static_cast<size_t>(worker.index())]);
  if (status.ok()) {
    auto application = set_up(worker);
    status = application.status();
    status.Update(worker.show_status_);
    if (application.ok()) worker.application_ = *std::move(application);
  }
  if (status.ok()) {
    WEFT_LOG(kDebug, "a worker is up", {"worker", worker.index()});
  } else {
    Stop(OfWorker(worker, status));
  }
  return status.ok();
}

void Host::RunWorker(Worker& worker) {
  NameThisThread(absl::StrCat("weft-", worker.index()));
  worker.loop_.Run();
  Stop();
}

void Host::RunAllVirtually(const SetUp& set_up) {
  NameThisThread("weft-virtual");
  std::vector<Loop*> loops;
  bool up = true;
  for (const auto& worker : workers_) {
    up = up && SetUpWorker(*worker, set_up);
    loops.push_back(&worker->loop_);
  }
  if (up) {
    ready_ = true;
    RunVirtual(*transport().virtual_time(), loops, [this] { return stopping(); });
  }
  for (const auto& worker : workers_) TearDownWorker(*worker);
  Stop();
}

void Host::TearDownWorker(Worker& worker) {
  if (worker.index() == 0) net_pages_->TearDown();
  worker.TearDown();
}

}  // namespace weft
