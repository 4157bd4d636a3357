-- SPDX-License-Identifier: Apache-2.0
--
-- What a display filter may name, called as in docs/protocols/, and the names of numbers.

return function(weft)
  local names = {
    types = {
      [0] = "REQUEST", "RESPONSE", "FEEDBACK", "ACK", "DROP", "RAFT_REQ", "RAFT_REP", "RAFT_MSG",
    },
    policies = {
      [0] = "LB_ROUTE", "FIXED_ROUTE", "REPLICATED_ROUTE", "REPLICATED_ROUTE_NO_SE",
    },
    kinds = {
      [0] = "none", "HELLO", "HELLO_ACK", "PROGRESS", "CANCEL", "PING", "PONG", "CLOSE",
      "CLOSE_ACK", "RESET", "DRAIN",
    },
    codes = {
      [0] = "none", "REFUSED", "OVERLOADED", "TOO_LARGE", "SHUTTING_DOWN", "REPLY_GONE",
      "CANCELLED", "NO_SESSIONS", "DEADLINE", "UNANSWERED", "UNSUPPORTED", "FORBIDDEN",
    },
    service_kinds = { [0] = "UNARY", "OPEN", "PUSH", "PULL" },
    statuses = {
      [0] = "OK", "CANCELLED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND",
      "ALREADY_EXISTS", "PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION",
      "ABORTED", "OUT_OF_RANGE", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS",
      "UNAUTHENTICATED",
    },
  }
  weft.names = names

  local P = ProtoField
  weft.fields = {
    -- The header of R2P2; the extended format begins with the same eight bytes.
    magic = P.uint8("weft.magic", "Magic", base.HEX),
    header_size = P.uint8("weft.header_size", "Header size", base.DEC),
    type = P.uint8("weft.type", "Type", base.DEC, names.types, 0xf0),
    policy = P.uint8("weft.policy", "Policy", base.DEC, names.policies, 0x0f),
    flags = P.uint8("weft.flags", "Flags", base.HEX),
    first = P.bool("weft.flags.first", "First packet of the message", 8, nil, 0x80),
    last = P.bool("weft.flags.last", "Last packet of the message", 8, nil, 0x40),
    resent = P.bool("weft.flags.resent", "Resent", 8, nil, 0x20),
    echo_flag = P.bool("weft.flags.echo", "Echo means something", 8, nil, 0x10),
    rid = P.uint16("weft.rid", "Request id (16 bits)", base.DEC),
    packet_order = P.uint16("weft.packet_order", "Packet order", base.DEC),

    -- What follows in the extended format.
    session = P.uint32("weft.session", "Session (the receiver's number)", base.DEC),
    from_session = P.uint32("weft.from_session", "From session (the sender's number)", base.DEC),
    key = P.uint32("weft.key", "Key", base.HEX),
    deadline = P.uint32("weft.deadline", "Deadline (us left)", base.DEC),
    request_id = P.uint64("weft.request_id", "Request id", base.HEX),
    sequence = P.uint64("weft.request_id.sequence", "Sequence of the slot", base.DEC),
    slot = P.uint16("weft.request_id.slot", "Slot", base.DEC),
    timestamp = P.uint32("weft.timestamp", "Timestamp (ns)", base.DEC),
    echo = P.uint32("weft.echo", "Echo (ns)", base.DEC),
    credits = P.uint16("weft.credits", "Credits", base.DEC),
    kind = P.uint8("weft.kind", "Kind", base.DEC, names.kinds),
    code = P.uint8("weft.code", "Code", base.DEC, names.codes),

    hello_version = P.uint16("weft.hello.version", "Version", base.DEC),
    hello_slots = P.uint16("weft.hello.slots", "Slots", base.DEC),
    hello_packet_bytes = P.uint32("weft.hello.packet_bytes", "Packet bytes", base.DEC),
    hello_incarnation = P.uint64("weft.hello.incarnation", "Incarnation", base.HEX),
    hello_timeout = P.uint32("weft.hello.timeout", "Timeout (us)", base.DEC),
    hello_key = P.uint32("weft.hello.key", "Key of the session", base.HEX),
    hello_padding = P.bytes("weft.hello.padding", "Padding"),
    progress_of = P.string("weft.progress.of", "About a"),
    progress_received = P.uint16("weft.progress.received", "Here without a gap (packets)", base.DEC),
    progress_granted = P.uint16("weft.progress.granted", "Granted (packets)", base.DEC),
    progress_bits = P.uint16("weft.progress.bits", "Bits", base.DEC),
    progress_bitmap = P.bytes("weft.progress.bitmap", "Bitmap"),
    progress_missing = P.uint16("weft.progress.missing", "Missing packet", base.DEC),
    retry_after = P.uint32("weft.drop.retry_after", "Retry after (us)", base.DEC),
    drop_text = P.string("weft.drop.text", "Text"),
    feedback_rid = P.uint16("weft.feedback.rid", "Request id", base.DEC),
    feedback_port = P.uint16("weft.feedback.client_port", "Client port", base.DEC),
    feedback_ip = P.ipv4("weft.feedback.client_ip", "Client address"),

    -- Messages and calls.
    payload = P.bytes("weft.payload", "Payload"),
    payload_bytes = P.uint32("weft.payload_bytes", "Payload bytes", base.DEC),
    packet = P.uint32("weft.message.packet", "Packet of the message", base.DEC),
    message_packets = P.uint32("weft.message.packets", "Packets of the message", base.DEC),
    message_bytes = P.uint32("weft.message.bytes", "Message bytes", base.DEC),
    message_in = P.framenum("weft.message.complete_in", "Message complete in"),
    message_part = P.framenum("weft.message.part", "Packet in"),
    first_sent_in = P.framenum("weft.first_sent_in", "First sent in", base.NONE,
      frametype.RETRANS_PREV),
    request_in = P.framenum("weft.request_in", "Request in", base.NONE, frametype.REQUEST),
    response_in = P.framenum("weft.response_in", "Response in", base.NONE, frametype.RESPONSE),
    response_time = P.relative_time("weft.response_time", "Response time"),

    -- The envelope of services.
    service_magic = P.uint16("weft.service.magic", "Magic", base.HEX),
    service_version = P.uint8("weft.service.version", "Version", base.DEC),
    service_kind = P.uint8("weft.service.kind", "Kind", base.DEC, names.service_kinds),
    service_flags = P.uint8("weft.service.flags", "Flags", base.HEX),
    service_traced = P.bool("weft.service.flags.trace", "Trace context", 8, nil, 0x01),
    service_end = P.bool("weft.service.flags.end", "End of messages", 8, nil, 0x02),
    metadata_bytes = P.uint24("weft.service.metadata_bytes", "Metadata bytes", base.DEC),
    method_id = P.uint64("weft.service.method_id", "Method id", base.HEX),
    method = P.string("weft.service.method", "Method"),
    stream_id = P.uint64("weft.service.stream_id", "Stream id", base.HEX),
    opened_in = P.framenum("weft.service.opened_in", "Stream opened in"),
    stream_sequence = P.uint64("weft.service.sequence", "Sequence", base.DEC),
    trace_id = P.bytes("weft.service.trace_id", "Trace id"),
    span_id = P.bytes("weft.service.span_id", "Span id"),
    trace_flags = P.uint8("weft.service.trace_flags", "Trace flags", base.HEX),
    metadata = P.bytes("weft.service.metadata", "Metadata"),
    metadata_entry = P.string("weft.service.metadata.entry", "Entry"),
    status = P.uint8("weft.service.status", "Status", base.DEC, names.statuses),
    trailer_bytes = P.uint24("weft.service.trailer_bytes", "Trailer bytes", base.DEC),
    batches = P.uint64("weft.service.batches", "Batches in all", base.DEC),
    trailer = P.bytes("weft.service.trailer", "Trailer"),
    status_message = P.string("weft.service.status_message", "Status message"),
    detail = P.string("weft.service.detail", "Detail"),
    body = P.bytes("weft.service.body", "Body"),
    stream_messages = P.uint32("weft.service.messages", "Messages", base.DEC),
    stream_message = P.bytes("weft.service.message", "Message"),
  }

  weft.experts = {
    malformed = ProtoExpert.new("weft.malformed", "Malformed", expert.group.MALFORMED,
      expert.severity.ERROR),
    cut = ProtoExpert.new("weft.cut", "The capture has only the beginning", expert.group.UNDECODED,
      expert.severity.NOTE),
    resent = ProtoExpert.new("weft.resent", "Sent again", expert.group.SEQUENCE,
      expert.severity.NOTE),
    dropped = ProtoExpert.new("weft.dropped", "Refused", expert.group.RESPONSE_CODE,
      expert.severity.WARN),
    cancelled = ProtoExpert.new("weft.cancelled", "Cancelled", expert.group.SEQUENCE,
      expert.severity.NOTE),
    reset = ProtoExpert.new("weft.reset", "No such session", expert.group.SEQUENCE,
      expert.severity.WARN),
    unanswered = ProtoExpert.new("weft.unanswered", "No complete answer in this capture",
      expert.group.SEQUENCE, expert.severity.NOTE),
    failed = ProtoExpert.new("weft.failed", "Not OK", expert.group.RESPONSE_CODE,
      expert.severity.NOTE),
  }
end
