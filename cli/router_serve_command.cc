// SPDX-License-Identifier: Apache-2.0

#include <cstdint>
#include <cstdio>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <utility>

#include "absl/functional/any_invocable.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "weft/cli/command.h"
#include "weft/cli/endpoint.h"
#include "weft/cli/flags.h"
#include "weft/cli/router_config.h"
#include "weft/core/clock.h"
#include "weft/core/log.h"
#include "weft/core/loop.h"
#include "weft/core/timer_wheel.h"
#include "weft/host/host.h"
#include "weft/router/options.h"
#include "weft/router/router.h"
#include "weft/router/router_group.h"
#include "weft/router/server_metrics.h"
#include "weft/rpc/port_protection.h"
#include "weft/rpc/security/security.h"

namespace weft::cli {
namespace {

using router::Router;
using router::RouterGroup;
using router::RouterOptions;

// What the workers of one router share.
struct Program {
  RouterOptions options;  // its addresses become those where the first worker listens
  std::shared_ptr<const rpc::Security> control_security;
  std::shared_ptr<RouterGroup> group;
  std::mutex mutex;
  // Guarded by mutex: of workers that have ended.
  uint64_t forwarded = 0;
  uint64_t refused = 0;
  uint64_t leases_expired = 0;
};

// A worker's router. It ends when nothing waits any more, and what it has counted goes to the totals
// then.
class OneRouter {
 public:
  OneRouter(Worker& worker, std::unique_ptr<Router> router, Program& program)
      : loop_(worker.loop()), router_(std::move(router)), program_(program) {
    worker.BeforeEnd([this](auto done) {
      done_ = std::move(done);
      LookAtQueue(this, loop_.now_ns());
    });
  }
  ~OneRouter() {
    const router::DispatcherStats& stats = router_->dispatcher().stats();
    const std::lock_guard<std::mutex> lock(program_.mutex);
    program_.forwarded += stats.forwarded.value();
    program_.refused += router_->stats().drops.value();
    program_.leases_expired += stats.leases_expired.value();
  }

 private:
  static constexpr int64_t kLookNs = 1'000'000;

  // Routing goes on meanwhile: what clients have sent already is not to be lost.
  static void LookAtQueue(void* self, int64_t now_ns) {
    auto& one = *static_cast<OneRouter*>(self);
    if (one.router_->dispatcher().queue_length() == 0) return one.done_();
    one.loop_.timers().Schedule(one.timer_, now_ns + kLookNs);
  }

  Loop& loop_;
  const std::unique_ptr<Router> router_;
  Program& program_;
  absl::AnyInvocable<void()> done_;
  Timer timer_{&OneRouter::LookAtQueue, this};
};

// How the configuration protects the port for control. With keys, who joins needs a rule.
absl::Status ChooseProtection(const config::Router& config, Program* program) {
  if (!config.has_control_security()) return absl::OkStatus();
  auto security = rpc::Security::Open(config.control_security());
  if (!security.ok()) {
    return absl::Status(security.status().code(),
                        absl::StrCat("router.control_security: ", security.status().message()));
  }
  program->control_security = *std::move(security);
  return absl::OkStatus();
}

// Of a new configuration too: the rules of the one that the program began with.
void Protect(const Program& program, RouterOptions* options) {
  const auto& security = program.control_security;
  if (security == nullptr || security->mode() == rpc::Security::Mode::kPlaintext) return;
  options->control_protected = true;
  options->may_join = [security](absl::string_view identity) {
    return security->Allows("weft.router/JOIN", identity);
  };
}

// The port for FEEDBACK and JOIN; null where it is the one for requests.
absl::StatusOr<std::unique_ptr<DatagramPort>> OpenControl(Worker& worker, Program& program) {
  const RouterOptions& options = program.options;
  if (options.control == options.listen || worker.index() != 0) return nullptr;
  auto port = worker.transport().OpenDatagramPort({.local = options.control});
  if (!port.ok()) {
    return absl::Status(port.status().code(),
                        absl::StrCat("router.control: ", port.status().message()));
  }
  if (program.control_security != nullptr) {
    return rpc::Protect(worker.loop(), *std::move(port), program.control_security.get(),
                        rpc::Role::kServer);
  }
  if (options.join && !rpc::StaysWithinMachine(**port, options.control)) {
    return absl::FailedPreconditionError(absl::StrCat(
        "router.join: servers may join at ", options.control.ToString(),
        ", which is beyond this machine, and nothing says how that is protected. Write into the "
        "configuration `router { control_security { psk { ... } } }`, or `x509 { ... }`, for "
        "encryption and authentication, or `plaintext { }` for none; docs/router.md says more"));
  }
  return port;
}

absl::StatusOr<Address> AddressIn(const HttpRequest& request) {
  const auto found = request.query.find("address");
  if (found == request.query.end()) return absl::InvalidArgumentError("no address is given");
  return Address::Parse(found->second);
}

absl::StatusOr<uint32_t> NumberIn(const HttpRequest& request, const char* name,
                                  uint32_t otherwise) {
  const auto found = request.query.find(name);
  if (found == request.query.end()) return otherwise;
  uint32_t number = 0;
  if (!absl::SimpleAtoi(found->second, &number) || number > UINT16_MAX) {
    return absl::InvalidArgumentError(
        absl::StrCat(name, ": '", found->second, "' is not a whole number from 0 to 65535"));
  }
  return number;
}

absl::StatusOr<std::string> Add(Router& router, const HttpRequest& request) {
  const auto address = AddressIn(request);
  if (!address.ok()) return address.status();
  const auto slots = NumberIn(request, "slots", 0);
  if (!slots.ok()) return slots.status();
  const auto weight = NumberIn(request, "weight", 1);
  if (!weight.ok()) return weight.status();
  if (*weight == 0) return absl::InvalidArgumentError("weight: give 1 at least");
  const absl::Status status = router.Add({.address = *address, .slots = *slots, .weight = *weight});
  if (!status.ok()) return status;
  return absl::StrCat(address->ToString(), " is added");
}

// `act` is Drain() or Remove().
absl::StatusOr<std::string> End(Router& router, const HttpRequest& request,
                                absl::Status (Router::*act)(const Address&), const char* told) {
  const auto address = AddressIn(request);
  if (!address.ok()) return address.status();
  if (absl::Status status = (router.*act)(*address); !status.ok()) return status;
  return absl::StrCat(address->ToString(), told);
}

absl::Status Apply(Router& router, const Program& program, const config::Config& config) {
  auto options = RouterOptions::From(config);
  if (!options.ok()) return options.status();
  // Chosen by the system, or by the transport, when it began.
  if (options->listen.is_ip() && options->listen.port() == 0) {
    options->listen = program.options.listen;
  }
  if (options->control.is_ip() && options->control.port() == 0) {
    options->control = program.options.control;
  }
  Protect(program, &*options);
  return router.Apply(*options);
}

// The first worker's changes reach the others.
void TakeCommands(Worker& worker, Router& router, const Program& program) {
  worker.Accept("router/add", [&router](const HttpRequest& r) { return Add(router, r); });
  worker.Accept("router/drain", [&router](const HttpRequest& r) {
    return End(router, r, &Router::Drain, " gets no more requests, and goes when it has none");
  });
  worker.Accept("router/remove", [&router](const HttpRequest& r) {
    return End(router, r, &Router::Remove, " is removed");
  });
  worker.OnReload(
      [&router, &program](const config::Config& config) { return Apply(router, program, config); });
}

absl::StatusOr<std::shared_ptr<void>> Serve(Worker& worker, Program& program) {
  RouterOptions& options = program.options;
  auto listen = worker.OpenDatagramPort(options.listen);
  if (!listen.ok()) {
    return absl::Status(listen.status().code(),
                        absl::StrCat("router.listen: ", listen.status().message()));
  }
  const bool same = options.control == options.listen;
  options.listen = (*listen)->local_address();
  if (same) options.control = options.listen;
  auto control = OpenControl(worker, program);
  if (!control.ok()) return control.status();
  if (*control != nullptr) options.control = (*control)->local_address();
  auto made = Router::Create(worker.loop(), *std::move(listen), *std::move(control), options,
                             program.group, static_cast<size_t>(worker.index()));
  if (!made.ok()) return made.status();
  Router& router = **made;
  if (worker.index() == 0) TakeCommands(worker, router, program);
  worker.Show(router.port());
  worker.Show(router::RegisterMetrics(worker.metrics(), router, worker.labels()));
  worker.Show("router", router.Description());
  worker.Sample(router::ServerSampler(router, worker.labels()));
  if (worker.index() + 1 == worker.count()) {
    absl::PrintF(
        "routing at %s (%s, %s), control at %s, %d servers, policy %s\n", options.listen.ToString(),
        worker.config().transport().name(),
        router.keeps_source() ? "clients' addresses kept" : "clients' addresses in headers",
        options.control.ToString(), options.servers.size(), options.policy);
    std::fflush(stdout);
  }
  return std::make_shared<OneRouter>(worker, *std::move(made), program);
}

// What a router cannot change while it runs is said, and left as it is.
absl::StatusOr<config::Config> Reload(const RouterFlags& flags, const config::Config& running) {
  auto config = ChooseRouterConfig(flags);
  if (!config.ok()) return config.status();
  config::Config rest = *config;
  config::Config before = running;
  rest.clear_router();
  before.clear_router();
  if (rest.SerializeAsString() != before.SerializeAsString()) {
    WEFT_LOG(kWarning, "only the section router is applied; the others wait for the next start");
  }
  return config;
}

absl::Status RunRouter(const RouterFlags& flags) {
  auto config = ChooseRouterConfig(flags);
  if (!config.ok()) return config.status();
  auto options = RouterOptions::From(*config);
  if (!options.ok()) return options.status();
  Program program;
  program.options = *std::move(options);
  if (absl::Status status = ChooseProtection(config->router(), &program); !status.ok()) {
    return status;
  }
  Protect(program, &program.options);
  HostOptions host_options;
  host_options.reload = [&] { return Reload(flags, *config); };
  auto host = Host::Open(*config, host_options);
  if (!host.ok()) return host.status();
  if (const std::string http = (*host)->http_address(); !http.empty()) {
    absl::PrintF("metrics at http://%s/metrics\n", http);
  }
  if ((*host)->workers() > 1) {
    program.group = std::make_shared<RouterGroup>(static_cast<size_t>((*host)->workers()));
  }
  const int64_t begin_ns = RealClock().NowNs();
  absl::Status status = (*host)->Run([&](Worker& worker) { return Serve(worker, program); });
  if (!status.ok()) return status;
  absl::PrintF("forwarded %d requests in %.1f s; %d refused, %d without feedback\n",
               program.forwarded, static_cast<double>(RealClock().NowNs() - begin_ns) / 1e9,
               program.refused, program.leases_expired);
  return absl::OkStatus();
}

}  // namespace

int RouterServe(Arguments arguments) {
  RouterFlags options;
  Flags flags("router serve",
              "Spreads requests over servers, which answer the clients directly, until it is\n"
              "interrupted; what waits then is forwarded, for a second at most. SIGHUP reads the\n"
              "configuration again without losing a request. docs/router.md is the guide.");
  options.Declare(flags);
  if (std::optional<int> status = flags.Parse(arguments)) return *status;
  const absl::Status status = RunRouter(options);
  if (status.ok()) return kExitOk;
  flags.Complain(status.message());
  return ExitStatus(status);
}

}  // namespace weft::cli
