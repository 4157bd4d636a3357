-- SPDX-License-Identifier: Apache-2.0
--
-- What packets have to do with each other: which reply belongs to which request, which packets are
-- one message, which have been sent before. Wireshark shows packets in any order and more than
-- once; so each is looked at when it comes for the first time, and what was found stays.

return function(weft)
  local calls = {}
  weft.calls = calls

  -- A server of the original format answers within its client's patience; later, or after the
  -- answer, the same 16-bit id is another request.
  local SAME_REQUEST_S = 2
  -- A message that is longer is not put together.
  local MESSAGE_BYTES_MAX = 64 * 1024 * 1024

  local by_key       -- calls
  local by_frame     -- what was found, by frame number
  local clients      -- endpoint and peer, of which something came that only a client sends
  local streams      -- by session and stream id

  function calls.reset()
    by_key, by_frame, clients, streams = {}, {}, {}, {}
  end
  calls.reset()

  local function endpoint(address, port) return tostring(address) .. "|" .. port end
  function calls.source(pinfo) return endpoint(pinfo.src, pinfo.src_port) end
  function calls.destination(pinfo) return endpoint(pinfo.dst, pinfo.dst_port) end

  -- --- Who is the client

  function calls.set_client(from, to) clients[from .. "-" .. to] = true end
  -- True, false, or nil if nobody knows.
  function calls.is_client(from, to)
    if clients[from .. "-" .. to] then return true end
    if clients[to .. "-" .. from] then return false end
    return nil
  end

  -- --- Calls

  local function new_message()
    return { packets = {}, frames = {}, order = {}, count = 0, bytes = 0, total = nil, cut = false }
  end

  local function new_call(pinfo)
    return {
      request_frame = nil, begin = pinfo.rel_ts,
      response_frame = nil, response_s = nil,
      messages = { request = new_message(), response = new_message() },
    }
  end

  -- Whether the first packet of a request begins another call than the one that has its key. Only
  -- the original format uses ids again.
  local function begins_another(call, pinfo, packet)
    if packet.index ~= 0 then return false end
    local request = call.messages.request
    return call.response_frame ~= nil or pinfo.rel_ts - call.begin > SAME_REQUEST_S or
      (request.first_raw ~= nil and request.first_raw ~= packet.raw)
  end

  local function put_together(message)
    local parts = {}
    for i = 0, message.total - 1 do parts[i + 1] = message.packets[i] end
    message.data = table.concat(parts)
    message.packets = {}
  end

  -- A packet of a message: returns whether it made the message complete, the frame of its first
  -- sending if this is not it, and what is wrong with it.
  local function add_packet(message, pinfo, packet)
    if packet.total ~= nil then
      if message.total ~= nil and message.total ~= packet.total then
        return false, nil, "disagrees about how many packets the message has"
      end
      message.total = packet.total
    end
    if message.total ~= nil and packet.index >= message.total then
      return false, nil, "is beyond the end of its message"
    end
    if message.frames[packet.index] ~= nil then return false, message.frames[packet.index] end
    message.frames[packet.index] = pinfo.number
    message.order[#message.order + 1] = pinfo.number
    message.count = message.count + 1
    message.bytes = message.bytes + packet.bytes
    if packet.index == 0 then message.first_raw = packet.raw end
    if packet.raw == nil or message.bytes > MESSAGE_BYTES_MAX or not weft.proto.prefs.reassemble then
      message.cut, message.packets = true, {}
    elseif not message.cut and message.total ~= 1 then
      message.packets[packet.index] = packet.raw
    end
    if message.count ~= message.total then return false end
    if message.total > 1 and not message.cut then put_together(message) end
    message.complete_frame = pinfo.number
    return true
  end

  local function answer(call, pinfo)
    if call.response_frame ~= nil then return end
    call.response_frame = pinfo.number
    if call.request_frame ~= nil then call.response_s = pinfo.rel_ts - call.begin end
  end

  -- What belongs to a packet that has the place `direction` ("request", "response") in the call
  -- `key`. `packet` has index, total (nil if it does not say), bytes and raw (a Lua string; nil if
  -- the capture does not have all of it); nil if it is no part of a message but about it.
  -- `options.ids_recur`: a key may come again; `options.answers`: it ends the call.
  --
  -- Returns call, message, complete, first_sent, problem: as found when the frame was new.
  function calls.find(pinfo, key, direction, packet, options)
    local found = by_frame[pinfo.number]
    if found ~= nil and found.key == key then return found end
    if pinfo.visited and found == nil then return {} end
    local call = by_key[key]
    if call ~= nil and direction == "request" and packet ~= nil and options.ids_recur and
       begins_another(call, pinfo, packet) then
      call = nil
    end
    if call == nil then
      call = new_call(pinfo)
      by_key[key] = call
    end
    found = { key = key, call = call }
    if packet ~= nil then
      found.message = call.messages[direction]
      found.complete, found.first_sent, found.problem = add_packet(found.message, pinfo, packet)
      if direction == "request" and call.request_frame == nil then
        call.request_frame = pinfo.number
        call.begin = pinfo.rel_ts
      end
    end
    if direction == "response" and (found.complete or options.answers) then answer(call, pinfo) end
    by_frame[pinfo.number] = found
    return found
  end

  -- --- Streams of services

  function calls.open_stream(key, pinfo, method)
    if streams[key] == nil then streams[key] = { frame = pinfo.number, method = method } end
  end
  function calls.stream(key) return streams[key] end
end
