-- SPDX-License-Identifier: Apache-2.0
--
-- R2P2 in its original and in its extended format: docs/protocols/r2p2.md, r2p2_extended.md.

return function(weft)
  local r2p2 = {}
  weft.r2p2 = r2p2
  local bytes, calls, names, route = weft.bytes, weft.calls, weft.names, weft.route
  local f, experts = weft.fields, weft.experts

  local MAGIC = 0xcc
  local ORIGINAL_BYTES, EXTENDED_BYTES, RESERVED_BYTES, ANYCAST_BYTES = 8, 44, 60, 64
  local FEEDBACK_BYTES = 16
  local FIRST, LAST, RESENT, ECHO = 0x80, 0x40, 0x20, 0x10
  local REQUEST, RESPONSE, FEEDBACK, ACK, DROP = 0, 1, 2, 3, 4
  local HELLO, HELLO_ACK, PROGRESS, CANCEL, PING, PONG, CLOSE, CLOSE_ACK, RESET, DRAIN =
    1, 2, 3, 4, 5, 6, 7, 8, 9, 10
  local POOL, JOIN, JOIN_ACK, LEAVE, LEAVE_ACK, ANNOUNCEMENT = 11, 12, 13, 14, 15, 16
  local OVERLOADED, NO_SERVER = 2, 12
  local HELLO_BYTES, PROGRESS_BITS_MAX = 24, 1024
  local ANNOUNCEMENT_BYTES, KEYLESS_BYTES = 40, 8
  local HELLO_FEATURES_AT = 28
  local EXTENDED_TYPES = { [REQUEST] = true, [RESPONSE] = true, [ACK] = true, [DROP] = true }
  -- So many missing packets are listed one by one.
  local LISTED_MAX = 64

  -- --- Headers

  -- The header that `tvb` begins with, as far as it is there. `size` says which format it claims.
  local function read_header(tvb)
    if not bytes.has(tvb, 0, ORIGINAL_BYTES) then return nil end
    local h = {
      magic = tvb(0, 1):uint(), size = tvb(1, 1):uint(),
      type = bit.rshift(tvb(2, 1):uint(), 4), policy = bit.band(tvb(2, 1):uint(), 0x0f),
      flags = tvb(3, 1):uint(), rid = tvb(4, 2):uint(), order = tvb(6, 2):uint(),
      kind = 0, code = 0,
    }
    h.first, h.last = bit.band(h.flags, FIRST) ~= 0, bit.band(h.flags, LAST) ~= 0
    h.resent = bit.band(h.flags, RESENT) ~= 0
    if h.size ~= EXTENDED_BYTES and h.size ~= ANYCAST_BYTES then return h end
    if not bytes.has(tvb, 0, h.size) then return h end
    h.extended, h.anycast = true, h.size == ANYCAST_BYTES
    h.session, h.from_session = tvb(8, 4):uint(), tvb(12, 4):uint()
    h.key, h.deadline = tvb(16, 4):uint(), tvb(20, 4):uint()
    h.request_id, h.slot = bytes.hex(tvb, 24, 8), tvb(30, 2):uint()
    h.kind, h.code = tvb(42, 1):uint(), tvb(43, 1):uint()
    return h
  end

  local function original_problem(h)
    if h.type > 7 then return "unknown type " .. h.type end
    if h.type == FEEDBACK then return nil end  -- nothing else of its header means anything
    if h.policy > 3 then return "unknown policy " .. h.policy end
    if h.order == 0 then return "packet order 0" end
    if h.first and h.last ~= (h.order == 1) then return "flags contradict the packet order" end
    return nil
  end

  local function extended_problem(h)
    if not EXTENDED_TYPES[h.type] then return "unknown type " .. h.type end
    if h.policy > 3 then return "unknown policy " .. h.policy end
    if bit.band(h.flags, 0x0f) ~= 0 then return "unknown flags" end
    if h.slot ~= h.rid then return "rid is not the low half of the request id" end
    if h.kind > ANNOUNCEMENT then return "unknown kind " .. h.kind end
    if h.code > #names.codes then return "unknown code " .. h.code end
    if h.kind == ANNOUNCEMENT then
      if h.type ~= REQUEST and h.type ~= RESPONSE then return "an announcement of no message" end
      if h.first and not h.last and h.order > 1 then return nil end
      return "an announcement is the first packet of several"
    end
    if (h.type == ACK) ~= (h.kind ~= 0) then return "kind does not go with the type" end
    if h.kind == PROGRESS then return not h.first and "PROGRESS without the first flag" or nil end
    if h.order == 0 then return "packet order 0" end
    if (h.type == ACK or h.type == DROP) and not (h.first and h.last and h.order == 1) then
      return "a control packet is not one packet"
    end
    if h.first and h.last ~= (h.order == 1) then return "flags contradict the packet order" end
    return nil
  end

  local function anycast_problem(h)
    if h.type ~= REQUEST or not h.first then return "not the first packet of a request" end
    if h.kind == ANNOUNCEMENT then return "an announcement to any server" end
    if h.session ~= 0 or h.key ~= 0 then return "a request to any server names a session" end
    if h.from_session == 0 then return "a request to any server is of no pool" end
    return nil
  end

  -- What no correct sender does; nil if all is well.
  local function header_problem(h)
    if h.magic ~= MAGIC then return string.format("magic is 0x%02x", h.magic) end
    if h.size == ORIGINAL_BYTES then return original_problem(h) end
    if h.extended then return extended_problem(h) or h.anycast and anycast_problem(h) or nil end
    if route.is_batch(h) then return nil end
    if h.size == EXTENDED_BYTES or h.size == ANYCAST_BYTES then return "shorter than its header" end
    if h.size == RESERVED_BYTES then return "header size 60 is reserved" end
    return "unknown header size " .. h.size
  end

  function r2p2.is_likely(tvb)
    if route.is_routed(tvb) then return r2p2.is_likely(tvb(tvb(1, 1):uint()):tvb()) end
    local h = read_header(tvb)
    if h == nil or header_problem(h) ~= nil then return false end
    if h.extended then return true end
    -- Of a short header every bit that is known has to be right.
    if route.is_batch(h) then
      return bytes.reported(tvb) == h.size + 12 * h.order and h.order > 0
    end
    if h.type == FEEDBACK then return bytes.reported(tvb) == FEEDBACK_BYTES end
    if bit.band(h.flags, 0x3f) ~= 0 then return false end
    return h.type == REQUEST or h.type > DROP or h.policy == 1
  end

  local function add_header(tvb, tree, h)
    local there = math.min(tvb:len(), h.extended and h.size or ORIGINAL_BYTES)
    local title = h.anycast and "Header, to any server" or h.extended and "Header, extended" or "Header"
    local header = tree:add(tvb(0, there), title)
    header:add(f.magic, tvb(0, 1))
    header:add(f.header_size, tvb(1, 1))
    header:add(f.type, tvb(2, 1))
    header:add(f.policy, tvb(2, 1))
    local flags = header:add(f.flags, tvb(3, 1))
    flags:add(f.first, tvb(3, 1))
    flags:add(f.last, tvb(3, 1))
    if h.size == EXTENDED_BYTES or h.size == ANYCAST_BYTES then
      flags:add(f.resent, tvb(3, 1))
      flags:add(f.echo_flag, tvb(3, 1))
    end
    header:add(f.rid, tvb(4, 2))
    header:add(f.packet_order, tvb(6, 2))
    if not h.extended then return header end
    header:add(f.session, tvb(8, 4))
    header:add(f.from_session, tvb(12, 4))
    header:add(f.key, tvb(16, 4))
    header:add(f.deadline, tvb(20, 4))
    local id = header:add(f.request_id, tvb(24, 8))
    id:add(f.sequence, tvb(24, 6), tvb(24, 6):uint64())
    id:add(f.slot, tvb(30, 2))
    header:add(f.timestamp, tvb(32, 4))
    header:add(f.echo, tvb(36, 4))
    header:add(f.credits, tvb(40, 2))
    header:add(f.kind, tvb(42, 1))
    header:add(f.code, tvb(43, 1))
    if h.anycast then route.add_anycast(tvb, header, EXTENDED_BYTES) end
    return header
  end

  -- --- Bodies of control packets

  local function add_hello(tvb, root, offset, h)
    if bytes.reported(tvb) < offset + HELLO_BYTES then return "the body is shorter than a HELLO" end
    if not bytes.has(tvb, offset, HELLO_BYTES) then return nil end
    local tree = root:add(tvb(offset, HELLO_BYTES), names.kinds[h.kind])
    tree:add(f.hello_version, tvb(offset, 2))
    tree:add(f.hello_slots, tvb(offset + 2, 2))
    tree:add(f.hello_packet_bytes, tvb(offset + 4, 4))
    tree:add(f.hello_incarnation, tvb(offset + 8, 8))
    tree:add(f.hello_timeout, tvb(offset + 16, 4))
    tree:add(f.hello_key, tvb(offset + 20, 4))
    if h.kind == HELLO and bytes.has(tvb, offset + HELLO_BYTES, 4) then
      local pool = tvb(offset + HELLO_BYTES, 4)
      if pool:uint() ~= 0 then tree:add(f.hello_pool, pool) end
    end
    if bytes.has(tvb, offset + HELLO_FEATURES_AT, 4) then
      local features = tvb(offset + HELLO_FEATURES_AT, 4)
      if features:uint() ~= 0 then
        tree:add(f.hello_features, features):add(f.hello_bulk, features)
      end
    end
    local padding = bytes.from(tvb, offset + HELLO_BYTES)
    if padding ~= nil then root:add(f.hello_padding, padding) end
    if tvb(offset, 2):uint() == 0 then return "version 0" end
    if tvb(offset + 2, 2):uint() == 0 then return "no slots" end
    if tvb(offset + 4, 4):uint() < 128 then return "packets shorter than 128 bytes" end
    if tvb(offset + 16, 4):uint() == 0 then return "timeout 0" end
    h.note = string.format(" slots=%d packet=%d", tvb(offset + 2, 2):uint(), tvb(offset + 4, 4):uint())
    return nil
  end

  local function add_missing(tree, bitmap, order, count)
    tree:add(f.progress_missing, bitmap(0), order):set_generated()
    local listed = 1
    for i = 0, count - 1 do
      local byte = bitmap(math.floor(i / 8), 1):uint()
      if bit.band(byte, bit.rshift(0x80, i % 8)) == 0 and listed < LISTED_MAX then
        tree:add(f.progress_missing, bitmap(math.floor(i / 8), 1), order + 1 + i):set_generated()
        listed = listed + 1
      end
    end
  end

  local function add_progress(tvb, root, offset, h)
    if bytes.reported(tvb) < offset + 4 then return "the body is shorter than a PROGRESS" end
    if not bytes.has(tvb, offset, 4) then return nil end
    local bits = tvb(offset + 2, 2):uint()
    local bitmap_bytes = math.ceil(bits / 8)
    local tree = root:add(tvb(offset, 4), "PROGRESS")
    tree:add(f.progress_of, tvb(3, 1), h.last and "request" or "reply"):set_generated()
    tree:add(f.progress_received, tvb(6, 2))
    tree:add(f.progress_granted, tvb(offset, 2))
    tree:add(f.progress_bits, tvb(offset + 2, 2))
    if bits > PROGRESS_BITS_MAX then return "more than 1024 bits" end
    if bytes.reported(tvb) < offset + 4 + bitmap_bytes then return "the bitmap is cut off" end
    h.note = string.format(" of a %s: %d here, %d granted", h.last and "request" or "reply", h.order,
      tvb(offset, 2):uint())
    if bits == 0 or not bytes.has(tvb, offset + 4, bitmap_bytes) then return nil end
    tree:add(f.progress_bitmap, tvb(offset + 4, bitmap_bytes))
    add_missing(tree, tvb(offset + 4, bitmap_bytes):tvb(), h.order, bits)
    return nil
  end

  local function add_announcement(tvb, root, offset, h)
    local keyless = bytes.reported(tvb) == offset + KEYLESS_BYTES
    local size = keyless and KEYLESS_BYTES or ANNOUNCEMENT_BYTES
    if bytes.reported(tvb) < offset + size then
      return "the body is shorter than an announcement"
    end
    if not bytes.has(tvb, offset, size) then return nil end
    local what = h.type == REQUEST and "request" or "reply"
    local length = tvb(offset, 8):uint64()
    local tree = root:add(tvb(offset, size), "ANNOUNCEMENT")
    tree:add(f.announcement_of, tvb(2, 1), what):set_generated()
    tree:add(f.announcement_bytes, tvb(offset, 8))
    if not keyless then tree:add(f.announcement_key, tvb(offset + KEYLESS_BYTES, 32)) end
    if length == UInt64(0) then return "an announcement of no bytes" end
    h.note = string.format(" of a %s: %s bytes, or %d packets%s", what, tostring(length), h.order,
      keyless and ", not to be fetched yet" or "")
    return nil
  end

  local function add_drop(tvb, root, offset, h)
    if h.extended then
      if bytes.has(tvb, offset, 4) then root:add(f.retry_after, tvb(offset, 4)) end
      h.note = " " .. (names.codes[h.code] or "")
      if (h.code == OVERLOADED or h.code == NO_SERVER) and bytes.has(tvb, offset, 4) then
        h.note = string.format("%s, again in %d us", h.note, tvb(offset, 4):uint())
      end
    elseif bytes.has(tvb, offset, 1) then
      root:add(f.drop_text, bytes.from(tvb, offset))
    end
    bytes.note(root, experts.dropped, "Refused:" .. (h.note or " DROP"))
    return nil
  end

  local function add_feedback(tvb, root, offset, h)
    if bytes.reported(tvb) < FEEDBACK_BYTES then return "shorter than a FEEDBACK" end
    if not bytes.has(tvb, offset, 8) then return nil end
    root:add(f.feedback_rid, tvb(offset, 2))
    root:add(f.feedback_port, tvb(offset + 2, 2))
    root:add(f.feedback_ip, tvb(offset + 4, 4))
    h.note = string.format(" of %s:%d id=%d", tostring(tvb(offset + 4, 4):ipv4()),
      tvb(offset + 2, 2):uint(), tvb(offset, 2):uint())
    return nil
  end

  -- The body of a packet that is not part of a message. Returns what is wrong with it.
  local function add_control_body(tvb, root, offset, h)
    if h.kind == JOIN or h.kind == LEAVE then return route.add_membership(tvb, root, offset, h) end
    if h.kind == JOIN_ACK or h.kind == LEAVE_ACK then
      return route.add_membership_ack(tvb, root, offset, h)
    end
    if h.kind == HELLO or h.kind == HELLO_ACK or h.kind == POOL then return add_hello(tvb, root, offset, h) end
    if h.kind == PROGRESS then return add_progress(tvb, root, offset, h) end
    if h.kind == ANNOUNCEMENT then return add_announcement(tvb, root, offset, h) end
    if h.kind == CANCEL then bytes.note(root, experts.cancelled, "The client has given up") end
    if h.kind == RESET then bytes.note(root, experts.reset, "The server knows no such session") end
    if h.type == DROP then return add_drop(tvb, root, offset, h) end
    if route.is_batch(h) then return route.add_batch(tvb, root, h) end
    if h.type == FEEDBACK then return add_feedback(tvb, root, offset, h) end
    if bytes.has(tvb, offset, 1) then root:add(f.payload, bytes.from(tvb, offset)) end
    return nil
  end

  -- --- Calls

  local FROM_CLIENT = { [HELLO] = true, [CANCEL] = true, [PING] = true, [JOIN] = true, [LEAVE] = true }
  local FROM_SERVER = {
    [HELLO_ACK] = true, [PONG] = true, [RESET] = true, [DRAIN] = true, [POOL] = true,
    [JOIN_ACK] = true, [LEAVE_ACK] = true,
  }

  local function is_from_client(h, from, to)
    if h.type == REQUEST or FROM_CLIENT[h.kind] then return true end
    if h.type == RESPONSE or h.type == DROP or FROM_SERVER[h.kind] then return false end
    if h.kind == PROGRESS then return not h.last end  -- the receiver of the message sends it
    if not h.extended then return false end           -- an original ACK
    local client = calls.is_client(from, to)          -- CLOSE, CLOSE_ACK
    if client == nil then return true end
    return client
  end

  local EXCHANGES = {
    [HELLO] = "hello", [HELLO_ACK] = "hello", [PING] = "ping", [PONG] = "ping",
    [CLOSE] = "close", [CLOSE_ACK] = "close", [POOL] = "hello",
  }

  -- What a packet and its answer have in common, and nothing else has; and what all calls of its
  -- session have in common.
  local function keys(h, pinfo)
    local from, to = calls.source(pinfo), calls.destination(pinfo)
    local from_client = is_from_client(h, from, to)
    if h.extended and from_client and h.kind ~= CLOSE and h.kind ~= CLOSE_ACK then
      calls.set_client(from, to)
    end
    local client, server = from, to
    if not from_client then client, server = to, from end
    if not h.extended then return from_client, client .. "#" .. h.rid, client end
    local client_number, server_number = h.from_session, h.session
    if not from_client then client_number, server_number = h.session, h.from_session end
    local session = string.format("%s-%s-%d-%d", client, server, client_number, h.key)
    local exchange = EXCHANGES[h.kind]
    -- A HELLO that is refused gets its nonce back, and has no request id.
    if h.type == DROP and h.request_id:match("^0+$") then exchange = "hello" end
    if exchange == "hello" then return from_client, session .. "#hello", session end
    session = session .. "-" .. server_number
    return from_client, session .. "#" .. (exchange or h.request_id), session
  end

  local function add_links(root, pinfo, h, found, direction)
    local call, message = found.call, found.message
    if found.problem then bytes.note(root, experts.malformed, "The packet " .. found.problem) end
    if found.first_sent ~= nil then
      root:add(f.first_sent_in, found.first_sent):set_generated()
      bytes.note(root, experts.resent, "Sent before")
    elseif h.resent then
      bytes.note(root, experts.resent, "Sent before, but not in this capture")
    end
    if message ~= nil and message.total ~= nil and message.total > 1 then
      root:add(f.message_packets, message.total):set_generated()
      if message.complete_frame ~= nil and message.complete_frame ~= pinfo.number then
        root:add(f.message_in, message.complete_frame):set_generated()
      end
    end
    if call == nil then return end
    if direction == "request" then
      if call.response_frame ~= nil then
        root:add(f.response_in, call.response_frame):set_generated()
      elseif pinfo.visited and message ~= nil and call.request_frame == pinfo.number then
        bytes.note(root, experts.unanswered, "No complete answer in this capture")
      end
    elseif call.request_frame ~= nil then
      root:add(f.request_in, call.request_frame):set_generated()
    end
    if call.response_frame == pinfo.number and call.response_s ~= nil then
      local s = math.floor(call.response_s)
      local ns = math.min(math.floor((call.response_s - s) * 1e9 + 0.5), 999999999)
      root:add(f.response_time, NSTime.new(s, ns)):set_generated()
    end
  end

  -- --- Messages

  local function add_message(tvb, root, pinfo, h, found, direction, offset, session)
    local message = found.message
    local whole = nil
    if h.first and h.last then
      whole = bytes.has(tvb, offset, 1) and tvb(offset):tvb() or nil
    elseif message ~= nil and message.complete_frame == pinfo.number and message.data ~= nil then
      whole = bytes.view(message.data, "Message")
      local parts = root:add(string.format("Message of %d packets", message.total))
      parts:add(f.message_bytes, #message.data):set_generated()
      for _, frame in ipairs(message.order) do parts:add(f.message_part, frame):set_generated() end
    end
    if whole == nil or found.call == nil then return end
    weft.service.dissect(whole, pinfo, root, {
      call = found.call, direction = direction, session = session,
      cut = tvb:len() < bytes.reported(tvb),
    })
  end

  local function message_info(h, bytes_here)
    local parts = { h.anycast and "REQUEST to any" or names.types[h.type] }
    if h.extended then
      parts[#parts + 1] = string.format("slot=%d seq=%s", h.slot,
        tostring(UInt64.fromhex(h.request_id):rshift(16)))
    else
      parts[#parts + 1] = "id=" .. h.rid
    end
    if h.first and not h.last then
      parts[#parts + 1] = "packet 1/" .. h.order
    elseif not h.first then
      parts[#parts + 1] = "packet " .. (h.order + 1) .. (h.last and "/" .. (h.order + 1) or "")
    end
    parts[#parts + 1] = bytes_here .. " bytes"
    if h.type == REQUEST and h.extended and h.deadline > 0 then
      parts[#parts + 1] = "deadline=" .. h.deadline .. "us"
    end
    return table.concat(parts, " ")
  end

  local function control_info(h)
    local text = h.kind ~= 0 and names.kinds[h.kind] or names.types[h.type] or "?"
    if h.extended and not h.request_id:match("^0+$") then
      text = string.format("%s slot=%d seq=%s", text, h.slot,
        tostring(UInt64.fromhex(h.request_id):rshift(16)))
    elseif not h.extended and h.type ~= FEEDBACK then
      text = text .. " id=" .. h.rid
    end
    return text .. (h.note or "")
  end

  local function dissect_body(tvb, pinfo, root, h)
    local offset = h.size
    local payload_bytes = bytes.reported(tvb) - offset
    local from_client, key, session = keys(h, pinfo)
    local direction = from_client and "request" or "response"
    local announced = h.kind == ANNOUNCEMENT  -- its message is not to be seen
    local options = {
      ids_recur = not h.extended,
      answers = h.type == DROP or announced and h.type == RESPONSE,
    }
    local is_message = (h.type == REQUEST or h.type == RESPONSE) and not announced
    local packet = nil
    if is_message or EXCHANGES[h.kind] ~= nil then
      packet = {
        index = h.first and 0 or h.order, total = h.first and h.order or h.last and h.order + 1 or nil,
        bytes = payload_bytes,
        raw = bytes.has(tvb, offset, payload_bytes) and
          (payload_bytes > 0 and tvb:raw(offset, payload_bytes) or "") or nil,
      }
    end
    if h.kind == PING or h.kind == CLOSE then options.ids_recur = true end
    -- A router's choice is answered in another session, from elsewhere.
    if h.anycast or h.kind >= JOIN and not announced then packet, key = nil, nil end
    if h.type == FEEDBACK or h.type > DROP or pinfo.in_error_pkt then packet, key = nil, nil end
    local found = key ~= nil and calls.find(pinfo, key, direction, packet, options) or {}
    add_links(root, pinfo, h, found, direction)
    if not is_message then
      local problem = add_control_body(tvb, root, offset, h)
      pinfo.cols.info = control_info(h)
      return problem
    end
    root:add(f.payload_bytes, payload_bytes):set_generated()
    if packet ~= nil then root:add(f.packet, packet.index):set_generated() end
    if bytes.has(tvb, offset, 1) then root:add(f.payload, bytes.from(tvb, offset)) end
    pinfo.cols.info = message_info(h, payload_bytes)
    add_message(tvb, root, pinfo, h, found, direction, offset, session)
    return nil
  end

  function r2p2.dissect(tvb, pinfo, root)
    if route.is_routed(tvb) then
      local behind, client = route.add_route(tvb, root)
      if behind == nil then
        pinfo.cols.info = "Malformed: " .. client
        bytes.note(root, experts.malformed, "Malformed: " .. client)
        return
      end
      r2p2.dissect(behind, pinfo, root)
      pinfo.cols.info:append(" [of " .. client .. "]")
      return
    end
    local h = read_header(tvb)
    if h == nil then
      local cut = bytes.reported(tvb) >= ORIGINAL_BYTES
      pinfo.cols.info = cut and "[cut off by the capture]" or "Malformed: shorter than a header"
      bytes.note(root, cut and experts.cut or experts.malformed,
        cut and "The capture ends within the header" or "Shorter than a header")
      return
    end
    local header = add_header(tvb, root, h)
    local problem = header_problem(h)
    local longer = h.size == EXTENDED_BYTES or h.size == ANYCAST_BYTES
    if longer and not h.extended and bytes.reported(tvb) >= h.size then
      pinfo.cols.info = (names.types[h.type] or "?") .. " [cut off by the capture]"
      bytes.note(header, experts.cut, "The capture ends within the header")
      return
    end
    if problem == nil then problem = dissect_body(tvb, pinfo, root, h) end
    if problem ~= nil then
      pinfo.cols.info = "Malformed: " .. problem
      bytes.note(header, experts.malformed, "Malformed: " .. problem)
      return
    end
    if tvb:len() < bytes.reported(tvb) then
      bytes.note(root, experts.cut, "The capture has only the beginning of this packet")
    end
    if h.resent then pinfo.cols.info:append(" [resent]") end
  end
end
