-- SPDX-License-Identifier: Apache-2.0
--
-- A Wireshark dissector for what weft's RPC puts into datagrams: R2P2 in its original and in its
-- extended format, the envelope of services, secured datagrams (docs/protocols/). README.md says
-- how to install it. Lua 5.2 to 5.4, Wireshark 3.6 and later.
--
-- This file takes the datagrams: from a UDP port that the preferences name, or from any whose first
-- bytes are right. The files in weft/ take them apart; each returns a function that adds its part
-- to the table `weft`, so that Wireshark may load them on its own too, to no effect.

local folder = debug.getinfo(1, "S").source:match("^@(.*[/\\])") or "./"

local weft = {
  proto = Proto("weft", "Weft RPC (R2P2)"),
}
for _, name in ipairs({ "fields", "bytes", "calls", "protobuf", "service", "route", "r2p2",
  "secure" }) do
  local load_into, problem = loadfile(folder .. "weft/" .. name .. ".lua")
  if not load_into then error("the dissector's folder weft/ is incomplete: " .. problem) end
  load_into()(weft)
end

local proto = weft.proto
proto.fields = weft.fields
proto.experts = weft.experts

-- --- Preferences

proto.prefs.ports = Pref.range("UDP ports", "",
  "All datagrams from and to these ports are taken for Weft RPC, damaged ones too.", 65535)
proto.prefs.heuristic = Pref.bool("Any port", true,
  "Take datagrams of other ports too if their first bytes are right.")
proto.prefs.reassemble = Pref.bool("Put long messages together", true,
  "Keep the packets of each message until all of it is there.")
proto.prefs.protos = Pref.string(".proto files", "",
  "Files whose services name the methods, and whose messages those of requests and replies, " ..
  "separated by semicolons. For fields of messages, tell the Protobuf preferences where they are, too.")

local udp_ports = DissectorTable.get("udp.port")
local registered = ""

local function register_ports()
  if registered ~= "" then udp_ports:remove(registered, proto) end
  registered = proto.prefs.ports or ""
  if registered ~= "" then udp_ports:add(registered, proto) end
end

function proto.prefs_changed()
  register_ports()
  weft.service.load_protos(proto.prefs.protos)
end

function proto.init()
  weft.calls.reset()
end

-- --- Datagrams

-- Whether somebody who does not mean to could hardly have made these first bytes.
local function is_likely(tvb)
  return weft.r2p2.is_likely(tvb) or weft.secure.is_likely(tvb)
end

function proto.dissector(tvb, pinfo, tree)
  pinfo.cols.protocol = "Weft"
  local root = tree:add(proto, tvb())
  if weft.secure.is_secured(tvb) then
    weft.secure.dissect(tvb, pinfo, root)
  else
    weft.r2p2.dissect(tvb, pinfo, root)
  end
  return weft.bytes.reported(tvb)
end

local function take_if_likely(tvb, pinfo, tree)
  if not proto.prefs.heuristic or not is_likely(tvb) then return false end
  proto.dissector(tvb, pinfo, tree)
  -- Damaged datagrams of the same two ports are now ours as well.
  pinfo.conversation = proto
  return true
end

proto:register_heuristic("udp", take_if_likely)
udp_ports:add_for_decode_as(proto)
register_ports()
