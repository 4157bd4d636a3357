// SPDX-License-Identifier: Apache-2.0
//
// One page over HTTP/1.1 on lwIP by its raw interface, without looking at what is asked.
//
//   lwip_httpd TAP ADDRESS FILE [one-thread]
//
// Makes the TAP device, prints "listening" and serves at port 80 of ADDRESS until it is killed. As
// lwIP comes: its driver has a thread that reads, and hands frames to the thread of its stack. In
// one thread: with a driver of our own.

#include <fcntl.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <lwip/etharp.h>
#include <lwip/init.h>
#include <lwip/ip4_addr.h>
#include <lwip/netif.h>
#include <lwip/tcp.h>
#include <lwip/tcpip.h>
#include <lwip/timeouts.h>
#include <netif/ethernet.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iterator>
#include <string>

extern "C" {  // which it does not say
#include <netif/tapif.h>
}

namespace {

constexpr size_t kFrameBytesMax = 1514;
constexpr int kFramesATurn = 64;
constexpr uint16_t kPort = 80;
constexpr int kTimersMs = 10;

std::string answer;

// Of a connection: how much of the empty line that ends a head has been seen.
struct Progress {
  size_t seen = 0;
};

// Opened as `name`; -1 with errno set.
int OpenTap(const char* name) {
  const int fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
  ifreq request = {};
  request.ifr_flags = IFF_TAP | IFF_NO_PI;
  std::strncpy(request.ifr_name, name, IFNAMSIZ - 1);
  return fd >= 0 && ioctl(fd, TUNSETIFF, &request) == 0 ? fd : -1;
}

int TapOf(netif* interface) {
  return static_cast<int>(reinterpret_cast<intptr_t>(interface->state));
}

err_t SendFrame(netif* interface, pbuf* frame) {
  uint8_t copy[kFrameBytesMax];
  const void* bytes = frame->payload;
  if (frame->next != nullptr) bytes = copy, pbuf_copy_partial(frame, copy, frame->tot_len, 0);
  return write(TapOf(interface), bytes, frame->tot_len) == frame->tot_len ? ERR_OK : ERR_IF;
}

err_t SetUpInterface(netif* interface) {
  interface->name[0] = 't';
  interface->name[1] = 'p';
  interface->mtu = 1500;
  interface->hwaddr_len = ETH_HWADDR_LEN;
  constexpr uint8_t kMac[] = {0x02, 0, 0, 0, 0, 0x17};
  std::copy(std::begin(kMac), std::end(kMac), interface->hwaddr);
  interface->output = &etharp_output;
  interface->linkoutput = &SendFrame;
  interface->flags = NETIF_FLAG_BROADCAST | NETIF_FLAG_ETHARP | NETIF_FLAG_LINK_UP;
  return ERR_OK;
}

int CountHeads(const pbuf* data, Progress* progress) {
  constexpr char kEnd[] = "\r\n\r\n";
  int heads = 0;
  for (; data != nullptr; data = data->next) {
    const auto* const bytes = static_cast<const char*>(data->payload);
    for (size_t i = 0; i < data->len; ++i) {
      progress->seen = bytes[i] == kEnd[progress->seen] ? progress->seen + 1 : bytes[i] == '\r';
      if (progress->seen < 4) continue;
      progress->seen = 0;
      ++heads;
    }
  }
  return heads;
}

void OnError(void* self, err_t) { delete static_cast<Progress*>(self); }

err_t OnData(void* self, tcp_pcb* connection, pbuf* data, err_t) {
  auto* const progress = static_cast<Progress*>(self);
  if (data == nullptr) {
    tcp_arg(connection, nullptr);
    delete progress;
    return tcp_close(connection);
  }
  tcp_recved(connection, data->tot_len);
  for (int left = CountHeads(data, progress); left > 0; --left) {
    // The answer stays where it is: not copied.
    tcp_write(connection, answer.data(), static_cast<uint16_t>(answer.size()), 0);
  }
  pbuf_free(data);
  return tcp_output(connection);
}

err_t OnConnection(void*, tcp_pcb* connection, err_t error) {
  if (error != ERR_OK || connection == nullptr) return ERR_VAL;
  tcp_nagle_disable(connection);
  tcp_arg(connection, new Progress);
  tcp_err(connection, &OnError);
  tcp_recv(connection, &OnData);
  return ERR_OK;
}

// Returns how many there were.
int ReceiveFrames(netif* interface) {
  uint8_t bytes[kFrameBytesMax];
  int count = 0;
  for (; count < kFramesATurn; ++count) {
    const ssize_t n = read(TapOf(interface), bytes, sizeof(bytes));
    if (n <= 0) break;
    pbuf* const frame = pbuf_alloc(PBUF_RAW, static_cast<uint16_t>(n), PBUF_POOL);
    if (frame == nullptr) break;
    pbuf_take(frame, bytes, static_cast<uint16_t>(n));
    if (interface->input(frame, interface) != ERR_OK) pbuf_free(frame);
  }
  return count;
}

bool Listen() {
  tcp_pcb* const any = tcp_new();
  if (any == nullptr || tcp_bind(any, IP4_ADDR_ANY, kPort) != ERR_OK) return false;
  tcp_pcb* const listener = tcp_listen_with_backlog(any, 255);
  if (listener == nullptr) return false;
  tcp_accept(listener, &OnConnection);
  return true;
}

struct Place {
  const char* tap;
  ip4_addr_t address = {};
  netif interface = {};
};

// With the driver that `init` is. Ends the program when that fails.
void Start(Place& place, netif_init_fn init, netif_input_fn input, void* state) {
  ip4_addr_t mask = {};
  const ip4_addr_t gateway = {};
  IP4_ADDR(&mask, 255, 255, 255, 0);
  netif* const added =
      netif_add(&place.interface, &place.address, &mask, &gateway, state, init, input);
  if (added == nullptr || !Listen()) {
    std::fprintf(stderr, "lwip_httpd: cannot listen\n");
    std::exit(1);
  }
  netif_set_default(&place.interface);
  netif_set_up(&place.interface);
  std::printf("listening\n");
  std::fflush(stdout);
}

// In the thread of lwIP's stack.
void StartAsItComes(void* self) {
  Start(*static_cast<Place*>(self), &tapif_init, &tcpip_input, nullptr);
}

int ServeInOneThread(Place& place) {
  const int tap = OpenTap(place.tap);
  if (tap < 0) {
    std::perror("lwip_httpd: cannot make the TAP device");
    return 1;
  }
  lwip_init();
  Start(place, &SetUpInterface, &ethernet_input,
        reinterpret_cast<void*>(static_cast<intptr_t>(tap)));
  for (;;) {
    if (ReceiveFrames(&place.interface) == 0) {
      pollfd readable = {.fd = tap, .events = POLLIN, .revents = 0};
      poll(&readable, 1, kTimersMs);
    }
    sys_check_timeouts();
  }
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 4) {
    std::fprintf(stderr, "usage: lwip_httpd TAP ADDRESS FILE [one-thread]\n");
    return 2;
  }
  std::ifstream file(argv[3], std::ios::binary);
  const std::string page(std::istreambuf_iterator<char>(file), {});
  answer = "HTTP/1.1 200 OK\r\nServer: lwIP\r\nContent-Type: text/html\r\nContent-Length: " +
           std::to_string(page.size()) + "\r\n\r\n" + page;
  static Place place = {.tap = argv[1]};
  if (ip4addr_aton(argv[2], &place.address) == 0) {
    std::fprintf(stderr, "lwip_httpd: '%s' is no address\n", argv[2]);
    return 2;
  }
  if (argc > 4) return ServeInOneThread(place);
  setenv("PRECONFIGURED_TAPIF", argv[1], 1);  // the device that lwIP's driver opens
  tcpip_init(&StartAsItComes, &place);
  for (;;) pause();
}
