// Two budgets: bytes of memory in this process, and what vendors bill in a month.

import { html } from "../../vendor/ui.js";
import { bytes, count, day, percent, plural, rate } from "../format.js";
import { Bar, Card, Code, Empty, Spark } from "../parts.js";
import { beat, budget, cpu, health, levels } from "../state.js";

export function Budget() {
  void beat.value;
  const now = budget.value;
  if (!now) return html`<p class="boot">Waiting for the first reading.</p>`;
  return html`<header class="page-head"><h1>Budget</h1><p class="muted">Memory of this process, and the months of vendors</p></header>
    <${Memory} now=${now} />
    <div class="two"><${Dropped} /><${Disk} /></div>
    <${Months} months=${now.months} />`;
}

/** @param {{now: any}} props */
function Memory({ now }) {
  const held = now.queues.filter((queue) => queue.bytes > 0).sort((a, b) => b.bytes - a.bytes);
  const queued = Math.min(now.used_bytes, held.reduce((sum, queue) => sum + queue.bytes, 0));
  const rest = Math.max(0, now.used_bytes - queued);
  const used = levels.levels("used");
  const peak = Math.max(now.used_bytes, ...used.filter((value) => value !== undefined));
  const busy = (cpu.rate("cpu", 10000) ?? 0) / 1000;
  const label = `${bytes(now.used_bytes)} of ${bytes(now.limit_bytes)}: ${bytes(queued)} in queues, ${bytes(rest)} elsewhere`;
  return html`<${Card} title="Memory for data">
    <div class="memory">
      <div>
        <p class="big">${bytes(now.used_bytes)}<small> of ${bytes(now.limit_bytes)}, ${percent(now.used_bytes, now.limit_bytes)}</small></p>
        <${Bar} parts=${[{ value: queued, kind: "queue" }, { value: rest, kind: "rest" }]} whole=${now.limit_bytes} mark=${peak}
          label=${label} />
        <ul class="legend"><li class="queue">in queues ${bytes(queued)}</li><li class="rest">in receivers and processors ${bytes(rest)}</li>
          <li class="mark">most since you look ${bytes(peak)}</li></ul>
        ${now.waiting_requests > 0 ? html`<p class="bad">${plural(now.waiting_requests, "request")} waiting for memory: a backend is slower than what comes in.</p>` : html`<p class="muted">No request waits for memory.</p>`}
      </div>
      <div><h3>Last minutes</h3><${Spark} values=${used} label="Memory for data" height=${56} show=${bytes} />
        <dl class="facts-grid one"><div><dt>Whole process</dt><dd>${now.resident_bytes == null ? "–" : bytes(now.resident_bytes)}</dd></div>
          <div><dt>Processor time</dt><dd>${now.cpu_ms == null ? "–" : `${percent(busy, 1)} of a core`}</dd></div></dl></div>
      <div><h3>Queues that hold most</h3>
        ${held.length === 0 ? html`<p class="muted">All queues are empty.</p>` : html`<ul class="plain">${held.slice(0, 6).map((queue) => html`<li key=${queue.exporter + queue.signal}><span>${queue.exporter} <span class="muted">${queue.signal}</span></span><span class="number">${bytes(queue.bytes)}</span><span class="number muted">${count(queue.items)}</span></li>`)}</ul>`}</div>
    </div>
  </${Card}>`;
}

function Dropped() {
  const all = [...(health.value?.dropped ?? [])].sort((a, b) => b.items - a.items);
  return html`<${Card} title="Dropped since the start">
    ${all.length === 0 ? html`<${Empty} title="Nothing was dropped." />` : html`<table class="rows"><thead><tr><th scope="col">Reason</th>
      <th scope="col" class="number">Items</th></tr></thead>
      <tbody>${all.map((one) => html`<tr key=${one.reason}><td>${one.reason.replaceAll("_", " ")}</td>
        <td class="number">${count(one.items)}</td></tr>`)}</tbody></table>`}
  </${Card}>`;
}

function Disk() {
  const seen = new Map();
  for (const one of health.value?.components ?? []) {
    // A journal is one for all signals of a receiver.
    for (const log of one.storage) seen.set(`${one.kind} ${one.id} ${log.part}`, { who: `${one.kind} ${one.id}`, log });
  }
  const all = [...seen.values()];
  return html`<${Card} title="On disk">
    ${all.length === 0 ? html`<${Empty} title="Nothing is kept on disk.">
      <p class="muted">A queue or a journal with a <code>storage</code> survives a restart.</p></${Empty}>` : html`<table class="rows">
      <thead><tr><th scope="col">Of</th><th scope="col">Part</th><th scope="col" class="number">Size</th>
      <th scope="col" class="number">Items</th></tr></thead>
      <tbody>${all.map(({ who, log }) => html`<tr key=${who + log.part}><td>${who}</td><td>${log.part.replaceAll("_", " ")}</td>
        <td class="number">${bytes(log.size_bytes)}</td><td class="number">${count(log.items)}</td></tr>`)}</tbody></table>`}
  </${Card}>`;
}

const EXAMPLE = ["exporters:", "  honeycomb:", '    api_key: "${env:HONEYCOMB_API_KEY}"', "    budget: {preset: honeycomb-free, storage: file_storage}"];

/** @param {{months: any[]}} props */
function Months({ months }) {
  if (months.length === 0) {
    return html`<${Card} title="Months of vendors"><${Empty} title="No exporter has a monthly budget.">
      <p class="muted">With <code>budget</code>, an exporter stays within what its vendor gives in a month: errors and slow traces first, whole traces, with right weights.</p>
      <${Code} lines=${EXAMPLE} what="an example" /></${Empty}></${Card}>`;
  }
  return html`<div class="cards wide">${months.map((month) => html`<${Month} key=${month.exporter} month=${month} />`)}</div>`;
}

/** @param {{month: any}} props */
function Month({ month }) {
  const [start, end, now] = [month.start_unix_ms, month.end_unix_ms, Date.now()];
  const passed = Math.max(0, Math.min(1, (now - start) / (end - start)));
  const left = month.left_out_paced + month.left_out_ceiling;
  const tone = month.exhausted ? "bad" : month.used > 0.8 * month.limit ? "warn" : "";
  const days = Math.max(0, Math.ceil((end - now) / 86400e3));
  const label = `${count(month.used)} of ${count(month.limit)} ${month.unit}, ${percent(month.used, month.limit)}; the month is ${percent(passed, 1)} over`;
  return html`<section class="card" aria-label=${`Month of ${month.exporter}`}>
    <header class="card-head"><h2>${month.exporter}</h2><span class="muted">${day(start)} to ${day(end)}</span>
      <div class="card-aside">
        <span class="chip">${{ pace: "paced", stop: "stops at the ceiling", warn: "warns only" }[month.mode] ?? month.mode}</span></div>
        </header>
    <p class="big">${count(month.used)}<small> of ${count(month.limit)} ${month.unit}, ${percent(month.used, month.limit)}</small></p>
    <${Bar} parts=${[{ value: month.used, kind: tone }]} whole=${month.limit} mark=${passed * month.limit} label=${label} />
    <p class="muted">The mark is an even use of the month; ${plural(days, "day")} left. ${month.exhausted ? html`<strong class="bad">Used up: data is refused.</strong>` : html`At its end: about ${count(month.forecast)}${month.unlimited > month.forecast ? `, without the budget ${count(month.unlimited)}` : ""}.`}</p>
    ${month.trouble && html`<p class="trouble" role="status">The ledger cannot be written: ${month.trouble}</p>`}
    <div class="sides">
      <div class="side"><h3>What passes now</h3><table class="rows"><thead><tr><th scope="col">Kind</th>
        <th scope="col" class="number">Wanted</th><th scope="col" class="number">Passes</th></tr></thead>
        <tbody>${month.classes.map((one) => html`<tr key=${one.name}>
          <td>${{ error: "errors", slow: "slow", rest: "the rest" }[one.name] ?? one.name}</td><td class="number">${rate(one.wanted)}/s</td>
          <td class="number">${percent(one.passing, 1)}</td></tr>`)}</tbody></table>
        <p class="muted">${left > 0 ? `${count(left)} ${month.unit} left out this month${month.left_out_ceiling > 0 ? `, ${count(month.left_out_ceiling)} of them at the ceiling` : ""}.` : "Nothing was left out this month."}</p></div>
      <div class="side"><h3>Who wants most</h3>${month.eaters.length === 0 ? html`<p class="muted">Nothing came yet.</p>` : html`<${Eaters}
        month=${month} />`}</div>
      ${month.left_out.length > 0 && html`<div class="side"><h3>Left out, by service</h3>
        <ul class="plain">${month.left_out.slice(0, 8).map((one) => html`<li key=${one.service}>
        <span>${one.service || "without a name"}</span><span class="number">${count(one.units)}</span></li>`)}</ul></div>`}
    </div>
  </section>`;
}

/** Services and the names of their spans, with their parts. @param {{month: any}} props */
function Eaters({ month }) {
  const total = month.eaters.reduce((sum, one) => sum + one.wanted, 0);
  return html`<table class="rows"><thead><tr><th scope="col">Service</th><th scope="col">Name</th>
    <th scope="col" class="number">Part</th></tr></thead>
    <tbody>${month.eaters.slice(0, 10).map((one) => html`<tr key=${`${one.service} ${one.name}`}>
      <td class="wrap">${one.service || "without a name"}</td><td class="wrap muted">${one.name}</td>
      <td class="number">${percent(one.wanted, total)}</td></tr>`)}</tbody></table>`;
}
