// The live graph: boxes are buttons in the order of the pipelines, edges are drawn below them.

import { html, useEffect, useMemo, useRef, useState } from "../vendor/ui.js";
import { ago, bytes, count, items, rate } from "./format.js";
import { isRepeated, layout } from "./layout.js";
import { Icon } from "./parts.js";
import { about, beat, health, traffic } from "./state.js";

/**
 * The rate of counters of the API, added up; undefined before there are two readings.
 * @param {string[]} counters @param {string} what `items` or `bytes`
 */
export function rateOf(counters, what) {
  const rates = counters.map((counter) => traffic.rate(`${counter} ${what}`));
  return rates.some((one) => one !== undefined) ? rates.reduce((sum, one) => sum + (one ?? 0), 0) : undefined;
}

/** The sum of counters since the start. @param {string[]} counters @param {string} what */
export function totalOf(counters, what) {
  return counters.reduce((sum, counter) => sum + traffic.last(`${counter} ${what}`), 0);
}

/**
 * Numbers of a component that are no traffic. A receiver and an exporter count by signal: of its
 * pipelines one for each signal is asked.
 * @param {import("./graphmodel.js").Node} node @param {string[]} pipelines @param {string} what
 */
export function lostOf(node, pipelines, what) {
  const seen = new Set();
  let lost = 0;
  for (const pipeline of node.pipeline ? [node.pipeline] : pipelines) {
    const signal = pipeline.split("/")[0];
    const key = `${pipeline} | ${node.kind} ${node.id} ${what}`;
    if ((!node.pipeline && seen.has(signal)) || !traffic.values.has(key)) continue;
    seen.add(signal);
    lost += traffic.rate(key, 15000) ?? 0;
  }
  return lost;
}

/** The worst state of the parts of a component, and the words of its last error. @param {any} node */
export function stateOf(node) {
  const all = (health.value?.components ?? []).filter((one) => one.kind === node.kind && one.id === node.id && (!node.pipeline || one.pipeline === node.pipeline));
  const order = ["error", "stopped", "ok", "idle"];
  all.sort((a, b) => order.indexOf(a.state) - order.indexOf(b.state));
  return all[0] ?? { state: "unknown" };
}

/** The width of an element as it changes. */
function useWidth() {
  const ref = useRef(null);
  const [width, setWidth] = useState(0);
  useEffect(() => {
    const observer = new ResizeObserver(([entry]) => setWidth(Math.floor(entry.contentRect.width)));
    observer.observe(ref.current);
    return () => observer.disconnect();
  }, []);
  return [ref, width];
}

/**
 * @param {{graph: import("./graphmodel.js").Graph, selected: string, find: string, onSelect: (key: string) => void}} props
 */
export function Graph({ graph, selected, find, onSelect }) {
  const [ref, width] = useWidth();
  const shape = JSON.stringify([graph.pipelines, graph.nodes, graph.edges]);
  const placed = useMemo(() => layout(graph, width - 4), [shape, width]);
  void beat.value;
  const lines = new Map(placed.lines.map((line) => [line.key, line]));
  const boxes = new Map(placed.boxes.map((box) => [box.key, box]));
  const near = useMemo(() => reach(graph, selected), [shape, selected]);
  const sought = find.trim().toLowerCase();
  // From left to right, as data flows: the order in which keys and readers come by.
  const place = (node) => boxes.get(node.key) ?? { x: 0, y: 0 };
  const nodes = graph.nodes.toSorted((a, b) => place(a).x - place(b).x || place(a).y - place(b).y);
  const isFaint = (node) => (near && !near.has(node.key)) || (sought !== "" && !node.id.toLowerCase().includes(sought));
  return html`<div class="graph" ref=${ref} tabindex="-1">
    <div class="graph-inner" style=${{ width: `${placed.width}px`, height: `${placed.height}px` }}>
      <svg class="edges" width=${placed.width} height=${placed.height} aria-hidden="true">
        ${graph.edges.map((edge) => html`<${Line} key=${edge.key} edge=${edge} line=${lines.get(edge.key)}
          isFaint=${near && !near.has(edge.key)} isAlone=${isRepeated(graph, edge)} graph=${graph} />`)}
      </svg>
      ${nodes.map((node) => html`<${Box} key=${node.key} node=${node} box=${boxes.get(node.key)} graph=${graph}
        isFaint=${isFaint(node)} isSelected=${node.key === selected} onSelect=${onSelect} />`)}
    </div>
  </div>`;
}

/**
 * What is before and behind a component; undefined if none is selected.
 * @param {import("./graphmodel.js").Graph} graph @param {string} selected
 */
function reach(graph, selected) {
  if (!selected || !graph.nodes.some((node) => node.key === selected)) return undefined;
  // Keys of nodes and of edges.
  const found = new Set([selected]);
  for (const [from, to] of [["from", "to"], ["to", "from"]]) {
    const todo = [[selected, undefined]];
    const seen = new Set();
    while (todo.length > 0) {
      const [key, pipeline] = todo.pop();
      for (const edge of graph.edges.filter((edge) => edge[from] === key && !seen.has(edge.key))) {
        // Through a shared component only its own pipelines belong to the way.
        if (pipeline && edge.pipeline !== pipeline && !key.startsWith("connector:")) continue;
        seen.add(edge.key);
        found.add(edge.key);
        found.add(edge[to]);
        todo.push([edge[to], edge.pipeline]);
      }
    }
  }
  return found;
}

/** @param {any} props */
function Line({ edge, line, isFaint, isAlone, graph }) {
  if (!line) return null;
  const flow = rateOf(edge.counters, "items");
  const size = rateOf(edge.counters, "bytes");
  const total = totalOf(edge.counters, "items");
  const sink = graph.nodes.find((node) => node.key === edge.to);
  const source = graph.nodes.find((node) => node.key === edge.from);
  const lost = edge.ends === "out" && sink?.kind === "exporter" ? lostOf(sink, [edge.pipeline], "lost") : edge.ends === "in" && source?.kind === "receiver" ? lostOf(source, [edge.pipeline], "lost") : 0;
  const isFailing = edge.ends === "out" && stateOf(sink ?? { kind: "", id: "" }).state === "error";
  const thickness = total === 0 ? 1.25 : 1.5 + Math.min(4, Math.log10(1 + (size ?? 0)) * 0.62);
  const kind = [edge.pipeline.split("/")[0], total === 0 ? "never" : "", isFailing ? "failing" : "", isFaint ? "faint" : ""].join(" ");
  const anchor = line.align;
  return html`<g class=${`edge ${kind}`}>
    <path d=${line.path} style=${{ strokeWidth: `${thickness.toFixed(2)}px` }} />
    ${isFailing && html`<path class="cut" d=${`M${line.x - 3} ${line.y - 4}l7 8m0 -8l-7 8`} />`}
    ${!isAlone && html`<text x=${line.x} y=${line.y - 7} text-anchor=${anchor}
      class="edge-rate">${total === 0 ? "never" : flow === undefined ? count(total) : `${rate(flow)}/s`}</text>
      ${total > 0 && html`<text x=${line.x} y=${line.y + 15} text-anchor=${anchor}
        class=${lost > 0 ? "edge-lost" : "edge-size"}>${lost > 0 ? `✕ ${rate(lost)}/s lost` : size === undefined ? "" : `${bytes(size)}/s`}</text>`}`}
  </g>`;
}

const KINDS = { receiver: "Receiver", processor: "Processor", exporter: "Exporter", connector: "Connector", pipeline: "Pipeline" };

/** @param {any} props */
function Box({ node, box, graph, isFaint, isSelected, onSelect }) {
  if (!box) return null;
  const part = stateOf(node);
  const words = lineOf(node, part, graph);
  const state = node.kind === "exporter" ? part.state : "";
  const signal = node.kind === "pipeline" ? node.id.split("/")[0] : "";
  const style = { left: `${box.x}px`, top: `${box.y}px`, width: `${box.width}px`, height: `${box.height}px` };
  return html`<button type="button"
    class=${`box ${node.kind} ${state} ${signal} ${isFaint ? "faint" : ""} ${box.height > 70 ? "tall" : ""}`} style=${style}
    aria-pressed=${isSelected} title=${`${KINDS[node.kind]} ${node.id}`} onClick=${() => onSelect(isSelected ? "" : node.key)}>
    <span class="box-id"><span class="hidden">${KINDS[node.kind]} </span>${node.id}</span>
    ${words && html`<span class="box-words">${words}</span>`}
  </button>`;
}

/** The second line of a box. @param {any} node @param {any} part @param {any} graph */
function lineOf(node, part, graph) {
  if (node.kind === "pipeline") return "";
  if (node.kind === "exporter") {
    if (part.state === "error") return `failing ${ago(part.last_error_age_ms)}`;
    if (part.state === "ok") return `ok, ${ago(part.last_success_age_ms)}`;
    return part.state === "idle" ? "nothing sent yet" : part.state;
  }
  if (node.kind === "processor") {
    const filtered = lostOf(node, graph.pipelines, "filtered");
    const refused = lostOf(node, graph.pipelines, "lost");
    if (refused > 0) return `✕ ${rate(refused)}/s refused`;
    return filtered > 0 ? `−${rate(filtered)} ${items(node.pipeline)}/s` : "";
  }
  if (node.kind === "receiver") {
    const rejected = lostOf(node, graph.pipelines, "rejected");
    if (rejected > 0) return `✕ ${rate(rejected)} requests/s rejected`;
    const ports = (about.value?.configuration.ports ?? []).filter((port) => port.component === node.id);
    const port = (one) => `${one.protocol} ${one.address.slice(one.address.lastIndexOf(":"))}`;
    return ports.length > 0 ? ports.map(port).join("  ") : "";
  }
  return "";
}

/** The same as a table, for those who do not see the drawing. @param {{graph: any}} props */
export function GraphTable({ graph }) {
  void beat.value;
  const name = (key) => {
    const node = graph.nodes.find((node) => node.key === key);
    return node ? (node.kind === "pipeline" ? node.id : `${node.kind} ${node.id}`) : key;
  };
  return html`<div class="scroll" tabindex="0" role="region" aria-label="Traffic by edge"><table class="rows">
    <thead><tr><th scope="col">Pipeline</th><th scope="col">From</th><th scope="col">To</th><th scope="col" class="number">Items/s</th>
      <th scope="col" class="number">Bytes/s</th><th scope="col" class="number">Items</th>
      <th scope="col" class="number">Lost/s</th></tr></thead>
    <tbody>${graph.edges.map((edge) => {
      const end = graph.nodes.find((node) => node.key === (edge.ends === "in" ? edge.from : edge.to));
      const lost = end && edge.ends !== "inner" ? lostOf(end, [edge.pipeline], "lost") : 0;
      return html`<tr key=${edge.key}><td>${edge.pipeline}</td><td>${name(edge.from)}</td><td>${name(edge.to)}</td>
        <td class="number">${rate(rateOf(edge.counters, "items") ?? 0)}</td>
        <td class="number">${bytes(rateOf(edge.counters, "bytes") ?? 0)}</td>
        <td class="number">${count(totalOf(edge.counters, "items"))}</td>
        <td class=${lost > 0 ? "number bad" : "number"}>${rate(lost)}</td></tr>`;
    })}</tbody></table></div>`;
}

export { Icon };
