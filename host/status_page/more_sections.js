// SPDX-License-Identifier: Apache-2.0
//
// The parts of the page that programs without RPC have too: routers, workers, network stack,
// counters.

class Routers {
  constructor() {
    this.table = new Table({
      id: "routers", title: "Router", sortBy: "worker",
      note: "Waits are of requests that had to wait, since start.",
      columns: [
        {name: "address", label: "address", show: ({told}) => clean(told.address),
         sort: ({told}) => told.address},
        {name: "worker", label: "worker", number: true, show: ({told}) => String(told.worker),
         sort: ({told}) => -told.worker},
        {name: "policy", label: "policy", show: ({told}) => clean(told.policy)},
        rateColumn("forwarded", "forwarded/s"),
        rateColumn("drops", "refused/s"),
        {name: "waiting", label: "waiting", number: true,
         show: ({told}) => wholeText(numberOf(told.queue?.length)),
         sort: ({told}) => numberOf(told.queue?.length)},
        {name: "outstanding", label: "at servers", number: true,
         show: ({told}) => wholeText(numberOf(told.outstanding)),
         sort: ({told}) => numberOf(told.outstanding)},
        {name: "p50", label: "wait p50", number: true,
         show: ({told}) => timeText(1000 * numberOf(told.queue?.wait_p50_us))},
        {name: "p99", label: "wait p99", number: true,
         show: ({told}) => timeText(1000 * numberOf(told.queue?.wait_p99_us))},
      ],
    });
    this.node = this.table.node;
  }

  show(history) {
    const {routers} = history.samples.at(-1);
    this.node.hidden = routers.length === 0;
    this.table.show(routers.map((told, place) => {
      const rates = (name) =>
          ratesOf(history, (sample) => numberOf(sample.routers[place]?.stats?.[name]));
      return [`${told.worker}/${place}`,
              {told, forwarded: rates("forwarded"), drops: rates("drops")}];
    }));
  }
}

class RoutedServers {
  constructor() {
    this.table = new Table({
      id: "routed", title: "Servers of the router", sortBy: "address",
      columns: [
        {name: "address", label: "server", show: ({told}) => clean(told.address),
         sort: ({told}) => told.address},
        {name: "worker", label: "worker", number: true, show: ({told}) => String(told.worker),
         sort: ({told}) => -told.worker},
        {name: "state", label: "state", show: ({told}) => clean(told.state),
         sort: ({told}) => told.state},
        {name: "slots", label: "slots", number: true, show: ({told}) => optionalText(told.slots)},
        {name: "outstanding", label: "outstanding", number: true,
         show: ({told}) => wholeText(numberOf(told.outstanding)),
         sort: ({told}) => numberOf(told.outstanding)},
        rateColumn("forwarded", "requests/s"),
        rateColumn("feedbacks", "done/s"),
      ],
    });
    this.node = this.table.node;
  }

  show(history) {
    const {routed} = history.samples.at(-1);
    this.node.hidden = routed.size === 0;
    this.table.show([...routed].map(([key, told]) => {
      const rates = (name) => ratesOf(history, (sample) => numberOf(sample.routed.get(key)?.[name]));
      return [key, {told, forwarded: rates("forwarded"), feedbacks: rates("feedbacks")}];
    }));
  }
}

// Of a server, not of a router.
class RouterLinks {
  constructor() {
    this.table = new Table({
      id: "links", title: "Routers of the servers here", sortBy: "control",
      columns: [
        {name: "control", label: "router", show: ({told}) => clean(told.control),
         sort: ({told}) => told.control},
        {name: "server", label: "server", show: ({told}) => clean(told.server),
         sort: ({told}) => told.server},
        {name: "worker", label: "worker", number: true, show: ({told}) => String(told.worker),
         sort: ({told}) => -told.worker},
        {name: "state", label: "state",
         show: ({told}) => (told.refusal ? `${clean(told.state)}: ${clean(told.refusal)}` :
                                           clean(told.state)),
         sort: ({told}) => told.state},
        {name: "feedback", label: "feedback", show: ({told}) => clean(told.feedback)},
        rateColumn("entries", "entries/s"),
        {name: "silent", label: "last answer", number: true,
         show: ({told}) => optionalText(told.silent_ms, durationText)},
      ],
    });
    this.node = this.table.node;
  }

  show(history) {
    const {links} = history.samples.at(-1);
    this.node.hidden = links.size === 0;
    this.table.show([...links].map(([key, told]) => [key, {
      told, entries: ratesOf(history, (sample) => numberOf(sample.links.get(key)?.entries)),
    }]));
  }
}

class Workers {
  constructor() {
    this.table = new Table({
      id: "workers", title: "Workers", sortBy: "worker",
      note: "Busy: rounds of the event loop that found work, of all.",
      columns: [
        {name: "worker", label: "worker", show: ({told}) => String(told.worker),
         sort: ({told}) => told.worker},
        rateColumn("iterations", "rounds/s"),
        {name: "busy", label: "busy", number: true,
         show: ({busy}) => `${(100 * busy).toFixed(busy < 0.1 ? 1 : 0)}\u202f%`,
         sort: ({busy}) => busy},
        rateColumn("sleeps", "sleeps/s"),
      ],
    });
    this.node = this.table.node;
  }

  show(history) {
    const {loops} = history.samples.at(-1);
    this.node.hidden = loops.size === 0;
    this.table.show([...loops].map(([key, told]) => {
      const rates = (name) => ratesOf(history, (sample) => numberOf(sample.loops.get(key)?.[name]));
      const [iterations, sleeps] = [rates("iterations"), rates("sleeps")];
      const idle = rates("idle_iterations").now;
      return [key, {told, iterations, sleeps, busy: iterations.now > 0 ? 1 - idle / iterations.now : 0}];
    }));
  }
}

class NetworkStacks {
  constructor() {
    this.table = new Table({
      id: "net", title: "Network stack", sortBy: "worker",
      columns: [
        {name: "device", label: "device", show: ({told}) => told.device ?? told.error,
         sort: ({told}) => told.device ?? ""},
        {name: "worker", label: "worker", number: true, show: ({told}) => String(told.worker),
         sort: ({told}) => -told.worker},
        {name: "link", label: "link", show: ({told}) => (told.link_up ? "up" : "down")},
        {name: "addresses", label: "addresses",
         show: ({told}) => listOf(told.addresses).join(", ")},
        {name: "mac", label: "MAC", show: ({told}) => told.mac ?? ""},
        {name: "mtu", label: "MTU", number: true, show: ({told}) => optionalText(told.mtu)},
        {name: "neighbors", label: "neighbours", number: true,
         show: ({told}) => wholeText(listOf(told.neighbors).length)},
      ],
    });
    this.node = this.table.node;
  }

  show(history) {
    const {stacks} = history.samples.at(-1);
    this.node.hidden = stacks.length === 0;
    this.table.show(stacks.map((told) => [String(told.worker), {told}]));
  }
}

// Behind a summary that opens it: there are many.
class Counters {
  constructor() {
    this.zeros = element("input", {type: "checkbox", id: "zeros"});
    this.zeros.addEventListener("change", () => this.table.show(this.#rows()));
    this.rows = [];
    this.table = new Table({
      id: "counters", title: "Counters", sortBy: "name", empty: "All are zero.",
      note: "Of all workers together, since start.",
      columns: [
        {name: "name", label: "counter", show: ({name}) => name, sort: ({name}) => name},
        {name: "value", label: "value", number: true, show: ({value}) => wholeText(value),
         sort: ({value}) => value},
        {name: "rate", label: "a second", number: true, show: ({rate}) => rateText(rate),
         sort: ({rate}) => rate},
      ],
    });
    this.node = element(
        "details", {id: "all-counters"}, element("summary", {}, "All counters"),
        element("p", {}, this.zeros, element("label", {for: "zeros"}, " show those that are zero")),
        this.table.node);
    this.node.addEventListener("toggle", () => this.table.show(this.#rows()));
  }

  show(history) {
    const {counters} = history.samples.at(-1);
    this.node.hidden = counters.size === 0;
    this.rows = [...counters].map(([name, value]) => [name, {
      name, value, rate: history.rate((sample) => sample.counters.get(name) ?? 0),
    }]);
    if (this.node.open) this.table.show(this.#rows());
  }

  #rows() {
    return this.zeros.checked ? this.rows : this.rows.filter(([, {value}]) => value !== 0);
  }
}
