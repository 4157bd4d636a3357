-- SPDX-License-Identifier: Apache-2.0
--
-- Secured datagrams, docs/protocols/secure.md: records, of which only the two ends can read more
-- than the head, and the packets of the handshake that gave them their keys.

return function(weft)
  local secure = {}
  weft.secure = secure
  local bytes, names = weft.bytes, weft.names
  local f, experts = weft.fields, weft.experts

  local RECORD, HANDSHAKE = 0xd7, 0xd8
  local RECORD_HEAD, TAG = 16, 16
  local HEAD, INIT_BYTES, COOKIE, FLIGHT_HEAD = 16, 64, 24, 48
  local VERSION = 1
  local INIT, COOKIE_TYPE, FLIGHT, RESET, NO_KEYS = 1, 2, 3, 4, 5
  local FROM_SERVER = 0x80
  local KNOWN_FLAGS = 0x83

  function secure.is_secured(tvb)
    if not bytes.has(tvb, 0, 1) then return false end
    local first = tvb(0, 1):uint()
    return first == RECORD or first == HANDSHAKE
  end

  local function record_problem(tvb)
    if bytes.reported(tvb) < RECORD_HEAD + TAG then return "shorter than a record" end
    if bytes.has(tvb, 0, 4) and tvb(2, 2):uint() ~= 0 then return "bytes 2 and 3 are not zero" end
    return nil
  end

  local function handshake_problem(tvb)
    local length = bytes.reported(tvb)
    if length < HEAD then return "shorter than a handshake packet" end
    if not bytes.has(tvb, 0, 4) then return nil end
    local kind, version, flags = tvb(1, 1):uint(), tvb(2, 1):uint(), tvb(3, 1):uint()
    if version ~= VERSION then return "unknown version " .. version end
    if kind == INIT then
      if length < INIT_BYTES then return "an INIT shorter than 64 bytes" end
      return flags ~= 0 and "an INIT with flags" or nil
    elseif kind == COOKIE_TYPE or kind == RESET or kind == NO_KEYS then
      if flags ~= FROM_SERVER then return "the flags are not those of a server's packet" end
      local right = kind == COOKIE_TYPE and HEAD + COOKIE or HEAD
      return length ~= right and "the length is not " .. right or nil
    elseif kind == FLIGHT then
      if length < FLIGHT_HEAD then return "shorter than a FLIGHT" end
      return nil
    end
    return "unknown type " .. kind
  end

  -- 0xd7 or 0xd8 alone says little.
  function secure.is_likely(tvb)
    if not secure.is_secured(tvb) or not bytes.has(tvb, 0, HEAD) then return false end
    if tvb(0, 1):uint() == RECORD then return record_problem(tvb) == nil end
    return handshake_problem(tvb) == nil and bit.band(tvb(3, 1):uint(), bit.bnot(KNOWN_FLAGS)) == 0
  end

  local function add_record(tvb, pinfo, root)
    local length = bytes.reported(tvb)
    pinfo.cols.info = string.format("Record of %d bytes", math.max(0, length - RECORD_HEAD - TAG))
    root:add(f.secure_magic, tvb(0, 1))
    if bytes.has(tvb, 0, RECORD_HEAD) then
      root:add(f.key_phase, tvb(1, 1))
      root:add(f.connection, tvb(4, 4))
      root:add(f.packet_number, tvb(8, 8))
      pinfo.cols.info:append(string.format(" to connection %d, number %s, key phase %d",
        tvb(4, 4):uint(), tostring(tvb(8, 8):uint64()), tvb(1, 1):uint()))
    end
    local sealed = length - RECORD_HEAD - TAG
    if sealed > 0 then
      local range = bytes.upto(tvb, RECORD_HEAD, sealed)
      if range ~= nil then root:add(f.sealed, range) end
    end
    if sealed >= 0 and bytes.has(tvb, length - TAG, TAG) then
      root:add(f.tag, tvb(length - TAG, TAG))
    end
    return record_problem(tvb)
  end

  local function add_cookie(tvb, tree, offset)
    local cookie = tree:add(f.cookie, tvb(offset, COOKIE))
    cookie:add(f.cookie_time, tvb(offset, 8))
    cookie:add(f.cookie_mac, tvb(offset + 8, COOKIE - 8))
  end

  local function add_flight(tvb, pinfo, root)
    if not bytes.has(tvb, 0, FLIGHT_HEAD) then return end
    root:add(f.flight_offset, tvb(16, 4))
    root:add(f.flight_acknowledged, tvb(20, 4))
    add_cookie(tvb, root, 24)
    local payload = bytes.from(tvb, FLIGHT_HEAD)
    if payload ~= nil then root:add(f.flight_payload, payload) end
    pinfo.cols.info:append(string.format(", %d bytes of TLS at %d, %d acknowledged",
      bytes.reported(tvb) - FLIGHT_HEAD, tvb(16, 4):uint(), tvb(20, 4):uint()))
  end

  local function add_handshake(tvb, pinfo, root)
    root:add(f.secure_magic, tvb(0, 1))
    if not bytes.has(tvb, 0, HEAD) then
      pinfo.cols.info = "Handshake [cut off by the capture]"
      return handshake_problem(tvb)
    end
    root:add(f.handshake_type, tvb(1, 1))
    root:add(f.handshake_version, tvb(2, 1))
    local flags = root:add(f.handshake_flags, tvb(3, 1))
    flags:add(f.from_server, tvb(3, 1))
    flags:add(f.handshake_complete, tvb(3, 1))
    flags:add(f.handshake_resend, tvb(3, 1))
    root:add(f.connection, tvb(4, 4))
    root:add(f.attempt, tvb(8, 8))
    local kind = tvb(1, 1):uint()
    local server = bit.band(tvb(3, 1):uint(), FROM_SERVER) ~= 0
    pinfo.cols.info = string.format("Handshake %s from the %s", names.handshakes[kind] or "?",
      server and "server" or "client")
    local problem = handshake_problem(tvb)
    if problem ~= nil then return problem end
    if kind == FLIGHT then add_flight(tvb, pinfo, root) end
    if kind == COOKIE_TYPE and bytes.has(tvb, HEAD, COOKIE) then add_cookie(tvb, root, HEAD) end
    if kind == RESET then
      bytes.note(root, experts.reset, "The server knows no such connection")
    end
    return nil
  end

  function secure.dissect(tvb, pinfo, root)
    local add = tvb(0, 1):uint() == RECORD and add_record or add_handshake
    local problem = add(tvb, pinfo, root)
    if problem ~= nil then
      pinfo.cols.info = "Malformed: " .. problem
      bytes.note(root, experts.malformed, "Malformed: " .. problem)
    elseif tvb:len() < bytes.reported(tvb) then
      bytes.note(root, experts.cut, "The capture has only the beginning of this packet")
    end
  end
end
