// SPDX-License-Identifier: Apache-2.0
//
// What the program said at some moment, as the other scripts want it, and what follows from two
// such samples. Nothing here touches the page.

const HISTORY_MS = 60_000;
const LATENCY_WINDOW_MS = 10_000;  // the latencies shown are those of calls that ended in it

const listOf = (value) => (Array.isArray(value) ? value : []);
const numberOf = (value) => (Number.isFinite(value) ? value : 0);

function addNumbers(into, from) {
  for (const [name, value] of Object.entries(from ?? {})) {
    into.set(name, (into.get(name) ?? 0) + numberOf(value));
  }
}

// Calls of one method on one side, of all workers.
class Method {
  constructor(name, side) {
    this.name = name;
    this.side = side;
    this.calls = new Map();  // by status
    this.inFlight = 0;
    this.numbers = new Map();  // bytes and messages
    this.buckets = new Map();  // calls by the greatest latency in ns that their bucket takes
  }

  add(told) {
    addNumbers(this.calls, told.calls);
    this.inFlight += numberOf(told.in_flight);
    const {request_bytes, response_bytes, messages_in, messages_out} = told;
    addNumbers(this.numbers, {request_bytes, response_bytes, messages_in, messages_out});
    for (const [upperNs, count] of listOf(told.latency?.buckets)) {
      this.buckets.set(upperNs, (this.buckets.get(upperNs) ?? 0) + count);
    }
  }

  get total() {
    let total = 0;
    for (const count of this.calls.values()) total += count;
    return total;
  }

  get errors() {
    return this.total - (this.calls.get("OK") ?? 0);
  }
}

// `told`: the pages by name, parsed; those that the program does not have are missing.
class Sample {
  constructor(atMs, told) {
    this.atMs = atMs;
    this.host = told.host;
    this.silent = [];           // what workers are said not to have answered
    this.methods = new Map();   // Method by side and name
    this.endpoints = new Map(); // servers and clients, by worker and place
    this.sessions = new Map();
    this.links = new Map();     // of servers with the routers that they tell of ended requests
    this.counters = new Map();  // "server.requests": number, of all workers
    this.ports = new Map();
    this.loops = new Map();
    this.routers = [];          // one of each worker
    this.routed = new Map();    // servers of routers, by worker and address
    this.stacks = [];           // of weft's own network stack, one of each worker
    this.tcp = new Map();       // of weft's own TCP, by worker
    for (const worker of listOf(told.rpc)) this.#addRpc(worker);
    for (const worker of listOf(told.ports)) this.#addPorts(worker);
    for (const worker of listOf(told.router)) this.#addRouter(worker);
    for (const loop of listOf(told.host.loops)) this.loops.set(String(loop.worker), loop);
    for (const stack of listOf(told.net)) {
      if (!this.#isSilent(stack)) this.#addStack(stack);
    }
    for (const worker of listOf(told.tcp)) {
      if (!this.#isSilent(worker) && worker.stats) this.#addTcp(worker);
    }
  }

  #isSilent(worker) {
    if (worker.error === undefined) return false;
    const line = `Worker ${worker.worker} ${worker.error}.`;
    if (!this.silent.includes(line)) this.silent.push(line);
    return true;
  }

  #addRpc(worker) {
    if (this.#isSilent(worker)) return;
    listOf(worker.items).forEach((item, place) => {
      const {kind} = item;
      for (const told of listOf(item.methods)) this.#addMethod(told);
      addNumbers(this.counters, this.#named(`${kind}.`, item.stats));
      addNumbers(this.counters, this.#named(`${kind}.drops.`, item.drops));
      if (kind !== "server" && kind !== "client") return;
      const key = `${worker.worker}/${place}`;
      this.endpoints.set(key, {...item, worker: worker.worker});
      for (const router of listOf(item.routers)) {
        this.links.set(`${key}/${router.control}`,
                       {...router, server: item.address, worker: worker.worker});
      }
      for (const session of listOf(item.sessions)) {
        const at = `${key}/${session.session}/${session.peer}`;
        this.sessions.set(at, {...session, kind, worker: worker.worker});
      }
    });
  }

  #addMethod(told) {
    const key = `${told.side}/${told.method}`;
    if (!this.methods.has(key)) this.methods.set(key, new Method(told.method, told.side));
    this.methods.get(key).add(told);
  }

  #addPorts(worker) {
    if (this.#isSilent(worker)) return;
    listOf(worker.items).forEach((port, place) => {
      this.ports.set(`${worker.worker}/${place}`, {...port, worker: worker.worker});
    });
  }

  #addRouter(worker) {
    if (this.#isSilent(worker)) return;
    for (const item of listOf(worker.items)) {
      this.routers.push({...item, worker: worker.worker});
      addNumbers(this.counters, this.#named("router.", item.stats));
      for (const server of listOf(item.servers)) {
        this.routed.set(`${worker.worker}/${server.address}`, {...server, worker: worker.worker});
      }
    }
  }

  #addStack(stack) {
    this.stacks.push(stack);
    for (const [part, stats] of Object.entries(stack.stats ?? {})) {
      addNumbers(this.counters, this.#named(`net.${part}.`, stats));
    }
  }

  #addTcp(worker) {
    this.tcp.set(String(worker.worker), worker);
    addNumbers(this.counters, this.#named("tcp.", worker.stats));
  }

  #named(prefix, numbers) {
    return Object.fromEntries(
        Object.entries(numbers ?? {}).map(([name, value]) => [prefix + name, value]));
  }
}

// The samples of the last minute of one run of the program.
class History {
  constructor() {
    this.samples = [];
  }

  add(sample) {
    const last = this.samples.at(-1);
    const restarted = last && (last.host.pid !== sample.host.pid ||
                               last.host.uptime_ms > sample.host.uptime_ms);
    if (restarted) this.samples = [];
    this.samples.push(sample);
    this.samples = this.samples.filter((old) => sample.atMs - old.atMs <= HISTORY_MS);
  }

  // How much a second of what `count(sample)` says since start, between the last two samples.
  rate(count) {
    return this.#rateBetween(this.samples.at(-2), this.samples.at(-1), count);
  }

  // The same over the last minute: what to sort by, so that rows keep their places.
  average(count) {
    return this.#rateBetween(this.samples[0], this.samples.at(-1), count);
  }

  // The same for each pair of samples of the last minute, oldest first.
  rates(count) {
    return this.samples.slice(1).map((now, i) => this.#rateBetween(this.samples[i], now, count));
  }

  #rateBetween(before, now, count) {
    if (before === undefined || before === now) return 0;
    const seconds = (now.atMs - before.atMs) / 1000;
    // What counts anew, a server that came back in the same program, has no rate for once.
    return Math.max(0, (count(now) - count(before)) / seconds);
  }

  // The latencies of a method: of the last seconds or, when no call has ended in them, since start.
  latencies(key) {
    const now = this.samples.at(-1);
    const begin = this.samples.find((old) => now.atMs - old.atMs <= LATENCY_WINDOW_MS + 500);
    const all = now.methods.get(key).buckets;
    const before = begin === now ? new Map() : begin.methods.get(key)?.buckets ?? new Map();
    const recent = [...all].map(([upperNs, count]) => [upperNs, count - (before.get(upperNs) ?? 0)]);
    const latencies = new Latencies(recent, true);
    return latencies.count > 0 ? latencies : new Latencies([...all], false);
  }
}

class Latencies {
  // `buckets`: [upper bound in ns, calls] in any order. `recent`: not of all calls since start.
  constructor(buckets, recent) {
    this.buckets = buckets.filter(([, count]) => count > 0).sort(([a], [b]) => a - b);
    this.count = this.buckets.reduce((sum, [, count]) => sum + count, 0);
    this.recent = recent;
  }

  // What the `part` (0 to 1) of calls do not exceed, by nearest rank, in ns; undefined without
  // calls.
  quantile(part) {
    let left = Math.max(1, Math.ceil(part * this.count));
    for (const [upperNs, count] of this.buckets) {
      left -= count;
      if (left <= 0) return upperNs;
    }
    return undefined;
  }
}
