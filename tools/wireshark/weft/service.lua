-- SPDX-License-Identifier: Apache-2.0
--
-- The envelope of services, which is the payload of messages: docs/protocols/services.md.

return function(weft)
  local service = {}
  weft.service = service
  local bytes, calls, names, protobuf = weft.bytes, weft.calls, weft.names, weft.protobuf
  local f, experts = weft.fields, weft.experts

  local MAGIC, VERSION = 0x5753, 1
  local UNARY, OPEN, PUSH, PULL = 0, 1, 2, 3
  local TRACED, END = 0x01, 0x02
  local REQUEST_HEAD, REPLY_HEAD, NUMBER_BYTES, TRACE_BYTES = 16, 8, 8, 25
  local RAW_BYTES = "weft.rpc.RawBytes"
  -- So many messages of a batch are listed one by one.
  local LISTED_MAX = 256

  local methods = {}  -- by id, as 16 hexadecimal digits

  -- Learns the methods of the files in `list`, separated by semicolons.
  function service.load_protos(list)
    methods = {}
    for path in list:gmatch("[^;]+") do
      local file = io.open(path, "r")
      if file ~= nil then
        protobuf.read_services(file:read("*a"), methods)
        file:close()
      end
    end
  end

  local function starts_with_head(tvb, head_bytes)
    return bytes.has(tvb, 0, head_bytes) and tvb(0, 2):uint() == MAGIC and
      tvb(2, 1):uint() == VERSION
  end

  local function add_trace(tvb, tree, offset)
    local trace = tree:add(tvb(offset, TRACE_BYTES), "Trace context")
    trace:add(f.trace_id, tvb(offset, 16))
    trace:add(f.span_id, tvb(offset + 16, 8))
    trace:add(f.trace_flags, tvb(offset + 24, 1))
  end

  -- One {key, value} of metadata, or of a detail.
  local function entry_text(range)
    local key, value = "", ""
    if range == nil then return "" end
    local whole = protobuf.fields(range:tvb(), function(number, content)
      if type(content) == "number" then return end
      if number == 1 then key = protobuf.text(content) end
      if number == 2 then value = protobuf.text(content) end
    end)
    return whole and key .. ": " .. value or "damaged"
  end

  local function add_metadata(range, tree)
    local item = tree:add(f.metadata, range)
    local whole = protobuf.fields(range:tvb(), function(number, content)
      if number == 1 and type(content) ~= "number" then
        item:add(f.metadata_entry, content or range, entry_text(content))
      end
    end)
    if not whole then bytes.note(item, experts.malformed, "The metadata do not parse") end
  end

  -- Returns the message of the status.
  local function add_trailer(range, tree)
    local item = tree:add(f.trailer, range)
    local message = nil
    local whole = protobuf.fields(range:tvb(), function(number, content)
      if type(content) == "number" then return end
      if number == 1 then
        message = protobuf.text(content)
        item:add(f.status_message, content or range, message)
      elseif number == 2 then
        item:add(f.detail, content or range, entry_text(content))
      elseif number == 3 then
        if content ~= nil then add_metadata(content, item) end
      end
    end)
    if not whole then bytes.note(item, experts.malformed, "The trailer does not parse") end
    return message
  end

  -- A message of a request or a reply.
  local function add_body(range, pinfo, tree, type_name)
    local item = tree:add(f.body, range)
    if type_name ~= nil and type_name ~= RAW_BYTES then
      protobuf.add(range:tvb(), pinfo, item, type_name)
    end
  end

  -- Messages of a stream, each behind its length. Returns how many there are.
  local function add_batch(range, pinfo, tree, type_name, context)
    local tvb, offset, count = range:tvb(), 0, 0
    local batch = tree:add(range, "Messages")
    while offset < tvb:len() do
      local length, at = protobuf.varint(tvb, offset)
      if length == nil or at + length > tvb:len() then
        if not context.cut then
          bytes.note(batch, experts.malformed, "A message of the batch is cut off")
        end
        break
      end
      if count < LISTED_MAX then
        local item = batch:add(f.stream_message, tvb(offset, at - offset + length))
        if type_name ~= nil and type_name ~= RAW_BYTES and length > 0 then
          protobuf.add(tvb(at, length):tvb(), pinfo, item, type_name)
        end
      end
      count, offset = count + 1, at + length
    end
    batch:add(f.stream_messages, count):set_generated()
    return count
  end

  -- The method with `id`; of a stream, the one that opened it.
  local function method_of(head, context)
    if head.kind == UNARY or head.kind == OPEN then return methods[head.id] end
    local stream = calls.stream(context.session .. "/" .. head.id)
    return stream and stream.method
  end

  local function read_request_head(tvb)
    return {
      kind = tvb(3, 1):uint(), flags = tvb(4, 1):uint(), metadata_bytes = tvb(5, 3):uint(),
      id = bytes.hex(tvb, 8, 8),
    }
  end

  local function add_request_head(tvb, tree, head)
    tree:add(f.service_magic, tvb(0, 2))
    tree:add(f.service_version, tvb(2, 1))
    tree:add(f.service_kind, tvb(3, 1))
    local flags = tree:add(f.service_flags, tvb(4, 1))
    flags:add(f.service_traced, tvb(4, 1))
    flags:add(f.service_end, tvb(4, 1))
    tree:add(f.metadata_bytes, tvb(5, 3))
    local of_stream = head.kind == PUSH or head.kind == PULL
    tree:add(of_stream and f.stream_id or f.method_id, tvb(8, 8))
  end

  -- The number that follows the head: a stream's id or a sequence. Returns the offset after it, or
  -- nil if it is not there.
  local function add_request_number(tvb, pinfo, tree, head, context, offset)
    if head.kind == UNARY then return offset end
    if not bytes.has(tvb, offset, NUMBER_BYTES) then return nil end
    if head.kind == OPEN then
      tree:add(f.stream_id, tvb(offset, 8))
      calls.open_stream(context.session .. "/" .. bytes.hex(tvb, offset, 8), pinfo, methods[head.id])
    else
      tree:add(f.stream_sequence, tvb(offset, 8))
      local stream = calls.stream(context.session .. "/" .. head.id)
      if stream ~= nil then tree:add(f.opened_in, stream.frame):set_generated() end
    end
    return offset + NUMBER_BYTES
  end

  -- What the head announces is not there.
  local function short(tree, pinfo, what, context)
    if context.cut then return end  -- the capture is short, not the message
    bytes.note(tree, experts.malformed, "The " .. what .. " are cut off")
    pinfo.cols.info:append(" Malformed: the " .. what .. " are cut off")
  end

  local function dissect_request(tvb, pinfo, root, context)
    local head = read_request_head(tvb)
    local tree = root:add(tvb(), "Service, request")
    add_request_head(tvb, tree, head)
    context.call.service = head
    head.method = method_of(head, context)
    local name = head.method and head.method.name
    if name ~= nil then tree:add(f.method, name):set_generated() end
    pinfo.cols.info:append(string.format(" %s %s", names.service_kinds[head.kind] or "?",
      name or "0x" .. head.id:lower()))
    if head.kind > PULL then
      bytes.note(tree, experts.malformed, "Unknown kind " .. head.kind)
      return
    end
    local offset = add_request_number(tvb, pinfo, tree, head, context, REQUEST_HEAD)
    if offset == nil then return short(tree, pinfo, "numbers", context) end
    if bit.band(head.flags, TRACED) ~= 0 then
      if not bytes.has(tvb, offset, TRACE_BYTES) then return short(tree, pinfo, "trace ids", context) end
      add_trace(tvb, tree, offset)
      offset = offset + TRACE_BYTES
    end
    if not bytes.has(tvb, offset, head.metadata_bytes) then return short(tree, pinfo, "metadata", context) end
    if head.metadata_bytes > 0 then add_metadata(tvb(offset, head.metadata_bytes), tree) end
    local body = bytes.from(tvb, offset + head.metadata_bytes)
    if body == nil then return end
    local type_name = head.method and head.method.request
    if head.kind ~= PUSH then return add_body(body, pinfo, tree, type_name) end
    local count = add_batch(body, pinfo, tree, type_name, context)
    pinfo.cols.info:append(string.format(" %d messages", count))
  end

  local function add_reply_head(tvb, tree)
    tree:add(f.service_magic, tvb(0, 2))
    tree:add(f.service_version, tvb(2, 1))
    tree:add(f.status, tvb(3, 1))
    local flags = tree:add(f.service_flags, tvb(4, 1))
    flags:add(f.service_end, tvb(4, 1))
    tree:add(f.trailer_bytes, tvb(5, 3))
  end

  local function dissect_reply(tvb, pinfo, root, context)
    local tree = root:add(tvb(), "Service, reply")
    add_reply_head(tvb, tree)
    local status, trailer_bytes = tvb(3, 1):uint(), tvb(5, 3):uint()
    local status_name = names.statuses[status] or "status " .. status
    pinfo.cols.info:append(" " .. status_name)
    local head = context.call.service
    if head == nil then
      tree:add("What follows depends on the request, which this capture does not have")
      return
    end
    local method = head.method
    if method ~= nil then
      tree:add(f.method, method.name):set_generated()
      pinfo.cols.info:append(" " .. method.name)
    end
    local offset = REPLY_HEAD
    if head.kind == PULL or head.kind == OPEN then
      if not bytes.has(tvb, offset, NUMBER_BYTES) then return short(tree, pinfo, "numbers", context) end
      tree:add(head.kind == PULL and f.stream_sequence or f.batches, tvb(offset, 8))
      offset = offset + NUMBER_BYTES
    end
    if not bytes.has(tvb, offset, trailer_bytes) then return short(tree, pinfo, "trailers", context) end
    local message = nil
    if trailer_bytes > 0 then message = add_trailer(tvb(offset, trailer_bytes), tree) end
    if status ~= 0 then
      bytes.note(tree, experts.failed, status_name .. (message and ": " .. message or ""))
      if message ~= nil then pinfo.cols.info:append(": " .. message) end
    end
    local body = bytes.from(tvb, offset + trailer_bytes)
    if body == nil then return end
    local type_name = method and method.response
    if head.kind ~= PULL then return add_body(body, pinfo, tree, type_name) end
    pinfo.cols.info:append(string.format(" %d messages", add_batch(body, pinfo, tree, type_name, context)))
  end

  -- Takes apart the message in `tvb` if it is one of a service. `context` has the call, the
  -- direction ("request", "response"), what names the session, and whether the capture is cut.
  function service.dissect(tvb, pinfo, root, context)
    if context.direction == "request" then
      if starts_with_head(tvb, REQUEST_HEAD) then dissect_request(tvb, pinfo, root, context) end
    elseif starts_with_head(tvb, REPLY_HEAD) then
      dissect_reply(tvb, pinfo, root, context)
    end
  end
end
