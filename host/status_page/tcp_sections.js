// SPDX-License-Identifier: Apache-2.0
//
// The parts of the page about weft's own TCP: what each worker does, who listens, some of the
// connections.

class TcpWorkers {
  constructor() {
    const gauge = (name, label) => ({
      name, label, number: true, show: ({told}) => wholeText(numberOf(told.stats?.[name])),
      sort: ({told}) => numberOf(told.stats?.[name]),
    });
    this.table = new Table({
      id: "tcp", title: "TCP", sortBy: "established",
      note: "Sent again: segments. Connections that ended: in good order, and by resets or silence.",
      columns: [
        {name: "worker", label: "worker", show: ({told}) => String(told.worker),
         sort: ({told}) => -told.worker},
        gauge("established", "established"), gauge("half_open", "half-open"),
        gauge("time_wait", "TIME-WAIT"),
        {name: "opened", label: "opened/s", number: true,
         show: (row) => rateText(row.active_opens.now + row.passive_opens.now),
         sort: (row) => row.active_opens.average + row.passive_opens.average},
        rateColumn("closed", "ended/s"),
        {name: "broken", label: "broken/s", number: true,
         show: (row) => rateText(row.resets_received.now + row.timeouts.now),
         sort: (row) => row.resets_received.average + row.timeouts.average},
        rateColumn("segments_received", "segments in/s"),
        rateColumn("segments_sent", "out/s"),
        rateColumn("bytes_received", "in, B/s", byteText),
        rateColumn("bytes_sent", "out, B/s", byteText),
        rateColumn("retransmissions", "sent again/s"),
      ],
    });
    this.node = this.table.node;
  }

  show(history) {
    const {tcp} = history.samples.at(-1);
    this.node.hidden = tcp.size === 0;
    this.table.show([...tcp].map(([key, told]) => {
      const row = {told};
      for (const name of ["active_opens", "passive_opens", "closed", "resets_received", "timeouts",
                          "segments_received", "segments_sent", "bytes_received", "bytes_sent",
                          "retransmissions"]) {
        row[name] = ratesOf(history, (sample) => numberOf(sample.tcp.get(key)?.stats?.[name]));
      }
      return [key, row];
    }));
  }
}

class TcpListeners {
  constructor() {
    const number = (name, label) => ({
      name, label, number: true, show: ({told}) => wholeText(numberOf(told[name])),
      sort: ({told}) => numberOf(told[name]),
    });
    this.table = new Table({
      id: "tcp-listeners", title: "TCP listeners", sortBy: "local",
      note: "Waiting: established, and not taken by the program yet.",
      columns: [
        {name: "local", label: "address", show: ({told}) => told.local,
         sort: ({told}) => told.local},
        {name: "worker", label: "worker", number: true, show: ({told}) => String(told.worker),
         sort: ({told}) => -told.worker},
        number("waiting", "waiting"), number("backlog", "backlog"),
        number("half_open", "half-open"),
      ],
    });
    this.node = this.table.node;
  }

  show(history) {
    const {tcp} = history.samples.at(-1);
    const rows = [...tcp].flatMap(([key, worker]) => listOf(worker.listeners).map(
        (told) => [`${key}/${told.local}`, {told: {...told, worker: worker.worker}}]));
    this.node.hidden = rows.length === 0;
    this.table.show(rows);
  }
}

class TcpConnections {
  constructor() {
    const number = (name, label, show = wholeText) => ({
      name, label, number: true, show: ({told}) => show(numberOf(told[name])),
      sort: ({told}) => numberOf(told[name]),
    });
    this.table = new Table({
      id: "tcp-connections", title: "TCP connections", sortBy: "bytes_received",
      note: "Some of each worker's; weft tcp connections shows those that are asked for.",
      columns: [
        {name: "remote", label: "peer", show: ({told}) => told.remote,
         sort: ({told}) => told.remote},
        {name: "local", label: "here", show: ({told}) => told.local, sort: ({told}) => told.local},
        {name: "worker", label: "worker", number: true, show: ({told}) => String(told.worker),
         sort: ({told}) => -told.worker},
        {name: "state", label: "state", show: ({told}) => told.state,
         sort: ({told}) => told.state},
        number("unread_bytes", "unread"), number("unacked_bytes", "under way"),
        number("unsent_bytes", "unsent"),
        number("rtt_us", "round trip", (us) => (us > 0 ? timeText(us * 1000) : "–")),
        {name: "cwnd", label: "window", number: true,
         show: ({told}) => wholeText(Math.floor(numberOf(told.cwnd_bytes) /
                                                Math.max(numberOf(told.send_mss_bytes), 1))),
         sort: ({told}) => numberOf(told.cwnd_bytes)},
        number("retransmissions", "sent again"),
        number("bytes_received", "in, B", byteText), number("bytes_acked", "out, B", byteText),
      ],
    });
    this.node = this.table.node;
  }

  show(history) {
    const {tcp} = history.samples.at(-1);
    const rows = [...tcp].flatMap(([key, worker]) => listOf(worker.connections).map(
        (told) => [`${key}/${told.local}/${told.remote}`,
                   {told: {...told, worker: worker.worker}}]));
    this.node.hidden = rows.length === 0;
    this.table.show(rows);
  }
}
