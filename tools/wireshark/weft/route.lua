-- SPDX-License-Identifier: Apache-2.0
--
-- What routers add to R2P2: the client's address in front of a datagram, FEEDBACK with numbers, and
-- what servers and routers tell of each other: docs/protocols/router.md.

return function(weft)
  local route = {}
  weft.route = route
  local bytes, f = weft.bytes, weft.fields

  local ROUTED = 0x08
  local ROUTE_BYTES_MIN, ROUTE_BYTES_MAX = 12, 76
  local BATCH_BYTES, ENTRY_BYTES, ENTRIES_MAX = 24, 12, 100
  local KINDS = { [4] = 4, [6] = 16 }
  local NAMED = { [0x73] = "shm:", [0x6d] = "sim:" }
  -- So many entries are shown one by one.
  local SHOWN_MAX = 100

  -- Adds the address at `offset`. Returns its text and length; nil and what is wrong with it.
  local function add_address(tvb, tree, offset)
    if not bytes.has(tvb, offset, 4) then return nil, "the address is cut off" end
    local kind, name_bytes = tvb(offset, 1):uint(), tvb(offset + 1, 1):uint()
    local port = tvb(offset + 2, 2):uint()
    local length = 4 + (KINDS[kind] or name_bytes)
    if not bytes.has(tvb, offset, length) then return nil, "the address is cut off" end
    if kind == 4 then
      tree:add(f.route_ip, tvb(offset + 4, 4))
      tree:add(f.route_port, tvb(offset + 2, 2))
      return tostring(tvb(offset + 4, 4):ipv4()) .. ":" .. port, length
    elseif kind == 6 then
      tree:add(f.route_ipv6, tvb(offset + 4, 16))
      tree:add(f.route_port, tvb(offset + 2, 2))
      return "[" .. tostring(tvb(offset + 4, 16):ipv6()) .. "]:" .. port, length
    elseif NAMED[kind] ~= nil then
      local name = name_bytes > 0 and tvb(offset + 4, name_bytes):string() or ""
      tree:add(f.route_name, tvb(offset, length), NAMED[kind] .. name)
      return NAMED[kind] .. name, length
    elseif kind == 0 then
      return "its own", length
    end
    return nil, "unknown kind of address " .. kind
  end

  -- Whether the client's address stands in front of the datagram, which begins behind it.
  function route.is_routed(tvb)
    if not bytes.has(tvb, 0, ROUTE_BYTES_MIN) then return false end
    local size = tvb(1, 1):uint()
    return bit.band(tvb(3, 1):uint(), ROUTED) ~= 0 and tvb(0, 1):uint() == 0xcc and
      size >= ROUTE_BYTES_MIN and size <= ROUTE_BYTES_MAX and bytes.has(tvb, 0, size + 8)
  end

  -- Returns the datagram behind the address, and the address; nil and what is wrong.
  function route.add_route(tvb, root)
    local size = tvb(1, 1):uint()
    local tree = root:add(tvb(0, size), "Routed")
    local client, length = add_address(tvb, tree, 8)
    if client == nil then return nil, length end
    if length ~= size - 8 then return nil, "the address is not as long as its header says" end
    return tvb(size):tvb(), client
  end

  function route.is_batch(h) return h.size == BATCH_BYTES and h.type == 2 end

  function route.add_batch(tvb, root, h)
    local count = h.order
    if count == 0 or count > ENTRIES_MAX then return "a FEEDBACK of " .. count .. " entries" end
    if bytes.reported(tvb) ~= BATCH_BYTES + count * ENTRY_BYTES then
      return "not as long as its entries"
    end
    if not bytes.has(tvb, 8, 16) then return nil end
    local tree = root:add(tvb(8), "FEEDBACK")
    tree:add(f.batch_incarnation, tvb(8, 8))
    tree:add(f.batch_first, tvb(16, 8))
    for i = 0, math.min(count, SHOWN_MAX) - 1 do
      local at = BATCH_BYTES + i * ENTRY_BYTES
      if not bytes.has(tvb, at, ENTRY_BYTES) then break end
      tree:add(f.batch_request, tvb(at, 8))
      tree:add(f.batch_service, tvb(at + 8, 4))
    end
    h.note = string.format(" of %d, from %s on", count, tostring(tvb(16, 8):uint64()))
    return nil
  end

  function route.add_anycast(tvb, header, offset)
    header:add(f.anycast_incarnation, tvb(offset, 8))
    header:add(f.anycast_affinity, tvb(offset + 8, 8))
    header:add(f.anycast_age, tvb(offset + 16, 4))
  end

  -- JOIN and LEAVE.
  function route.add_membership(tvb, root, offset, h)
    if bytes.reported(tvb) < offset + 20 then return "the body is cut off" end
    if not bytes.has(tvb, offset, 20) then return nil end
    local tree = root:add(tvb(offset), "Membership")
    tree:add(f.member_incarnation, tvb(offset, 8))
    tree:add(f.member_slots, tvb(offset + 8, 2))
    tree:add(f.member_weight, tvb(offset + 10, 2))
    tree:add(f.member_keepalive, tvb(offset + 12, 4))
    local address, problem = add_address(tvb, tree, offset + 16)
    if address == nil then return problem end
    h.note = " of " .. address
    return nil
  end

  -- JOIN_ACK and LEAVE_ACK.
  function route.add_membership_ack(tvb, root, offset, h)
    if bytes.reported(tvb) < offset + 24 then return "the body is cut off" end
    if not bytes.has(tvb, offset, 24) then return nil end
    local tree = root:add(tvb(offset, 24), "Membership")
    tree:add(f.router_incarnation, tvb(offset, 8))
    tree:add(f.member_incarnation, tvb(offset + 8, 8))
    tree:add(f.member_outstanding, tvb(offset + 16, 4))
    tree:add(f.member_keepalive, tvb(offset + 20, 4))
    h.note = h.code ~= 0 and " " .. (weft.names.codes[h.code] or "") or
      string.format(" %d outstanding", tvb(offset + 16, 4):uint())
    return nil
  end
end
