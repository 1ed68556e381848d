// What is known of the component that is selected in the graph.

import { html } from "../vendor/ui.js";
import { ago, bytes, count, rate } from "./format.js";
import { rateOf, stateOf, totalOf } from "./graph.js";
import { Icon, Spark, State } from "./parts.js";
import { about, beat, go, traffic } from "./state.js";

/** The sum of several histories. @param {string[]} counters @param {string} what */
function history(counters, what) {
  const all = counters.map((counter) => traffic.series(`${counter} ${what}`));
  const length = Math.max(0, ...all.map((one) => one.length));
  return Array.from({ length }, (_, i) => {
    const values = all.map((one) => one[one.length - length + i]).filter((value) => value !== undefined);
    return values.length > 0 ? values.reduce((sum, one) => sum + one, 0) : undefined;
  });
}

/** @param {{title: string, edges: any[], graph: any, end: string}} props */
function Side({ title, edges, graph, end }) {
  if (edges.length === 0) return null;
  const counters = edges.flatMap((edge) => edge.counters);
  const name = (key) => graph.nodes.find((node) => node.key === key)?.id ?? key;
  return html`<div class="side">
    <h3>${title}</h3>
    <p class="big">${rate(rateOf(counters, "items") ?? 0)}<small>/s, ${bytes(rateOf(counters, "bytes") ?? 0)}/s</small></p>
    <${Spark} values=${history(counters, "items")} label=${`${title}, items per second, 5 minutes`} show=${(value) => `${rate(value)}/s`} />
    <ul class="plain">${edges.map((edge) => html`<li key=${edge.key}>
      <span>${name(edge[end])}${edge.ends !== "inner" && graph.pipelines.length > 1 ? html` <span class="muted">${edge.pipeline}</span>` : ""}</span><span class="number">${rate(rateOf(edge.counters, "items") ?? 0)}/s</span><span class="number muted">${count(totalOf(edge.counters, "items"))}</span></li>`)}</ul>
  </div>`;
}

/** The pipelines in which a component can be tapped. @param {any} node @param {any} graph @returns {string[]} */
function pipelinesOf(node, graph) {
  if (node.kind === "pipeline") return [];
  if (node.pipeline) return [node.pipeline];
  return graph.pipelines.filter((id) => graph.edges.some((edge) => edge.pipeline === id && (edge.from === node.key || edge.to === node.key)));
}

/** @param {{graph: import("./graphmodel.js").Graph, selected: string, onClose: () => void}} props */
export function Detail({ graph, selected, onClose }) {
  void beat.value;
  const node = graph.nodes.find((node) => node.key === selected);
  if (!node) return null;
  const part = stateOf(node);
  const from = graph.edges.filter((edge) => edge.to === node.key);
  const to = graph.edges.filter((edge) => edge.from === node.key);
  const removed = ["filtered", "lost", "rejected"].map((what) => {
    const keys = (node.pipeline ? [node.pipeline] : graph.pipelines).map((pipeline) => `${pipeline} | ${node.kind} ${node.id} ${what}`);
    return Math.max(0, ...keys.map((key) => traffic.last(key)));
  });
  const facts = [
    [removed[0], "left out by decision"],
    [removed[1], node.kind === "exporter" ? "given up or without room" : "refused"],
    [removed[2], "requests turned away unread"],
  ].filter(([value]) => value > 0);
  return html`<div class="detail" role="region" aria-label=${`${node.kind} ${node.id}`}>
    <header><span class="muted">${node.kind}</span> <strong>${node.id}</strong>
      ${part.state !== "unknown" && html`<${State} state=${part.state} />`}
      ${about.value?.level === "data" && pipelinesOf(node, graph).map((pipeline, _, all) => html`<button type="button" class="quiet" key=${pipeline}
        onClick=${() => go("tap", { pipeline, component: `${node.kind} ${node.id}` })}><${Icon} name="tap" />${all.length > 1 ? `Tap ${pipeline}` : "Tap here"}</button>`)}
      <button type="button" class="quiet icon-only" aria-label="Close" onClick=${onClose}><${Icon} name="close" /></button></header>
    <div class="sides">
      <${Side} title="In" edges=${from} graph=${graph} end="from" />
      <${Side} title="Out" edges=${to} graph=${graph} end="to" />
      <div class="side facts">
        ${node.kind === "exporter" && html`<h3>Backend</h3><p class="wrap">${part.destination}</p>
          <p class="muted">last took data ${ago(part.last_success_age_ms)}</p>
          <p><button type="button" class="link" onClick=${() => go("backends", { find: node.id })}>All about this backend</button></p>`}
        ${part.last_error && html`<p class="trouble">${part.last_error}<br /><span class="muted">${ago(part.last_error_age_ms)}</span></p>`}
        ${facts.length > 0 && html`<h3>Not passed on, since the start</h3>
          <ul class="plain">${facts.map(([value, words]) => html`<li key=${words}><span>${words}</span>
          <span class="number">${count(value)}</span></li>`)}</ul>`}
        ${node.kind !== "exporter" && facts.length === 0 && html`<p class="muted">Everything was passed on since the start.</p>`}
      </div>
    </div>
  </div>`;
}
