// SPDX-License-Identifier: Apache-2.0
//
// What protection costs: sealing and opening a datagram, and calls of 64 bytes and of 8 MiB over
// kernel sockets with both ends on one thread, in the clear and protected.
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>
#include <vector>

#include "benchmark/benchmark.h"
#include "weft/core/clock.h"
#include "weft/core/loop.h"
#include "weft/rpc/client.h"
#include "weft/rpc/security/traffic_keys.h"
#include "weft/rpc/server.h"
#include "weft/transports/registry.h"

namespace weft::rpc {
namespace {

// Arguments: cipher, bytes.
void BM_SealAndOpen(benchmark::State& state) {
  const auto cipher = static_cast<Cipher>(state.range(0));
  const auto bytes = static_cast<size_t>(state.range(1));
  const TrafficSecret secret(std::vector<uint8_t>(TrafficSecret::kBytes, 7));
  const RotationLimits limits{.packets = uint64_t{1} << 40};
  SendKeys send;
  ReceiveKeys receive;
  if (!send.Start(secret, cipher, 0, limits) || !receive.Start(secret, cipher)) std::abort();
  std::vector<uint8_t> data(bytes + Aead::kTagBytes);
  uint64_t number = 0;
  uint8_t phase = 0;
  for (auto _ : state) {
    if (!send.Seal(0, limits, data.data(), bytes, {}, &number, &phase) ||
        receive.Open(phase, number, data.data(), data.size()) != ReceiveKeys::Result::kOpened) {
      std::abort();
    }
  }
  state.SetBytesProcessed(static_cast<int64_t>(state.iterations() * bytes));
}
BENCHMARK(BM_SealAndOpen)
    ->ArgNames({"cipher", "bytes"})
    ->ArgsProduct({{0, 1, 2}, {64, 1400, 1900}});

std::shared_ptr<const Security> MakeSecurity(bool keys) {
  config::Security config;
  if (!keys) {
    config.mutable_plaintext();
    return Security::Open(config).value();
  }
  char path[] = "/tmp/weft-record-benchmark-XXXXXX";
  const int fd = mkstemp(path);
  FILE* const file = fdopen(fd, "w");
  std::fputs("000102030405060708090a0b0c0d0e0f", file);
  std::fclose(file);
  config.mutable_psk()->set_identity("benchmark");
  config.mutable_psk()->set_key_file(path);
  auto security = Security::Open(config).value();
  std::remove(path);
  return security;
}

// Arguments: protected, bytes of the request and of the reply.
void BM_Call(benchmark::State& state) {
  config::Transport config;
  config.set_name("linux");
  const auto transport = OpenPlainTransport(config).value();
  Loop server_loop({.mode = LoopMode::kBusy}, RealClock());
  Loop client_loop({.mode = LoopMode::kBusy}, RealClock());
  const auto security = MakeSecurity(state.range(0) != 0);
  const auto server =
      Server::Create(server_loop,
                     *transport->OpenDatagramPort({.local = *Address::Parse("127.0.0.1:0")}),
                     {.security = security},
                     [](ServerCall call) { (void)call.Reply(std::move(call.request())); })
          .value();
  const auto client = Client::Create(client_loop, *transport->OpenDatagramPort({}),
                                     {.timeout = absl::Seconds(10), .security = security})
                          .value();
  const Peer peer = client->Resolve(server->port().local_address()).value();
  const std::vector<uint8_t> request(static_cast<size_t>(state.range(1)));
  const auto call = [&] {
    bool done = false;
    const auto begun =
        client->Call(peer, Payload::External(request), [&](absl::StatusOr<BufferChain> reply) {
          if (!reply.ok()) state.SkipWithError(std::string(reply.status().message()).c_str());
          done = true;
        });
    if (!begun.ok()) return state.SkipWithError(std::string(begun.status().message()).c_str());
    while (!done) {
      client_loop.RunOnce();
      server_loop.RunOnce();
    }
  };
  call();
  for (auto _ : state) call();
  state.SetBytesProcessed(static_cast<int64_t>(state.iterations() * 2 * request.size()));
}
BENCHMARK(BM_Call)->ArgNames({"protected", "bytes"})->ArgsProduct({{0, 1}, {64, 8 << 20}});

}  // namespace
}  // namespace weft::rpc
