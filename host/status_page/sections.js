// SPDX-License-Identifier: Apache-2.0
//
// The parts of the page. Each is made once, and show(history) then tells it of the newest sample;
// what the program has nothing of is hidden.

// A column of the rates that rows have under `name`: {now, average}.
const rateColumn = (name, label, show = rateText) => ({
  name, label, number: true, show: (row) => show(row[name].now), sort: (row) => row[name].average,
});

const ratesOf = (history, count) => ({now: history.rate(count), average: history.average(count)});

// The figures of the whole program.
class Tiles {
  constructor() {
    this.tiles = new Map();
    this.node = element("section", {id: "tiles", "aria-label": "At a glance"});
    for (const [name, label] of [["server", "requests served/s"], ["client", "calls made/s"],
                                 ["errors", "errors/s"], ["in-flight", "in flight"],
                                 ["sessions", "sessions"]]) {
      const value = element("p", {class: "value", id: `tile-${name}`}, "–");
      const extra = element("div", {class: "extra"});
      const tile = element("div", {class: "tile"}, element("p", {class: "label"}, label), value,
                           extra);
      this.node.append(tile);
      this.tiles.set(name, {tile, value, extra});
    }
  }

  show(history) {
    const sample = history.samples.at(-1);
    this.node.hidden = sample.endpoints.size + sample.methods.size === 0;
    if (this.node.hidden) return;
    for (const kind of ["server", "client"]) {
      const requests = (then) => requestsOf(then, kind);
      this.#set(kind, rateText(history.rate(requests)), drawCourse(history.rates(requests), "rate"));
      this.tiles.get(kind).tile.hidden =
          ![...sample.endpoints.values()].some((endpoint) => endpoint.kind === kind);
    }
    const errors = history.rate(errorsOf);
    this.#set("errors", rateText(errors), drawCourse(history.rates(errorsOf), "errors"));
    this.tiles.get("errors").value.classList.toggle("bad", errors > 0);
    let inFlight = 0;
    let sessions = 0;
    for (const endpoint of sample.endpoints.values()) {
      sessions += numberOf(endpoint.sessions_total);
      inFlight += inFlightOf(endpoint);
    }
    this.#set("in-flight", wholeText(inFlight));
    this.#set("sessions", wholeText(sessions));
  }

  #set(name, text, course) {
    const {value, extra} = this.tiles.get(name);
    setText(value, text);
    if (course) extra.replaceChildren(course);
  }
}

const FAILED = {
  server: ["refused", "unanswered", "cancelled", "deadlines"],
  client: ["timeouts", "drops", "failures"],
};

const requestsOfEndpoint = ({kind, stats}) =>
    numberOf(kind === "server" ? stats?.requests : stats?.calls);
const errorsOfEndpoint = ({kind, stats}) =>
    FAILED[kind].reduce((sum, name) => sum + numberOf(stats?.[name]), 0);
const inFlightOf = ({kind, stats, sessions}) => kind === "server" ?
    numberOf(stats?.executing) :
    listOf(sessions).reduce((sum, session) => sum + numberOf(session.in_flight), 0);

const sumOf = (map, number) => [...map.values()].reduce((sum, item) => sum + number(item), 0);
const requestsOf = (sample, kind) => sumOf(
    sample.endpoints, (endpoint) => (endpoint.kind === kind ? requestsOfEndpoint(endpoint) : 0));
// A call that a handler fails has a status of its own; to the endpoint it is a reply.
const errorsOf = (sample) => sumOf(sample.endpoints, errorsOfEndpoint) +
    sumOf(sample.methods, (method) => method.errors);

class Methods {
  constructor() {
    this.table = new Table({
      id: "methods", title: "Methods", sortBy: "rate",
      note: "Latencies are those of the last 10 seconds; grey, of all calls since start. " +
          "Press a method for more.",
      columns: [
        {name: "method", label: "method", show: ({method}) => method.name,
         sort: ({method}) => method.name},
        {name: "side", label: "side", show: ({method}) => method.side, sort: ({method}) => method.side},
        rateColumn("rate", "calls/s"),
        {name: "errors", label: "errors/s", number: true, draw: drawErrorRate,
         sort: ({errorRate, method}) => errorRate.average || method.errors * 1e-9},
        {name: "in-flight", label: "in flight", number: true,
         show: ({method}) => wholeText(method.inFlight), sort: ({method}) => method.inFlight},
        ...QUANTILES.map(([part, name]) => ({
          name: name, label: name === "p999" ? "p99.9" : name, number: true,
          show: ({latencies}) => timeText(latencies.quantile(part)),
          sort: ({latencies}) => latencies.quantile(part) ?? 0,
        })),
        {name: "latencies", label: "latencies", draw: ({latencies}, cell) => cell.replaceChildren(
            drawLatencies(latencies, {width: 120, height: 26, bars: 30, labels: false}))},
      ],
      details: showMethod,
    });
    this.node = this.table.node;
  }

  show(history) {
    const {methods} = history.samples.at(-1);
    this.node.hidden = methods.size === 0;
    this.table.show([...methods].map(([key, method]) => {
      const rates = (number) => ratesOf(history, (sample) => number(sample.methods.get(key)));
      const latencies = history.latencies(key);
      return [key, {
        method, latencies,
        quiet: !latencies.recent,
        rate: rates((then) => then?.total ?? 0),
        errorRate: rates((then) => then?.errors ?? 0),
        rateOf: (name) => rates((then) => then?.numbers.get(name) ?? 0).now,
        statusRate: (status) => rates((then) => then?.calls.get(status) ?? 0).now,
      }];
    }));
  }
}

function drawErrorRate({errorRate, method}, cell) {
  setText(cell, errorRate.now === 0 && method.errors > 0 ? `0 (${wholeText(method.errors)})` :
                                                           rateText(errorRate.now));
  cell.classList.toggle("bad", errorRate.now > 0);
  cell.title = `${wholeText(method.errors)} since start`;
}

// What a method's row opens.
function showMethod(row, node) {
  const {method, latencies, rateOf} = row;
  const facts = [
    ["calls since start", wholeText(method.total)],
    ["requests", `${byteText(rateOf("request_bytes"))}/s`],
    ["responses", `${byteText(rateOf("response_bytes"))}/s`],
    ["messages in", `${rateText(rateOf("messages_in"))}/s`],
    ["messages out", `${rateText(rateOf("messages_out"))}/s`],
  ];
  const statuses = [...method.calls].sort(([, a], [, b]) => b - a).map(([status, count]) => element(
      "tr", {class: status === "OK" ? undefined : "bad"}, element("th", {scope: "row"}, clean(status)),
      element("td", {class: "number"}, wholeText(count)),
      element("td", {class: "number"}, `${rateText(row.statusRate(status))}/s`)));
  node.replaceChildren(element(
      "div", {class: "details"},
      element("figure", {},
              drawLatencies(latencies, {width: 560, height: 120, bars: 70, labels: true}),
              element("figcaption", {}, latencies.recent ? "Last 10 s: " : "Since start: ",
                      latencies.count === 0 ? "no calls" : quantilesText(latencies), ".")),
      element("table", {class: "statuses", "aria-label": "calls by status"}, ...statuses),
      listFacts(element("dl"), facts)));
}

function listFacts(list, facts) {
  list.replaceChildren(...facts.map(
      ([name, value]) => element("div", {}, element("dt", {}, name), element("dd", {}, value))));
  return list;
}

class Endpoints {
  constructor() {
    this.table = new Table({
      id: "endpoints", title: "Servers and clients", sortBy: "rate",
      columns: [
        {name: "address", label: "address", show: ({told}) => told.address,
         sort: ({told}) => told.address},
        {name: "kind", label: "side", show: ({told}) => told.draining ? "server, draining" : told.kind,
         sort: ({told}) => told.kind},
        {name: "worker", label: "worker", number: true, show: ({told}) => String(told.worker),
         sort: ({told}) => -told.worker},
        rateColumn("rate", "requests/s"), rateColumn("errors", "errors/s"),
        {name: "in-flight", label: "in flight", number: true,
         show: ({told}) => wholeText(inFlightOf(told)), sort: ({told}) => inFlightOf(told)},
        {name: "sessions", label: "sessions", number: true,
         show: ({told}) => wholeText(told.sessions_total), sort: ({told}) => told.sessions_total},
      ],
    });
    this.node = this.table.node;
  }

  show(history) {
    const {endpoints} = history.samples.at(-1);
    this.node.hidden = endpoints.size === 0;
    this.table.show([...endpoints].map(([key, told]) => {
      const rates = (number) => ratesOf(history, (sample) => {
        const then = sample.endpoints.get(key);
        return then ? number(then) : 0;
      });
      return [key, {told, rate: rates(requestsOfEndpoint), errors: rates(errorsOfEndpoint)}];
    }));
  }
}

// Who the peer has proved to be, if it had to, and where it is.
const peerOf = ({identity, peer}) => (identity ? `${identity} (${peer})` : peer);

class Sessions {
  constructor() {
    const number = (name, label, show) => ({
      name, label, number: true, show: ({told}) => optionalText(told[name], show),
      sort: ({told}) => told[name] ?? -1,
    });
    const text = (name, label) => ({
      name, label, show: ({told}) => told[name], sort: ({told}) => clean(told[name]),
    });
    this.table = new Table({
      id: "sessions", title: "Sessions", sortBy: "rate", empty: "No session is open.",
      columns: [
        {name: "peer", label: "peer", show: ({told}) => peerOf(told), sort: ({told}) => peerOf(told)},
        text("kind", "side"), text("state", "state"),
        rateColumn("rate", "requests/s"),
        number("requests", "requests"), number("in_flight", "in flight"),
        number("srtt_us", "round trip", (us) => timeText(us * 1000)),
        number("retransmissions", "sent again"), number("drops", "refused"),
        number("credits", "credits"),
        number("window", "window", digits), number("age_ms", "age", durationText),
      ],
    });
    this.node = this.table.node;
  }

  show(history) {
    const {sessions, endpoints} = history.samples.at(-1);
    this.node.hidden = endpoints.size === 0;
    this.table.show([...sessions].map(([key, told]) => [key, {
      told,
      rate: ratesOf(history, (sample) => numberOf(sample.sessions.get(key)?.requests)),
    }]));
  }
}

class Ports {
  constructor() {
    const lost = ({told}) => numberOf(told.send_failed) + numberOf(told.receive_dropped) +
        numberOf(told.receive_malformed);
    this.table = new Table({
      id: "ports", title: "Ports", sortBy: "received",
      note: "What goes through the transport. Lost: sent in vain, dropped for want of buffers, malformed.",
      columns: [
        {name: "address", label: "address", show: ({told}) => told.address,
         sort: ({told}) => told.address},
        {name: "transport", label: "transport", show: ({told}) => told.transport,
         sort: ({told}) => told.transport},
        {name: "worker", label: "worker", number: true, show: ({told}) => String(told.worker),
         sort: ({told}) => -told.worker},
        rateColumn("received", "received/s"), rateColumn("received_bytes", "in, B/s", byteText),
        rateColumn("sent", "sent/s"), rateColumn("sent_bytes", "out, B/s", byteText),
        rateColumn("copied_bytes", "copied, B/s", byteText),
        rateColumn("send_blocked", "blocked/s"),
        {name: "lost", label: "lost", number: true, show: (row) => wholeText(lost(row)), sort: lost},
      ],
    });
    this.node = this.table.node;
  }

  show(history) {
    const {ports} = history.samples.at(-1);
    this.node.hidden = ports.size === 0;
    this.table.show([...ports].map(([key, told]) => {
      const row = {told};
      for (const name of ["received", "received_bytes", "sent", "sent_bytes", "copied_bytes",
                          "send_blocked"]) {
        row[name] = ratesOf(history, (sample) => numberOf(sample.ports.get(key)?.[name]));
      }
      return [key, row];
    }));
  }
}
