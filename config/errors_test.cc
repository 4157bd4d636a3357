// SPDX-License-Identifier: Apache-2.0
//
// The texts that users see when a configuration is wrong, verbatim.

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "weft/config/loader.h"

namespace weft::config {
namespace {

struct Case {
  const char* text;
  const char* error;
};

void Check(const Case& wrong, Format format) {
  const auto config = Parse(wrong.text, "f", format);
  ASSERT_FALSE(config.ok()) << wrong.text;
  EXPECT_EQ(std::string(config.status().message()), wrong.error) << wrong.text;
}

std::string Nested(const std::string& open, const std::string& close) {
  std::string text;
  for (int i = 0; i < 100'000; ++i) text += open;
  for (int i = 0; i < 100'000; ++i) text += close;
  return text;
}

TEST(ErrorsTest, Text) {
  for (
      const Case& wrong : std::vector<Case>{
          {R"(tranport { name: "shm" })",
           R"(f:1:1: unknown field 'tranport' in weft.config.Config; did you mean 'transport'?)"},
          {R"(hots { x: 1 }
host { worker: 1 loop { spin: 3 } })",
           R"(f:1:1: unknown field 'hots' in weft.config.Config; known are transport, host, rpc, metrics, netstack, security, tracing, log, router, tcp, httpd
f:2:8: host: unknown field 'worker' in weft.config.Host; did you mean 'workers'?
f:2:25: host.loop: unknown field 'spin' in weft.config.Loop; known are mode, spin_us)"},
          {R"(host { zebra: 1 })",
           R"(f:1:8: host: unknown field 'zebra' in weft.config.Host; known are workers, cores, loop)"},
          {R"(host { 1: 2 })",
           R"(f:1:8: host: unknown field '1' in weft.config.Host; known are workers, cores, loop)"},
          {R"(host { [foo.bar]: 2 })",
           R"(f:1:8: host: unknown field '[foo.bar]' in weft.config.Host; known are workers, cores, loop)"},
          {R"(host { workers: abc })",
           R"(f:1:17: host.workers: unexpected 'abc'; give a whole number from 1 to 1024)"},
          {R"(host { workers: 99999999999 })",
           R"(f:1:17: host.workers: 99999999999 is out of range; give a whole number from 1 to 1024)"},
          {R"(host { workers: -1 })",
           R"(f:1:17: host.workers: unexpected '-'; give a whole number from 1 to 1024)"},
          {R"(host { workers: 1.5 })",
           R"(f:1:17: host.workers: unexpected '1.5'; give a whole number from 1 to 1024)"},
          {R"(host { workers: "1" })",
           R"(f:1:17: host.workers: unexpected '"1"'; give a whole number from 1 to 1024)"},
          {R"(host { workers: 08 })",
           R"(f:1:17: host.workers: 08 is out of range; give a whole number from 1 to 1024
f:1:18: host: numbers starting with leading zero must be in octal)"},
          {R"(host { workers 1 })", R"(f:1:16: host.workers: unexpected '1'; give ':')"},
          {R"(host { workers: 1 workers: 2 })", R"(f:1:19: host.workers: given twice; remove one)"},
          {R"(host { workers: 1)",
           R"(f:1:18: host: the file ends within a message; is a '}' missing?)"},
          {R"(host })", R"(f:1:6: host: unexpected '}'; give '{')"},
          {R"(})", R"(f:1:1: unexpected '}'; give a field's name)"},
          {R"(host { loop { mode: BSY } })",
           R"(f:1:21: host.loop.mode: unknown value 'BSY'; did you mean 'BUSY'?)"},
          {R"(host { loop { mode: 7 } })",
           R"(f:1:21: host.loop.mode: unknown value '7'; known are BUSY, ADAPTIVE, SLEEP)"},
          {R"(host { loop { mode: "BUSY" } })",
           R"(f:1:21: host.loop.mode: unexpected '"BUSY"'; give one of BUSY, ADAPTIVE, SLEEP)"},
          {R"(rpc { listen: 7000 })",
           R"(f:1:15: rpc.listen: unexpected '7000'; give a text in double quotes)"},
          {R"(rpc { listen: "7000 })",
           R"(f:1:22: rpc: unexpected end of string
f:1:22: rpc: the file ends within a message; is a '}' missing?)"},
          {R"(rpc { servers: ["a", 3] })",
           R"(f:1:22: rpc.servers: unexpected '3'; give a text in double quotes)"},
          {R"(transport { linux { gso: maybe } })",
           R"(f:1:26: transport.linux.gso: unexpected 'maybe'; give true or false)"},
          {R"(transport { linux { gso: 3 } })",
           R"(f:1:26: transport.linux.gso: 3 is out of range; give true or false)"},
          {R"(transport { sim { loss: high } })",
           R"(f:1:25: transport.sim.loss: unexpected 'high'; give a number from 0 to 1)"},
          {R"(transport { shm { mode: 0600 } })",
           R"(f:1:25: transport.shm.mode: unexpected '0600'; give permission bits in octal, such as "0600")"},
          {R"(transport { linux {} shm {} })",
           R"(f:1:22: transport.shm: cannot be set along with linux; remove one)"},
          {R"(transport { decorators { fault {} trace {} } })",
           R"(f:1:35: transport.decorators[0].trace: cannot be set along with fault; remove one)"},
          {R"(transport { decorators [ { fault {} }, { trace { pth: "x" } } ] })",
           R"(f:1:50: transport.decorators[1].trace: unknown field 'pth' in weft.config.Trace; did you mean 'path'?)"},
          {R"(transport { name: "x" plugin { [type.googleapis.com/foo.Bar] {} } })",
           R"(f:1:32: transport.plugin: message type 'foo.Bar' is unknown to this program; link the plugin that defines it)"},
          {R"(transport { name: "x" plugin { [type.googleapis.com/weft.config.Loop] { spn_us: 1 } } })",
           R"(f:1:73: transport.plugin: unknown field 'spn_us' in weft.config.Loop; did you mean 'spin_us'?)"},
          {R"(host { workers: 0 })",
           R"(f:1:8: host.workers: 0 is out of range; give a whole number from 1 to 1024)"},
          {R"(host { workers: 2000 })",
           R"(f:1:8: host.workers: 2000 is out of range; give a whole number from 1 to 1024)"},
          {R"(host { workers: 4 cores: "0-1" })",
           R"(f:1:19: host.cores: names 2 cores for 4 workers; name as many, or none)"},
          {R"(host { cores: "0-1,x" })",
           R"(f:1:8: host.cores: '0-1,x' is not a list of cores; give numbers below 4096 and ranges, each core once, such as "0-3,6")"},
          {R"(host { workers: 2 }
transport { linux { reuse_port: false } })",
           R"(f:2:21: transport.linux.reuse_port: false, but there are 2 workers; set it, or host.workers to 1)"},
          {R"(transport { shm {} })",
           R"(f:1:13: transport.shm: settings of 'shm', but transport.name is 'linux'; remove them or change transport.name to 'shm')"},
          {R"(transport { name: "shm" sim { loss: 0.1 } })",
           R"(f:1:25: transport.sim: settings of 'sim', but transport.name is 'shm'; remove them or change transport.name to 'sim')"},
          {R"(transport { name: "sim" plugin { type_url: "x/foo.Bar" } })",
           R"(f:1:25: transport.plugin: settings of 'plugin', but transport.name is 'sim'; remove them or change transport.name
f:1:25: transport.plugin: message type 'foo.Bar' is unknown to this program; link the plugin that defines it)"},
          {R"(transport { name: "" })",
           R"(f:1:13: transport.name: is empty; give a text in double quotes)"},
          {R"(transport { name: "sim" sim { loss: 1.5 corrupt: -1 } })",
           R"(f:1:31: transport.sim.loss: 1.5 is out of range; give a number from 0 to 1
f:1:41: transport.sim.corrupt: -1 is out of range; give a number from 0 to 1)"},
          {R"(transport { name: "sim" sim { loss: nan } })",
           R"(f:1:31: transport.sim.loss: nan is out of range; give a number from 0 to 1)"},
          {R"(transport { name: "shm" shm { ring_bytes: 5000 } })",
           R"(f:1:25: transport.shm.max_message_bytes: 65536 does not fit; give at most half of ring_bytes, which is 5000
f:1:31: transport.shm.ring_bytes: 5000 is not a power of two; give a power of two from 4096 to 1073741824)"},
          {R"(transport { name: "shm" shm { ring_bytes: 4096 max_message_bytes: 4096 } })",
           R"(f:1:48: transport.shm.max_message_bytes: 4096 does not fit; give at most half of ring_bytes, which is 4096)"},
          {R"(transport { name: "shm" shm { mode: "rw" } })",
           R"(f:1:31: transport.shm.mode: 'rw' is not a mode; give permission bits in octal, such as "0600")"},
          {R"(transport { decorators {} })",
           R"(f:1:13: transport.decorators[0]: is empty; give one of fault, trace, pcap)"},
          {R"(transport { decorators { fault { loss: 2 } } decorators { pcap {} } })",
           R"(f:1:34: transport.decorators[0].fault.loss: 2 is out of range; give a number from 0 to 1
f:1:59: transport.decorators[1].pcap.path: is missing; give a text in double quotes)"},
          {R"(transport { decorators { trace { path: "" } } })",
           R"(f:1:34: transport.decorators[0].trace.path: is empty; give a text in double quotes)"},
          {R"(metrics { listen: "localhost" })",
           R"(f:1:11: metrics.listen: 'localhost' is not an address to listen at; give "HOST:PORT", "[IPV6]:PORT" or "PORT")"},
          {R"(metrics { listen: "::1:80" })",
           R"(f:1:11: metrics.listen: '::1:80' is not an address to listen at; give "HOST:PORT", "[IPV6]:PORT" or "PORT")"},
          {R"(metrics { listen: "127.0.0.1:99999" })",
           R"(f:1:11: metrics.listen: '127.0.0.1:99999' is not an address to listen at; give "HOST:PORT", "[IPV6]:PORT" or "PORT")"},
      }) {
    Check(wrong, Format::kText);
  }
}

TEST(ErrorsTest, Tcp) {
  for (
      const Case& wrong : std::vector<Case>{
          {R"(tcp { rto_min_us: 2000000 rto_max_us: 1000000 })",
           R"(f:1:7: tcp.rto_min_us: 2000000 is more than rto_max_us, 1000000; give at most that)"},
          {R"(tcp { receive_buffer_bytes_max: 8192 receive_buffer_bytes: 65536 })",
           R"(f:1:38: tcp.receive_buffer_bytes: 65536 is more than receive_buffer_bytes_max, 8192; give at most that)"}}) {
    Check(wrong, Format::kText);
  }
}

TEST(ErrorsTest, Netstack) {
  for (
      const Case& wrong : std::vector<Case>{
          {R"(netstack { addresses: "10.0.0.2/24" })",
           R"(f:1:1: netstack: needs frames, and transport 'linux' has them only from a device; give transport.linux `packet { interface: "eth0" }` or `tap { }`)"},
          {R"(transport { name: "shm" } netstack {})",
           R"(f:1:27: netstack: needs frames, and transport 'shm' has none; remove this section, or choose dpdk, afxdp, or linux with packet or tap)"},
          {R"(transport { name: "dpdk" }
netstack { link_local: false })",
           R"(f:2:12: netstack.link_local: false, and there are no addresses; give one such as `addresses: "10.0.0.2/24"`)"},
          {R"(transport { name: "dpdk" }
netstack { ephemeral_port_max: 5000 ephemeral_port_min: 6000 })",
           R"(f:2:37: netstack.ephemeral_port_min: 6000 is more than ephemeral_port_max, 5000; give at most that)"},
          {R"(transport { name: "dpdk" }
netstack {
  addresses: "10.0.0.2/24"
  addresses: "10.0.0.3"
  routes { destination: "10.0.1.0/33" gateway: "10.0.0" }
  neighbors { address: "fd00::1" mac: "02:00:00:00:01" }
  groups: ["239.1.2.3", ""]
})",
           R"(f:4:3: netstack.addresses[1]: '10.0.0.3' is not an address with a prefix; give an IP address with its prefix length, such as "10.0.0.2/24" or "fd00::2/64"
f:5:12: netstack.routes[0].destination: '10.0.1.0/33' is not an address with a prefix; give an IP address with its prefix length, such as "10.0.0.2/24" or "fd00::2/64"
f:5:39: netstack.routes[0].gateway: '10.0.0' is not an IP address; give an IP address such as "10.0.0.2" or "fd00::2"
f:6:34: netstack.neighbors[0].mac: '02:00:00:00:01' is not a MAC address; give six bytes in hexadecimal, such as "02:00:00:00:00:01"
f:7:3: netstack.groups[1]: is empty; give an IP address such as "10.0.0.2" or "fd00::2")"},
      }) {
    Check(wrong, Format::kText);
  }
  // Sockets are not what workers share there.
  const auto config = Parse(R"(
      transport { linux { reuse_port: false packet { interface: "eth0" } } }
      netstack { addresses: "10.0.0.2/24" } host { workers: 2 })",
                            "f", Format::kText);
  EXPECT_TRUE(config.ok()) << config.status();
}

TEST(ErrorsTest, Rpc) {
  for (
      const Case& wrong : std::vector<Case>{
          {R"(rpc { wire: EXTENDET })",
           R"(f:1:13: rpc.wire: unknown value 'EXTENDET'; did you mean 'EXTENDED'?)"},
          {R"(rpc { wire: AUTO message_bytes_max: 0 })",
           R"(f:1:18: rpc.message_bytes_max: 0 is out of range; give a whole number from 1 to 1073741824)"},
          {R"(rpc { session { slot: 5 } })",
           R"(f:1:17: rpc.session: unknown field 'slot' in weft.config.Session; did you mean 'slots'?)"},
          {R"(rpc {
  session { timeout_us: 999 negotiation_timeout_us: 60000001 }
  session { }
})",
           R"(f:3:3: rpc.session: given twice; remove one)"},
          {R"(rpc {
  session {
    timeout_us: 999
    negotiation_timeout_us: 60000001
    slots: 4097
    credits: 0
    packet_bytes_max: 175
    sessions_max: 0
  }
})",
           R"(f:3:5: rpc.session.timeout_us: 999 is out of range; give a whole number from 1000 to 3600000000
f:4:5: rpc.session.negotiation_timeout_us: 60000001 is out of range; give a whole number from 1000 to 60000000
f:5:5: rpc.session.slots: 4097 is out of range; give a whole number from 1 to 4096
f:6:5: rpc.session.credits: 0 is out of range; give a whole number from 1 to 4096
f:7:5: rpc.session.packet_bytes_max: 175 is too small; give 0 or at least 176
f:8:5: rpc.session.sessions_max: 0 is out of range; give a whole number from 1 to 4194304)"},
          {R"(security { })", R"(f:1:1: security: says nothing; give one of plaintext, psk, x509)"},
          {R"(security { psk { } x509 { } })",
           R"(f:1:20: security.x509: cannot be set along with psk; remove one)"},
          {R"(security { plaintext { } rotate_after_s: 5 allow { method: "*" peer: "*" } })",
           R"(f:1:26: security.rotate_after_s: is only for psk and x509, and this is plaintext; remove it
f:1:44: security.allow[0]: is only for psk and x509, and this is plaintext; remove it)"},
          {R"(security { psk { } })",
           R"(f:1:12: security.psk: has no key; give identity and key_file, or peers_file for a server)"},
          {R"(security { psk { identity: "a" peers_file: "p" } })",
           R"(f:1:18: security.psk.identity: is given without key_file; give both, or neither)"},
          {R"(security { psk { key_file: "a" } })",
           R"(f:1:18: security.psk.key_file: is given without identity; give both, or neither)"},
          {R"(security { psk { identity: "a:b" key_file: "k" } })",
           R"(f:1:18: security.psk.identity: 'a:b' is not a name; give 1 to 128 bytes without ':' and control characters)"},
          {R"(security { x509 { certificate_file: "c" ca_file: "" } })",
           R"(f:1:12: security.x509.private_key_file: is missing; give a text in double quotes
f:1:41: security.x509.ca_file: is empty; give a text in double quotes)"},
          {R"(security { psk { peers_file: "p" } allow { method: "a*b" peer: "*x" } })",
           R"(f:1:44: security.allow[0].method: 'a*b' has a '*' that is not at its end; give it there, or none
f:1:58: security.allow[0].peer: '*x' has a '*' that is not at its end; give it there, or none)"},
          {R"(security { psk { peers_file: "p" } allow { peer: "x" } rotate_after_packets: 9000000 })",
           R"(f:1:36: security.allow[0].method: is missing; give a text in double quotes
f:1:56: security.rotate_after_packets: 9000000 is out of range; give a whole number from 16 to 8388608)"},
          {R"(rpc { retransmission { rto_min_us: 9 } })",
           R"(f:1:24: rpc.retransmission.rto_min_us: 9 is out of range; give a whole number from 10 to 60000000)"},
          {R"(rpc { retransmission { rto_max_us: 100 rto_initial_us: 200 } })",
           R"(f:1:7: rpc.retransmission.rto_min_us: 200 is more than rto_max_us, 100; give at most that
f:1:40: rpc.retransmission.rto_initial_us: 200 is more than rto_max_us, 100; give at most that)"},
          {R"(rpc { reply_cache { time_us: 1 bytes_max: 1 } overload { executing_max: 0 } })",
           R"(f:1:21: rpc.reply_cache.time_us: 1 is out of range; give a whole number from 1000 to 3600000000
f:1:32: rpc.reply_cache.bytes_max: 1 is out of range; give a whole number from 65536 to 68719476736
f:1:58: rpc.overload.executing_max: 0 is out of range; give a whole number from 1 to 1048576)"},
          {R"(rpc { congestion { algorithm: RENO } })",
           R"(f:1:31: rpc.congestion.algorithm: unknown value 'RENO'; known are SWIFT, NEW_RENO, NONE)"},
          {R"(rpc { congestion { window_max_packets: 16 swift { target_range_packets_min: 100 } } })",
           R"(f:1:7: rpc.congestion.window_initial_packets: 32 is more than window_max_packets, 16; give at most that
f:1:51: rpc.congestion.swift.target_range_packets_min: 100 is not less than target_range_packets_max, 100; give less)"},
          {R"(rpc { congestion { swift { target_delay_us: 0 decrease_max: 1 window_min_packets: nan } } })",
           R"(f:1:28: rpc.congestion.swift.target_delay_us: 0 is out of range; give a whole number from 1 to 10000000
f:1:47: rpc.congestion.swift.decrease_max: 1 is out of range; give a number from 0.01 to 0.99
f:1:63: rpc.congestion.swift.window_min_packets: nan is out of range; give a number from 0.001 to 1)"},
      }) {
    Check(wrong, Format::kText);
  }
}

TEST(ErrorsTest, Json) {
  for (
      const Case& wrong : std::vector<Case>{
          {R"({"tranport": {"name": "shm"}})",
           R"(f:1:2: unknown field 'tranport' in weft.config.Config; did you mean 'transport'?)"},
          {R"({"host": {"worker": 1, "loop": {"spinUss": 2}}})",
           R"(f:1:11: host: unknown field 'worker' in weft.config.Host; did you mean 'workers'?
f:1:33: host.loop: unknown field 'spinUss' in weft.config.Loop; did you mean 'spin_us'?)"},
          {R"({"host": {"workers": "abc"}})",
           R"(f:1:11: host.workers: invalid value "abc"; give a whole number from 1 to 1024)"},
          {R"({"host": {"workers": -1}})",
           R"(f:1:11: host.workers: invalid value -1; give a whole number from 1 to 1024)"},
          {R"({"host": {"workers": [1]}})",
           R"(f:1:22: host.workers: unexpected list; give a whole number from 1 to 1024)"},
          {R"({"host": {"workers": {}}})",
           R"(f:1:22: host.workers: unexpected object; give a whole number from 1 to 1024)"},
          {R"({"host": {"workers": null}})",
           R"(f:1:22: host.workers: null is no value; leave the field out for its default)"},
          {R"({"host": {"workers": 1, "workers": 2}})",
           R"(f:1:25: host.workers: given twice; remove one)"},
          {R"({"host": 3})", R"(f:1:10: host: unexpected value; give fields in braces)"},
          {R"({"host": [3]})", R"(f:1:10: host: unexpected list; give fields in braces)"},
          {R"({"host": {"loop": {"mode": "BSY"}}})",
           R"(f:1:28: host.loop.mode: unknown value 'BSY'; did you mean 'BUSY'?)"},
          {R"({"host": {"loop": {"mode": 9}}})",
           R"(f:1:28: host.loop.mode: unknown value '9'; known are BUSY, ADAPTIVE, SLEEP)"},
          {R"({"rpc": {"listen": 3}})",
           R"(f:1:10: rpc.listen: invalid value 3; give a text in double quotes)"},
          {R"({"rpc": {"servers": ["a", {}]}})",
           R"(f:1:27: rpc.servers[1]: unexpected object; give a text in double quotes)"},
          {R"({"transport": {"linux": {"gso": "maybe"}}})",
           R"(f:1:26: transport.linux.gso: invalid value "maybe"; give true or false)"},
          {R"({"transport": {"sim": {"loss": "x"}}})",
           R"(f:1:24: transport.sim.loss: invalid value "x"; give a number from 0 to 1)"},
          {R"({"transport": {"linux": {}, "shm": {}}})",
           R"(f:1:29: transport.shm: cannot be set along with linux; remove one)"},
          {R"({"transport": {"decorators": [{"fault": {}, "trace": {}}]}})",
           R"(f:1:45: transport.decorators[0].trace: cannot be set along with fault; remove one)"},
          {R"({"transport": {"name": "x", "plugin": {"@type": "x/foo.Bar"}}})",
           R"(f:1:49: transport.plugin: message type 'foo.Bar' is unknown to this program; link the plugin that defines it)"},
          {R"({"transport": {"name": "x", "plugin": {"a": 1}}})",
           R"(f:1:40: transport.plugin: unexpected 'a'; give '@type' before other fields)"},
          {R"({"host": {},})", R"(f:1:13: unexpected '}'; give a field's name in double quotes)"},
          {R"({"host": {} "rpc": {}})", R"(f:1:13: unexpected '"'; give ',' or '}')"},
          {R"({"host": )", R"(f:1:10: host: the file ends; give a value)"},
          {R"({"host": {"workers": 1})", R"(f:1:24: the file ends; give ',' or '}')"},
          {R"({"host": {"workers": yes}})",
           R"(f:1:22: host.workers: unexpected 'yes'; give a number, true, false or a text in double quotes)"},
          {R"({host: {}})", R"(f:1:2: unexpected 'h'; give a field's name in double quotes)"},
          {R"({"host" {}})", R"(f:1:9: host: unexpected '{'; give ':')"},
          {R"([1])", R"(f:1:1: the configuration is not an object; begin with '{')"},
          {R"({} x)", R"(f:1:4: text after the end; remove it)"},
          {R"({"rpc": {"listen": "a
b"}})",
           R"(f:1:22: rpc.listen: the text is not closed; give '"' at its end)"},
          {R"({"rpc": {"listen": "\ud800"}})", R"(f: Missing low surrogate.)"},
          {R"({"rpc": {"listen": "\q"}})",
           R"(f:1:22: rpc.listen: unexpected 'q'; give an escape of JSON)"},
          {R"({"host": {"workers": 01}})",
           R"(f:1:22: host.workers: unexpected '01'; give a number, true, false or a text in double quotes)"},
          {R"({
  "host": {
    "workers": 0
  },
  "transport": {"name": "shm", "sim": {}}
})",
           R"(f:3:5: host.workers: 0 is out of range; give a whole number from 1 to 1024
f:5:32: transport.sim: settings of 'sim', but transport.name is 'shm'; remove them or change transport.name to 'sim')"},
          {R"({"rpc": {"servers": ["a", "b", 3]}})",
           R"(f:1:32: rpc.servers[2]: invalid value 3; give a text in double quotes)"},
          {R"({"transport": {"name": "x", "plugin": {"@type": "type.googleapis.com/weft.config.Loop", "spnUs": 1}}})",
           R"(f:1:89: transport.plugin: unknown field 'spnUs' in weft.config.Loop; known are mode, spin_us)"},
          {R"({"transport": {"name": "x", "plugin": {"@type": "type.googleapis.com/weft.config.Loop", "spinUs": "x"}}})",
           R"(f: spin_us: invalid value "x" for type TYPE_UINT32)"},
      }) {
    Check(wrong, Format::kJson);
  }
}

TEST(ErrorsTest, DepthHasALimit) {
  for (const std::string& text :
       {Nested("a{", "}"), "{\"host\": " + Nested("[", "]") + "}", Nested("{\"a\":", "}")}) {
    const std::string error(Parse(text, "f", DetectFormat(text)).status().message());
    EXPECT_TRUE(absl::StrContains(error, "too deep; give at most 32 levels")) << error;
  }
}

TEST(ErrorsTest, WhatRoomsAboveFindHasItsPlaceToo) {
  const weft::config::Check check = [](const Config& config) -> std::vector<Problem> {
    if (config.router().policy() != "none") return {};
    return {{.at = {}, .field = "router.policy", .what = "is none; give one"},
            {.at = {}, .field = "router.servers[1].address", .what = "is missing"}};
  };
  const std::string text = "router {\n  listen: 'a'\n  policy: 'none'\n}";
  EXPECT_EQ(std::string(Parse(text, "f", Format::kText, check).status().message()),
            "f:1:1: router.servers[1].address: is missing\n"
            "f:3:3: router.policy: is none; give one");
  // Consequential errors would hide what is wrong.
  EXPECT_EQ(
      std::string(Parse("router { policy: 'none' }", "f", Format::kText, check).status().message()),
      "f:1:1: router.listen: is missing; give a text in double quotes");
  EXPECT_TRUE(Parse("router { listen: 'a' }", "f", Format::kText, check).ok());
}

}  // namespace
}  // namespace weft::config
