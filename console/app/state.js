// What all pages share: the place, the readings, the connection, the settings of this browser.

import { batch, computed, effect, signal } from "../vendor/ui.js";
import { get, post, Refused, stream } from "./api.js";
import { counterOf } from "./graphmodel.js";
import { Meter } from "./rates.js";
import { format, parse } from "./router.js";

/**
 * The pages, in the order of their keys. A page is a file in `pages/` and a row here and in
 * `main.js`; `topics` are those of the stream that it needs.
 */
export const PAGES = [
  { id: "overview", path: "/", name: "Overview", icon: "graph", topics: ["topology", "problems", "senders", "where-stopped"] },
  { id: "tap", path: "/tap", name: "Tap", icon: "tap", topics: [] },
  { id: "traces", path: "/traces", name: "Traces", icon: "tree", topics: [] },
  { id: "boards", path: "/boards", name: "Boards", icon: "chart", topics: [] },
  { id: "backends", path: "/backends", name: "Backends", icon: "out", topics: ["backends"] },
  { id: "budget", path: "/budget", name: "Budget", icon: "meter", topics: ["budget", "topology"] },
  { id: "config", path: "/config", name: "Config", icon: "file", topics: [] },
];

/** Topics that every page needs. */
const ALWAYS = ["about", "health"];

/** @type {{value: import("./router.js").Place}} */
export const place = signal(parse(location.pathname, location.search, PAGES));
export const about = signal(undefined);
export const health = signal(undefined);
export const topology = signal(undefined);
export const problems = signal(undefined);
export const budget = signal(undefined);
export const backends = signal(undefined);
export const senders = signal(undefined);
export const ladders = signal(undefined);

const READINGS = { about, health, topology, problems, budget, backends, senders, "where-stopped": ladders };

/** `starting`, `live`, `paused`, `lost` or `login`. */
export const link = signal("starting");
/** Why there is no connection. */
export const trouble = signal(undefined);
/** Readings that came too fast for this page. */
export const missed = signal(0);
/** Whether skep was another process before. */
export const hasRestarted = signal(false);
/** Counts readings, for what is computed from the meters, which are no signals. */
export const beat = signal(0);

/** Edges: `... items`, `... bytes`. Nodes: `... lost`, `... filtered`, `... rejected`. */
export const traffic = new Meter();
/** Exporters: `ID SIGNAL sent` and so on. */
export const sending = new Meter();
/** Levels of the process. */
export const levels = new Meter();

export const isPaused = signal(false);

/** Whether the browser keeps this page for its back button: then it holds no connection. */
export const isAway = signal(false);
addEventListener("pagehide", () => (isAway.value = true));
addEventListener("pageshow", () => (isAway.value = false));

/** @param {string} page @param {Record<string, string>} [query] @param {{replace?: boolean}} [how] */
export function go(page, query = {}, how = {}) {
  const url = format({ page, query }, PAGES);
  if (url !== location.pathname + location.search) history[how.replace ? "replaceState" : "pushState"](null, "", url);
  place.value = parse(location.pathname, location.search, PAGES);
}

/** Changes the query of this page. @param {Record<string, string>} changes */
export function ask(changes) {
  const query = { ...place.value.query, ...changes };
  go(place.value.page, query, { replace: true });
}

addEventListener("popstate", () => {
  place.value = parse(location.pathname, location.search, PAGES);
});

/** @param {string} topic @param {any} data */
function take(topic, data) {
  if (topic === "missed") {
    missed.value += data.readings;
    return;
  }
  if (topic === "about" && about.value && about.value.instance !== data.instance) {
    for (const meter of [traffic, sending, levels]) meter.clear();
    hasRestarted.value = true;
  }
  if (READINGS[topic]) READINGS[topic].value = data;
  count(topic, data);
  beat.value += 1;
}

/** Adds the counters of a reading to the meters. @param {string} topic @param {any} data */
function count(topic, data) {
  if (topic === "topology") {
    const counters = data.edges.flatMap((edge) => [[`${counterOf(edge)} items`, edge.items], [`${counterOf(edge)} bytes`, edge.bytes]]);
    for (const node of data.nodes) {
      const key = `${node.pipeline} | ${node.kind} ${node.id}`;
      counters.push([`${key} lost`, node.lost_items], [`${key} filtered`, node.filtered_items], [`${key} rejected`, node.rejected_requests]);
    }
    traffic.add(data.read_at_unix_ms, counters);
  } else if (topic === "backends") {
    const rows = data.backends.flatMap((one) => {
      const key = `${one.id} ${one.signal}`;
      const lost = one.failed_items + one.rejected_items + one.queue_full_items;
      const buckets = one.attempt_counts.map((value, i) => [`${key} attempts ${i}`, value]);
      return [[`${key} sent`, one.sent_items], [`${key} lost`, lost], [`${key} retries`, one.queue?.retries ?? 0], ...buckets];
    });
    sending.add(Date.now(), rows);
  } else if (topic === "health") {
    levels.add(Date.now(), [["used", data.budget?.used_bytes ?? 0]]);
  } else if (topic === "budget") {
    cpu.add(Date.now(), [["cpu", data.cpu_ms ?? 0]]);
  }
}

/** Milliseconds of CPU. */
export const cpu = new Meter();

/** @param {number} ms */
const sleep = (ms) => new Promise((done) => setTimeout(done, ms));

/** The stream of the present page, opened again when the page or the connection changes. */
export function connect() {
  const topics = computed(() => {
    const page = PAGES.find((page) => page.id === place.value.page);
    return [...ALWAYS, ...(page?.topics ?? [])].join(",");
  });
  const isWanted = computed(() => !isPaused.value && !isAway.value && link.value !== "login");
  /** @type {AbortController | undefined} */
  let current;
  effect(() => {
    const list = topics.value.split(",");
    current?.abort();
    if (!isWanted.value) {
      if (isPaused.peek()) link.value = "paused";
      return;
    }
    current = new AbortController();
    follow(list, current.signal);
  });
}

/** @param {string[]} topics @param {AbortSignal} signal */
async function follow(topics, signal) {
  let pause = 500;
  while (!signal.aborted) {
    let wasOpen = false;
    const onOpen = () => {
      wasOpen = true;
      pause = 500;
      batch(() => {
        link.value = "live";
        trouble.value = undefined;
      });
    };
    try {
      await stream(`events?topics=${topics.join(",")}`, signal, (topic, data) => batch(() => take(topic, data)), onOpen);
    } catch (error) {
      if (signal.aborted) return;
      if (error instanceof Refused && error.status === 401) return askForToken();
      trouble.value = error instanceof Refused ? error : new Refused(0, "the connection to skep broke", "");
    }
    // Connections have an age at which they end. Only if the next one fails, skep is gone.
    if (signal.aborted || wasOpen) continue;
    link.value = "lost";
    await sleep(pause);
    pause = Math.min(pause * 1.6, 4000);
  }
}

function askForToken() {
  batch(() => {
    hasRestarted.value = about.value !== undefined;
    link.value = "login";
  });
}

/** Opens the console with its token. @param {string} token */
export async function login(token) {
  await post("login", { token });
  batch(() => {
    hasRestarted.value = false;
    trouble.value = undefined;
    link.value = "starting";
  });
}

/** Whether this browser may ask already. */
export async function isKnown() {
  try {
    about.value = await get("about");
    return true;
  } catch (error) {
    if (error instanceof Refused && error.status === 401) return false;
    trouble.value = error;
    return true;
  }
}

/** @param {string} name */
function stored(name) {
  try {
    return localStorage.getItem(name) ?? "";
  } catch {
    return "";
  }
}

/** `light`, `dark`, or empty: as the system says. */
export const theme = signal(stored("skep theme"));
/** Whether charts are shown as tables. */
export const asTables = signal(stored("skep tables") === "1");

effect(() => {
  const root = document.documentElement;
  if (theme.value) root.dataset.theme = theme.value;
  else delete root.dataset.theme;
  try {
    localStorage.setItem("skep theme", theme.value);
    localStorage.setItem("skep tables", asTables.value ? "1" : "");
  } catch {
    // A browser may store nothing; then the next visit begins anew.
  }
});
