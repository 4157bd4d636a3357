// SPDX-License-Identifier: Apache-2.0
//
// What a message of a stream costs, over shared memory and sockets of this machine. On one thread,
// where client and server take turns, that is the work of both ends, whatever else the machine
// does; on two, each end has its own.
//
//   bazel run --config=release //rpc/service:stream_benchmark -- [transport] [payload bytes]
#include <atomic>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>
#include <thread>

#include "weft/core/clock.h"
#include "weft/core/loop.h"
#include "weft/core/task_group.h"
#include "weft/rpc/client.h"
#include "weft/rpc/service/channel.h"
#include "weft/rpc/service/service_server.h"
#include "weft/rpc/service/stream_service.h"
#include "weft/transports/registry.h"

namespace weft::rpc {
namespace {

using testing::CountRequest;
using testing::Item;
using testing::StreamsClient;
using testing::SumResponse;

constexpr double kSeconds = 1.0;

std::unique_ptr<Transport> Open(const std::string& name) {
  config::Transport config;
  config.set_name(name);
  return OpenPlainTransport(config).value();
}

class ServerEnd {
 public:
  explicit ServerEnd(const std::string& name) : transport_(Open(name)) {
    const Address local =
        name == "shm" ? Address::Shm("stream-benchmark") : Address::Ipv4({127, 0, 0, 1}, 0);
    server_ = ServiceServer::Create(loop_, *transport_->OpenDatagramPort({.local = local}), {}, {},
                                    {&service_})
                  .value();
  }
  Address address() const { return server_->server().port().local_address(); }
  Loop& loop() { return loop_; }

 private:
  const std::unique_ptr<Transport> transport_;
  Loop loop_{{}, RealClock()};
  testing::StreamServer service_;
  std::unique_ptr<ServiceServer> server_;
};

class ServerThread {
 public:
  explicit ServerThread(const std::string& name) {
    thread_ = std::thread([this, name] {
      ServerEnd end(name);
      address_ = end.address();
      loop_ = &end.loop();
      ready_ = true;
      end.loop().Run();
    });
    while (!ready_) std::this_thread::yield();
  }
  ~ServerThread() {
    loop_->Stop();
    thread_.join();
  }
  const Address& address() const { return address_; }

 private:
  std::thread thread_;
  std::atomic<bool> ready_{false};
  Loop* loop_ = nullptr;
  Address address_;
};

struct Progress {
  uint64_t messages = 0;
  bool stop = false;
};

Task<void> ReadAll(StreamsClient& stub, size_t payload, Progress* progress) {
  CountRequest request;
  request.set_to(UINT64_MAX);
  request.set_payload(std::string(payload, 'p'));
  ClientReader<Item> items = stub.Count(request);
  Item item;
  while (!progress->stop && co_await items.Read(&item)) ++progress->messages;
}

Task<void> WriteAll(StreamsClient& stub, size_t payload, Progress* progress) {
  SumResponse response;
  ClientWriter<Item> items = stub.Sum(&response);
  Item item;
  item.set_payload(std::string(payload, 'p'));
  while (!progress->stop) {
    item.set_number(progress->messages);
    if (!co_await items.Write(item)) break;
    ++progress->messages;
  }
}

Task<void> PingPong(StreamsClient& stub, size_t payload, Progress* progress) {
  ClientReaderWriter<Item, Item> items = stub.Chat();
  Item item;
  item.set_payload(std::string(payload, 'p'));
  Item same;
  while (!progress->stop) {
    if (!co_await items.Write(item) || !co_await items.Read(&same)) break;
    ++progress->messages;
  }
}

using Load = Task<void> (*)(StreamsClient&, size_t, Progress*);

void Measure(const char* what, const std::string& transport_name, bool two_threads, Load load,
             int streams, size_t payload) {
  std::unique_ptr<ServerEnd> here;
  std::unique_ptr<ServerThread> there;
  if (two_threads) {
    there = std::make_unique<ServerThread>(transport_name);
  } else {
    here = std::make_unique<ServerEnd>(transport_name);
  }
  const std::unique_ptr<Transport> transport = Open(transport_name);
  Loop loop({}, RealClock());
  auto client = Client::Create(loop, *transport->OpenDatagramPort({}), {}).value();
  {
    Channel channel(*client, *client->Resolve(two_threads ? there->address() : here->address()));
    StreamsClient stub(channel);
    Progress progress;
    TaskGroup tasks;
    for (int i = 0; i < streams; ++i) tasks.Spawn(load(stub, payload, &progress));
    const auto run = [&](double seconds) {
      const int64_t begin_ns = RealClock().NowNs();
      const uint64_t before = progress.messages;
      int64_t now_ns = begin_ns;
      while (now_ns - begin_ns < static_cast<int64_t>(seconds * 1e9)) {
        for (int i = 0; i < 64; ++i) {
          loop.RunOnce();
          if (!two_threads) here->loop().RunOnce();
        }
        now_ns = RealClock().NowNs();
      }
      return static_cast<double>(progress.messages - before) * 1e9 /
             static_cast<double>(now_ns - begin_ns);
    };
    run(0.2);
    const double rate = run(kSeconds);
    std::printf("%-6s %d threads  %-27s %3d streams %5zu B %10.0f messages/s %8.1f ns each\n",
                transport_name.c_str(), two_threads ? 2 : 1, what, streams, payload, rate,
                1e9 / rate);
    std::fflush(stdout);
    tasks.Cancel();
  }
}

void MeasureAll(const std::string& transport, size_t payload) {
  for (const bool two : {false, true}) {
    Measure("server to client", transport, two, &ReadAll, 1, payload);
    Measure("server to client", transport, two, &ReadAll, 8, payload);
    Measure("client to server", transport, two, &WriteAll, 1, payload);
    Measure("client to server", transport, two, &WriteAll, 8, payload);
    Measure("there and back, one by one", transport, two, &PingPong, 1, payload);
    Measure("there and back, one by one", transport, two, &PingPong, 64, payload);
  }
}

}  // namespace
}  // namespace weft::rpc

int main(int argc, char** argv) {
  // 64 bytes on the wire with the number and the lengths of fields.
  const size_t payload = argc > 2 ? std::strtoull(argv[2], nullptr, 10) : 56;
  for (const char* transport : {"linux", "shm"}) {
    if (argc > 1 && std::string(argv[1]) != transport) continue;
    weft::rpc::MeasureAll(transport, payload);
  }
}
