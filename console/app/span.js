// A span in full, beside the waterfall.

import { html, useEffect, useState } from "../vendor/ui.js";
import { get } from "./api.js";
import { asText } from "./filters.js";
import { millis } from "./format.js";
import { Copy, Icon, Trouble } from "./parts.js";
import { go } from "./state.js";
import { MISSING } from "./tree.js";

const STATUS = ["unset", "ok", "error"];

/** @param {{trace: any, tree: import("./tree.js").Tree, row: number, onClose: () => void}} props */
export function Span({ trace, tree, row, onClose }) {
  const [state, set] = useState({ span: undefined, error: undefined });
  const isMissing = (trace.flags[row] & MISSING) !== 0;
  useEffect(() => {
    if (isMissing) return undefined;
    let isOver = false;
    get(`traces/${trace.trace}/spans/${trace.at[row]}`)
      .then((span) => isOver || set({ span, error: undefined }))
      .catch((error) => isOver || set({ span: undefined, error }));
    return () => (isOver = true);
  }, []);
  const { span, error } = state;
  return html`<aside class="card span-detail" aria-label="Span">
    <header class="card-head"><h2 class="wrap">${trace.names[trace.name[row]] || "(no name)"}</h2>
      <div class="card-aside"><button type="button" class="quiet icon-only" aria-label="Close" title="Close (Esc)" onClick=${onClose}><${Icon} name="close" /></button></div></header>
    ${isMissing && html`<p class="pad muted">A span of this trace names this parent, but it did not come: it may be on its way, come from a service that sends elsewhere, or have been left out by its SDK.</p>`}
    ${error && html`<div class="pad"><${Trouble} error=${error} /></div>`}
    ${!isMissing && !error && !span && html`<p class="pad muted">Reading the span.</p>`}
    ${span && html`<${Whole} span=${span} trace=${trace} tree=${tree} row=${row} />`}</aside>`;
}

function Whole({ span, trace, tree, row }) {
  const facts = [
    ["Service", trace.services[trace.service[row]] || "(none)"],
    ["Kind", span.kind],
    ["Status", html`<span class=${span.status_code === 2 ? "bad" : ""}>${STATUS[span.status_code] ?? span.status_code}${span.status_message ? `: ${span.status_message}` : ""}</span>`],
    ["Begins", `${millis(tree.start[row] / 1000)} after the first`],
    ["Lasts", millis(tree.duration[row] / 1000)],
    ["Span id", html`<span class="mono">${span.span_id}</span> <${Copy} text=${span.span_id} what="the id of the span" />`],
  ];
  if (span.weight > 1) facts.push(["Stands for", `${span.weight} spans`]);
  if (span.trace_state) facts.push(["Trace state", span.trace_state]);
  const dropped = span.dropped.reduce((sum, one) => sum + one, 0);
  return html`<dl class="pairs">${facts.map(([name, value]) => html`<div key=${name}><dt>${name}</dt><dd>${value}</dd></div>`)}</dl>
    <${Pairs} title="Attributes" pairs=${span.attributes} isLinked=${true} />
    ${span.events.length > 0 && html`<h3>Events</h3><ol class="events">${span.events.map((event, i) => html`<li key=${i}>
      <strong class=${event.name === "exception" ? "bad" : ""}>${event.name || "(no name)"}</strong> <span class="muted">${since(event.time_ns, trace.base_ns)}</span>
      <${Values} pairs=${event.attributes} /></li>`)}</ol>`}
    ${span.links.length > 0 && html`<h3>Links</h3><ul class="events">${span.links.map((link, i) => html`<li key=${i}>
      <button type="button" class="link mono" onClick=${() => go("traces", { trace: link.trace_id })}>${link.trace_id}</button>
      <${Values} pairs=${link.attributes} /></li>`)}</ul>`}
    ${dropped > 0 && html`<p class="pad muted">The SDK left out ${span.dropped[0]} attributes, ${span.dropped[1]} events and ${span.dropped[2]} links.</p>`}
    <${Pairs} title="Resource" pairs=${span.resource} isLinked=${true} />
    <${Pairs} title=${`Library ${span.scope.filter(Boolean).join(" ")}`} pairs=${span.scope_attributes} isLinked=${false} />`;
}

function since(time, base) {
  const nanos = BigInt(time) - BigInt(base);
  return nanos < 0n ? `${millis(Number(-nanos) / 1e6)} before the first` : `at ${millis(Number(nanos) / 1e6)}`;
}

const words = (value) => (typeof value === "string" ? value : JSON.stringify(value));

function Pairs({ title, pairs, isLinked }) {
  const keys = Object.keys(pairs).sort();
  if (keys.length === 0 && title !== "Attributes") return null;
  const traces = (key) => go("traces", { where: asText([[key, "=", pairs[key]]]) });
  return html`<h3>${title}</h3>${keys.length === 0 ? html`<p class="pad muted">none</p>` : html`<dl class="pairs">${keys.map((key) => html`<div key=${key}><dt class="mono">${key}</dt>
    <dd>${words(pairs[key])} ${isLinked && typeof pairs[key] !== "object" && html`<button type="button" class="link" onClick=${() => traces(key)}
      aria-label=${`Traces with ${key} = ${words(pairs[key])}`}>traces</button>`}</dd></div>`)}</dl>`}`;
}

function Values({ pairs }) {
  const keys = Object.keys(pairs).sort();
  if (keys.length === 0) return null;
  return html`<dl class="pairs">${keys.map((key) => html`<div key=${key}><dt class="mono">${key}</dt><dd class="pre">${words(pairs[key])}</dd></div>`)}</dl>`;
}
