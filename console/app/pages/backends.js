// Each exporter and signal: where it sends, how that goes, what waits.

import { html } from "../../vendor/ui.js";
import { age, ago, bytes, count, items, percent, plural, rate, short } from "../format.js";
import { Bar, Card, Empty, Search, Signal, Spark, State, Words } from "../parts.js";
import { quantile } from "../rates.js";
import { ask, backends, beat, place, sending } from "../state.js";

export function Backends() {
  void beat.value;
  if (!backends.value) return html`<p class="boot">Waiting for the first reading.</p>`;
  const find = (place.value.query.find ?? "").toLowerCase();
  const all = backends.value.backends;
  const shown = all.filter((one) => `${one.id} ${one.signal} ${one.destination}`.toLowerCase().includes(find));
  const order = { error: 0, stopped: 1, ok: 2, idle: 3 };
  shown.sort((a, b) => order[a.state] - order[b.state]);
  const failing = all.filter((one) => one.state === "error").length;
  return html`<header class="page-head"><h1>Backends</h1>
      <p class="muted">${failing > 0 ? html`<span class="bad">${failing} of ${all.length} failing</span>` : `${all.length}, none failing`}</p>
      <${Search} label="Find a backend" value=${place.value.query.find ?? ""} onInput=${(find) => ask({ find })} /></header>
    ${shown.length === 0 && html`<${Card} title="Backends">
      <${Empty} title=${all.length ? `No backend has “${place.value.query.find}” in its name or address.` : "No exporter runs."} />
      </${Card}>`}
    <div class="cards">${shown.map((one) => html`<${Backend} key=${`${one.id} ${one.signal} ${one.destination}`} one=${one} />`)}</div>`;
}

/** @param {{one: any}} props */
function Backend({ one }) {
  const key = `${one.id} ${one.signal}`;
  const noun = items(one.signal);
  const sent = sending.rate(`${key} sent`);
  const lost = sending.rate(`${key} lost`, 15000) ?? 0;
  return html`<section class=${`card backend ${one.state}`} aria-label=${`${one.id}, ${one.signal}`}>
    <header class="card-head"><h2>${one.id}</h2> <${Signal} name=${one.signal} /><div class="card-aside">
      <${State} state=${one.state} /></div></header>
    <p class="mono muted wrap destination">${one.destination}</p>
    ${one.last_error && html`<p class="trouble wrap" role="status"><${Words} text=${one.last_error} />
      <span class="muted block">${ago(one.last_error_age_ms)}; ${one.last_success_age_ms == null ? "it never took data" : `it last took data ${ago(one.last_success_age_ms)}`}</span></p>`}
    <div class="rate-row"><p class="big">${sent === undefined ? "–" : rate(sent)}<small> ${noun}/s sent</small></p>
      <${Spark} values=${sending.series(`${key} sent`)} label=${`${one.id}, ${noun} sent per second, 5 minutes`}
        tone=${one.state === "error" ? "bad" : ""} show=${(value) => `${rate(value)}/s`} /></div>
    <${Queue} queue=${one.queue} />
    <dl class="facts-grid">
      <${Latency} one=${one} name=${key} />
      <${Fact} name="Last success" value=${ago(one.last_success_age_ms)} />
      <${Fact} name="Sent" value=${`${count(one.sent_items)} ${noun}`} />
      <${Fact} name="Retries" value=${count(one.queue?.retries ?? 0)} tone=${one.queue?.retries && one.state === "error" ? "warn" : ""} />
      <${Fact} name="Given up" value=${count(one.failed_items)} tone=${one.failed_items > 0 ? "bad" : ""} />
      <${Fact} name="Queue was full" value=${count(one.queue_full_items)} tone=${one.queue_full_items > 0 ? "bad" : ""} />
      ${one.rejected_items > 0 && html`<${Fact} name="Rejected in part" value=${count(one.rejected_items)} tone="bad" />`}
      ${one.dead_letter_items > 0 && html`<${Fact} name="Dead letters" value=${`${count(one.dead_letter_items)} ${noun}`} tone="warn" />`}
      ${one.dead_letter_unkept_items > 0 && html`<${Fact} name="Dead letters not kept" value=${count(one.dead_letter_unkept_items)}
        tone="bad" />`}
      ${lost > 0 && html`<${Fact} name="Lost now" value=${`${rate(lost)}/s`} tone="bad" />`}
    </dl>
    ${one.storage.length > 0 && html`<${OnDisk} logs=${one.storage} />`}
  </section>`;
}

/** @param {{name: string, value: string, tone?: string}} props */
function Fact({ name, value, tone = "" }) {
  return html`<div><dt>${name}</dt><dd class=${tone}>${value}</dd></div>`;
}

/** How long attempts took lately; before there were any, since the start. @param {any} props */
function Latency({ one, name }) {
  const lately = one.attempt_counts.map((_, i) => sending.growth(`${name} attempts ${i}`, 60000));
  const counts = lately.some((value) => value >= 0.5) ? lately : one.attempt_counts;
  const [half, most] = [0.5, 0.99].map((part) => quantile(one.attempt_ms_bounds, counts, part));
  const words = (ms) => (ms === Infinity ? `>${short(one.attempt_ms_bounds.at(-1))}` : `≤${short(ms)}`);
  return html`<${Fact} name="Answer, p50" value=${half === undefined ? "–" : words(half)} />
    <${Fact} name="Answer, p99" value=${most === undefined ? "–" : words(most)} />`;
}

/** @param {{queue: any}} props */
function Queue({ queue }) {
  if (!queue) return null;
  const { size, capacity, unit } = queue;
  const label = capacity > 0 ? `${count(size)} of ${count(capacity)} ${unit}` : `${count(size)} ${unit || "requests"}, without a limit`;
  return html`<div class="queue"><div class="queue-head"><span>Queue</span><span class="number">${label}</span></div>
    <${Bar} parts=${[{ value: size, kind: capacity > 0 && size > 0.75 * capacity ? "warn" : "" }]} whole=${capacity || Math.max(1, size)}
      label=${`Queue: ${label}${capacity ? `, ${percent(size, capacity)}` : ""}`} />
    <p class="muted">${bytes(queue.bytes)} in memory${queue.oldest_age_ms == null ? "" : `, the oldest ${age(queue.oldest_age_ms) === "now" ? "just came" : `waits ${age(queue.oldest_age_ms)}`}`} · ${plural(queue.in_flight_requests, "request")} under way</p></div>`;
}

/** @param {{logs: any[]}} props */
function OnDisk({ logs }) {
  return html`<table class="rows"><caption>On disk</caption><thead><tr><th scope="col">Part</th><th scope="col" class="number">Size</th>
    <th scope="col" class="number">Items</th><th scope="col" class="number">Oldest</th></tr></thead>
    <tbody>${logs.map((log) => html`<tr key=${log.part}>
      <td>${log.part.replaceAll("_", " ")} <span class="muted">${log.extension}</span></td><td class="number">${bytes(log.size_bytes)}</td>
      <td class="number">${count(log.items)}</td>
      <td class="number">${log.oldest_age_ms == null ? "–" : age(log.oldest_age_ms)}</td></tr>`)}</tbody></table>`;
}
