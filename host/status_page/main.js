// SPDX-License-Identifier: Apache-2.0
//
// Asks the program once a second, and shows what it says or that it says nothing.

const INTERVAL_MS = 1000;
const ANSWER_MS = 3000;  // a program that says nothing for so long is gone
const SESSIONS_MAX = 100;  // of each worker's servers and clients

const PAGES = new Map([["rpc", `/rpc?limit=${SESSIONS_MAX}`], ["ports", "/ports"], ["net", "/net"],
                       ["router", `/router?limit=${SESSIONS_MAX}`], ["tcp", "/tcp?limit=50"]]);

const byId = (id) => document.getElementById(id);

const history_ = new History();
const sections = [new Tiles(), new Methods(), new Endpoints(), new Sessions(), new RouterLinks(),
                  new Routers(), new RoutedServers(), new TcpWorkers(), new TcpListeners(),
                  new TcpConnections(), new Ports(), new NetworkStacks(), new Workers(),
                  new Counters()];
let paused = false;
let lastHeard = null;  // when the program last answered
let goneSince = null;

async function fetchJson(path, signal) {
  const reply = await fetch(path, {signal, cache: "no-store"});
  if (!reply.ok) throw new Error(`${path}: ${reply.status}`);
  return reply.json();
}

async function ask() {
  const signal = AbortSignal.timeout(ANSWER_MS);
  const host = await fetchJson("/host", signal);
  const names = listOf(host.pages).filter((name) => PAGES.has(name));
  const answers = await Promise.all(names.map((name) => fetchJson(PAGES.get(name), signal)));
  const told = Object.fromEntries(names.map((name, i) => [name, answers[i]]));
  return new Sample(performance.now(), {host, ...told});
}

function show(sample) {
  history_.add(sample);
  const {host} = sample;
  const name = clean(host.program);
  setText(byId("program"), name);
  setText(byId("state"), host.state);
  byId("state").dataset.state = host.state;
  setText(byId("alert"), "");
  document.title = `${name} – weft`;
  document.body.classList.remove("gone");
  showFacts(host);
  const notes = [...sample.silent];
  const shown = sample.endpoints.size + sample.routers.length + sample.tcp.size;
  if (shown === 0 && host.state === "running") {
    notes.push("This program shows no RPC server and no client.");
  }
  setText(byId("notes"), notes.join(" "));
  for (const section of sections) section.show(history_);
}

function showFacts(host) {
  const list = byId("facts");
  const facts = [["transport", clean(host.transport)], ["workers", wholeText(host.workers)],
                 ["up for", durationText(host.uptime_ms)], ["process", String(host.pid)],
                 ["at", location.host]];
  if (list.children.length === 0) listFacts(list, facts);
  facts.forEach(([, value], i) => setText(list.children[i].lastElementChild, value));
}

function showGone() {
  const name = byId("program").textContent;
  goneSince ??= new Date();
  setText(byId("state"), "gone");
  byId("state").dataset.state = "gone";
  document.title = `gone: ${name} – weft`;
  document.body.classList.add("gone");
  const since = (lastHeard ?? goneSince).toLocaleTimeString();
  setText(byId("alert"),
          lastHeard === null ? `The program does not answer at ${location.host}.` :
              `The program is gone: nothing has answered at ${location.host} since ${since}. ` +
              "What stands below is the last that it said.");
}

async function turn() {
  try {
    const sample = await ask();
    lastHeard = new Date();
    goneSince = null;
    if (!paused) show(sample);
  } catch (error) {
    console.debug(error);
    showGone();
  }
}

async function run() {
  for (;;) {
    const begin = performance.now();
    // A page that nobody sees asks nothing.
    if (!paused && !document.hidden) await turn();
    const left = INTERVAL_MS - (performance.now() - begin);
    await new Promise((resolve) => setTimeout(resolve, Math.max(left, 100)));
  }
}

byId("pause").addEventListener("click", () => {
  paused = !paused;
  byId("pause").setAttribute("aria-pressed", String(paused));
  setText(byId("pause"), paused ? "Go on" : "Pause");
  document.body.classList.toggle("paused", paused);
});

setText(byId("command"), `weft rpc top ${location.host}`);
byId("main").append(...sections.map((section) => section.node));
for (const section of sections) section.node.hidden = true;
run();
