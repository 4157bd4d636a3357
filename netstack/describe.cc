// SPDX-License-Identifier: Apache-2.0
//
// What an operator is shown of a stack.
#include "absl/strings/str_cat.h"
#include "weft/netstack/stack.h"
#include "weft/netstack/udp_port.h"

namespace weft::netstack {
namespace {

void Field(JsonWriter& json, absl::string_view name, const Counter& counter) {
  json.Field(name, counter.value());
}

void DescribeStats(JsonWriter& json, const StackStats& stats) {
  Field(json, "received", stats.received);
  Field(json, "malformed", stats.malformed);
  Field(json, "bad_checksum", stats.bad_checksum);
  Field(json, "not_for_us", stats.not_for_us);
  Field(json, "bad_source", stats.bad_source);
  Field(json, "no_port", stats.no_port);
  Field(json, "queue_full", stats.queue_full);
  Field(json, "echo_requests", stats.echo_requests);
  Field(json, "errors_received", stats.errors_received);
  Field(json, "errors_ignored", stats.errors_ignored);
  Field(json, "errors_sent", stats.errors_sent);
  Field(json, "errors_limited", stats.errors_limited);
  Field(json, "address_conflicts", stats.address_conflicts);
  Field(json, "no_route", stats.no_route);
  Field(json, "hops_exceeded", stats.hops_exceeded);
  Field(json, "fragmented", stats.fragmented);
  Field(json, "send_dropped", stats.send_dropped);
  Field(json, "segments_received", stats.segments_received);
  Field(json, "segments_stray", stats.segments_stray);
  Field(json, "segments_sent", stats.segments_sent);
  Field(json, "segments_blocked", stats.segments_blocked);
  Field(json, "segments_cut", stats.segments_cut);
  Field(json, "handed_over", stats.handed_over);
  Field(json, "hand_over_full", stats.hand_over_full);
  Field(json, "exception_received", stats.exception_received);
  Field(json, "exception_sent", stats.exception_sent);
  Field(json, "exception_dropped", stats.exception_dropped);
}

void DescribeNeighborStats(JsonWriter& json, const NeighborStats& stats) {
  Field(json, "solicitations", stats.solicitations);
  Field(json, "answers", stats.answers);
  Field(json, "requests", stats.requests);
  Field(json, "unsolicited_ignored", stats.unsolicited_ignored);
  Field(json, "claims", stats.claims);
  Field(json, "bad_addresses", stats.bad_addresses);
  Field(json, "unresolved", stats.unresolved);
  Field(json, "waiting_dropped", stats.waiting_dropped);
  Field(json, "probes_failed", stats.probes_failed);
  Field(json, "evictions", stats.evictions);
  Field(json, "refused", stats.refused);
}

void DescribeReassemblyStats(JsonWriter& json, const ReassemblyStats& stats) {
  Field(json, "fragments", stats.fragments);
  Field(json, "reassembled", stats.reassembled);
  Field(json, "timed_out", stats.timed_out);
  Field(json, "overlapping", stats.overlapping);
  Field(json, "malformed", stats.malformed);
  Field(json, "too_many", stats.too_many);
  Field(json, "too_many_of_source", stats.too_many_of_source);
  Field(json, "inconsistent", stats.inconsistent);
  Field(json, "too_many_pieces", stats.too_many_pieces);
  Field(json, "duplicates", stats.duplicates);
  Field(json, "no_buffer", stats.no_buffer);
  Field(json, "of_dropped", stats.of_dropped);
}

void DescribePortStats(JsonWriter& json, const PortStats& stats) {
  Field(json, "sent", stats.sent);
  Field(json, "sent_bytes", stats.sent_bytes);
  Field(json, "received", stats.received);
  Field(json, "received_bytes", stats.received_bytes);
  Field(json, "send_blocked", stats.send_blocked);
  Field(json, "send_failed", stats.send_failed);
  Field(json, "receive_dropped", stats.receive_dropped);
  Field(json, "receive_malformed", stats.receive_malformed);
  Field(json, "copied_buffers", stats.copied_buffers);
}

}  // namespace

void Stack::Describe(JsonWriter& json) const {
  json.Field("device", interface_.name);
  json.Field("queue", world_.queue);
  json.Field("mac", MacToString(interface_.mac));
  json.Field("mtu", interface_.mtu);
  json.Field("vlan", interface_.vlan);
  json.Field("link_up", device_->link_up());
  json.Key("addresses").BeginArray();
  for (const IpPrefix& own : interface_.addresses) json.Value(own.ToString());
  json.EndArray();
  json.Key("routes").BeginArray();
  for (const RouteTable::Route& route : routes_.Snapshot()) {
    json.BeginObject();
    json.Field("destination", route.prefix.ToString());
    json.Field("gateway",
               route.gateway.is_unspecified() ? std::string() : route.gateway.ToString());
    json.EndObject();
  }
  json.EndArray();
  json.Key("groups").BeginArray();
  for (const Membership::Entry& entry : membership_.Snapshot()) json.Value(entry.group.ToString());
  json.EndArray();
  json.Key("neighbors").BeginArray();
  for (const NeighborCache::Entry& entry : neighbors_.Snapshot(now_ns_)) {
    json.BeginObject();
    json.Field("address", entry.address.ToString());
    json.Field("mac", MacToString(entry.mac));
    json.Field("state", entry.is_static ? "STATIC" : NeighborStateName(entry.state));
    json.Field("age_ms", entry.age_ns / 1'000'000);
    json.Field("waiting_packets", entry.waiting_packets);
    json.EndObject();
  }
  json.EndArray();
  json.Key("ports").BeginArray();
  for (const UdpPort* port : udp_.ports()) {
    json.BeginObject();
    json.Field("local", port->local_address().ToString());
    json.Field("received", port->stats().received.value());
    json.Field("sent", port->stats().sent.value());
    json.EndObject();
  }
  json.EndArray();
  const auto section = [&json](absl::string_view name, const auto& describe, const auto& stats) {
    json.Key(name).BeginObject();
    describe(json, stats);
    json.EndObject();
  };
  json.Key("stats").BeginObject();
  section("stack", DescribeStats, stats_);
  section("neighbors", DescribeNeighborStats, neighbors_.stats());
  section("reassembly", DescribeReassemblyStats, reassembler_.stats());
  section("device", DescribePortStats, device_->stats());
  json.EndObject();
}

}  // namespace weft::netstack
