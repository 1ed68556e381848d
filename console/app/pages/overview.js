// Does data flow? The sentence, the graph, the backends, the last problems.

import { html, useMemo } from "../../vendor/ui.js";
import { Detail } from "../detail.js";
import { ago, bytes, clock, count, items, percent, plural, rate } from "../format.js";
import { Graph, GraphTable, lostOf, rateOf, totalOf } from "../graph.js";
import { graph } from "../graphmodel.js";
import { Drawer, Finding } from "../ladder.js";
import { Bar, Card, Empty, Icon, Search, Signal, State, Words } from "../parts.js";
import { Senders } from "../senders.js";
import { about, asTables, ask, beat, go, health, levels, place, problems, topology } from "../state.js";
import { grouped, repeated, totals, verdict } from "../verdict.js";
import { Start } from "./start.js";

export function Overview() {
  const query = place.value.query;
  const order = (about.value?.pipelines ?? []).map((pipeline) => pipeline.id);
  const whole = useMemo(() => topology.value && graph(topology.value, order), [topology.value, order.join()]);
  const shown = useMemo(() => topology.value && graph(topology.value, order, query.pipeline ?? ""), [topology.value, order.join(), query.pipeline]);
  void beat.value;
  if (!whole || !shown) return html`<p class="boot">Waiting for the first reading.</p>`;
  const sources = whole.edges.filter((edge) => edge.ends === "in" && edge.from.startsWith("receiver:"));
  const hasData = sources.some((edge) => totalOf(edge.counters, "items") > 0);
  const failing = (health.value?.components ?? []).filter((one) => one.kind === "exporter" && one.state === "error");
  const sums = totals(whole, (counters) => rateOf(counters, "items"), new Set(failing.map((one) => `exporter:${one.id}`)));
  const told = verdict({ health: health.value, about: about.value, hasData, rates: sums, recentLoss: lossOf(whole) });
  return html`
    <${Verdict} told=${told} />
    ${!hasData && html`<${Start} />`}
    ${hasData && html`<${Figures} sums=${sums} whole=${whole} />`}
    <${Pipelines} graph=${shown} all=${whole.pipelines} query=${query} />
    <${Senders} />
    <div class="two">
      <${Exporters} />
      <${Problems} />
    </div>
    <${Drawer} />`;
}

/** Items that were refused or given up a second. @param {any} graph */
function lossOf(graph) {
  return graph.nodes.reduce((sum, node) => (node.kind === "pipeline" ? sum : sum + lostOf(node, graph.pipelines, "lost")), 0);
}

/** @param {{told: import("../verdict.js").Verdict}} props */
function Verdict({ told }) {
  const sign = { ok: "●", idle: "○", warn: "▲", error: "▲" }[told.tone];
  return html`<section class=${`verdict ${told.tone}`} aria-label="How it goes">
    <h1 aria-live="off"><span class="sign" aria-hidden="true">${sign}</span> ${told.title}</h1>
    ${told.more.length > 0 && html`<ul>${told.more.slice(0, 4).map((one) => html`<li key=${one.text}>
      <span class="wrap"><${Words} text=${one.text} /></span> ${one.page && one.page !== "overview" && html`<button type="button" class="link"
        onClick=${() => go(one.page, one.query)}>Look</button>`}</li>`)}
      ${told.more.length > 4 && html`<li>and ${told.more.length - 4} more</li>`}</ul>`}
    <${Finding} />
  </section>`;
}

/** What comes and goes, by signal, and the memory. @param {any} props */
function Figures({ sums, whole }) {
  const signals = ["traces", "metrics", "logs"].filter((signal) => sums[signal]);
  const counted = (signal, end) => whole.edges.filter((edge) => edge.ends === end && edge.pipeline.split("/")[0] === signal).reduce((sum, edge) => sum + totalOf(edge.counters, "items"), 0);
  const memory = health.value?.budget ?? { limit_bytes: 0, used_bytes: 0, waiting_requests: 0 };
  const peak = Math.max(0, ...levels.levels("used").filter((value) => value !== undefined));
  return html`<dl class="figures">
    ${signals.map((signal) => html`<div key=${signal} class=${`figure ${signal}`}><dt><${Signal} name=${signal} /></dt>
      <dd><span class="big">${rate(sums[signal].in)}<small> ${items(signal)}/s in</small> <span class="arrow"
        aria-hidden="true">→</span> ${rate(sums[signal].out)}<small> out</small></span>
        <span class="muted">${count(counted(signal, "in"))} in since the start</span></dd></div>`)}
    <div class="figure"><dt>Memory for data</dt><dd>
      <span class="big">${bytes(memory.used_bytes)}<small> of ${bytes(memory.limit_bytes)}</small></span>
      <${Bar} parts=${[{ value: memory.used_bytes, kind: memory.used_bytes > 0.75 * memory.limit_bytes ? "warn" : "" }]}
        whole=${memory.limit_bytes} mark=${peak}
        label=${`${percent(memory.used_bytes, memory.limit_bytes)} used, at most ${bytes(peak)} while you looked`} />
      ${memory.waiting_requests > 0 && html`<span class="bad">${plural(memory.waiting_requests, "request")} waiting</span>`}</dd></div>
  </dl>`;
}

/** @param {any} props */
function Pipelines({ graph, all, query }) {
  const aside = html`
    ${all.length > 1 && html`<label class="pick"><span class="hidden">Pipeline</span>
      <select value=${query.pipeline ?? ""} onChange=${(event) => ask({ pipeline: event.target.value, node: "" })}>
      <option value="">All ${all.length} pipelines</option>${all.map((id) => html`<option key=${id} value=${id}>${id}</option>`)}</select>
        </label>`}
    <${Search} label="Find a component" value=${query.find ?? ""} onInput=${(find) => ask({ find })} />
    <button type="button" class="quiet" aria-pressed=${asTables.value} onClick=${() => (asTables.value = !asTables.value)}>
      <${Icon} name="table" /><span>Table</span></button>`;
  return html`<${Card} title="Pipelines" aside=${aside} class="pipelines">
    ${asTables.value ? html`<${GraphTable} graph=${graph} />` : html`<${Graph} graph=${graph} selected=${query.node ?? ""}
      find=${query.find ?? ""} onSelect=${(node) => ask({ node })} />`}
    ${!asTables.value && html`<${Detail} graph=${graph} selected=${query.node ?? ""} onClose=${() => ask({ node: "" })} />`}
  </${Card}>`;
}

function Exporters() {
  const every = (health.value?.components ?? []).filter((one) => one.kind === "exporter");
  const all = grouped(every);
  const order = { error: 0, stopped: 1, ok: 2, idle: 3 };
  all.sort((a, b) => order[a.one.state] - order[b.one.state]);
  return html`<${Card} title="Where it goes" aside=${html`<button type="button" class="link"
    onClick=${() => go("backends")}>All backends</button>`}>
    ${all.length === 0 && html`<${Empty} title="No exporter runs." />`}
    <ul class="list">${all.slice(0, 12).map(({ one, signals }) => html`<li key=${`${one.id} ${signals}`}>
      <div class="list-main">
        <strong>${one.id}</strong> ${signals.map((name) => html`<${Signal}
          name=${name} /> `)}<span class="muted wrap">${one.destination}</span></div>
      <div class="list-end">
        <${State} state=${one.state} /> <span class="muted">${one.state === "idle" ? "" : ago(one.state === "error" ? one.last_error_age_ms : one.last_success_age_ms)}</span></div>
      ${one.last_error && html`<p class="trouble wrap"><${Words} text=${one.last_error} /></p>`}
    </li>`)}</ul>
    ${all.length > 12 && html`<p class="muted pad">and ${all.length - 12} more</p>`}
  </${Card}>`;
}

function Problems() {
  const lines = problems.value?.problems ?? [];
  const all = repeated(lines);
  return html`<${Card} title="Last problems"
    aside=${all.length > 0 && html`<span class="muted">${plural(lines.length, "line")} of the log</span>`}>
    ${all.length === 0 && html`<${Empty} title="No warning and no error since the start." />`}
    <ul class="list log">${all.slice(0, 50).map((one) => html`<li key=${`${one.at_unix_ms} ${one.text}`}>
      <time>${clock(one.at_unix_ms)}</time>
        <span class=${one.level === "ERROR" ? "level bad" : "level warn"}>${one.level === "ERROR" ? "error" : "warn"}</span>
        <span class="wrap">${one.text}${one.times > 1 ? html` <span class="chip">${one.times} times</span>` : ""}</span>
    </li>`)}</ul>
  </${Card}>`;
}
