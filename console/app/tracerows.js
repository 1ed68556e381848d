// A list of traces: one row for each, and what became of it.

import { html } from "../vendor/ui.js";
import { clock, count, millis } from "./format.js";
import { go, place } from "./state.js";

/** The rows of a list of traces. @param {{traces: any[]}} props */
export function Rows({ traces }) {
  const longest = Math.max(...traces.map((one) => one.duration_ms), 0.001);
  const open = (event, one) => {
    if (event.ctrlKey || event.metaKey || event.shiftKey || event.button !== 0) return;
    event.preventDefault();
    const query = place.value.page === "traces" ? place.value.query : {};
    go("traces", { ...query, trace: one.trace, row: "", span: "", find: "" });
  };
  return html`<div class="scroll"><table class="rows trace-rows"><thead><tr><th scope="col">Began</th><th scope="col">Root</th>
    <th scope="col">Services</th><th scope="col" class="wide">Duration</th><th scope="col" class="number">Spans</th><th scope="col" class="number">Errors</th>
    <th scope="col">Fate</th></tr></thead>
    <tbody>${traces.map((one) => html`<tr key=${one.trace}>
      <td class="nowrap">${clock(Number(BigInt(one.start_ns) / 1_000_000n))}</td>
      <td class="root"><a href=${`/traces?trace=${one.trace}`} onClick=${(event) => open(event, one)}>${one.name || "(no name)"}</a>
        ${!one.has_root && html` <span class="chip" title="The root of this trace has not come.">no root</span>`}
        ${one.one_in > 1 && html` <span class="chip">1 in ${one.one_in}</span>`}</td>
      <td class="services">${one.services.slice(0, 3).map((part) => part.service || "(none)").join(", ")}${one.services.length > 3 ? html` <span class="muted">+${one.services.length - 3}</span>` : ""}</td>
      <td><span class="lasts"><span class=${one.errors ? "lasts-bar bad" : "lasts-bar"} style=${{ width: `${Math.max(1, (60 * one.duration_ms) / longest)}%` }}></span>
        <span class="number">${millis(one.duration_ms)}</span></span></td>
      <td class="number">${count(one.spans)}</td><td class="number">${one.errors ? html`<span class="bad"><span aria-hidden="true">▲ </span>${count(one.errors)}</span>` : "0"}</td>
      <td><${Fate} fate=${one.fate} /></td></tr>`)}</tbody></table></div>`;
}

const SIGNS = { delivered: "●", waiting: "○", refused: "▲" };

/** What became of a trace. @param {{fate: any}} props */
export function Fate({ fate }) {
  const parts = [];
  if (fate.decision !== "unknown") parts.push(html`<span class=${fate.decision === "dropped" ? "warn" : ""}>${fate.decision}${fate.policy ? ` by ${fate.policy}` : ""}</span>`);
  for (const [name, what] of fate.deliveries) parts.push(html`<span class=${what === "refused" ? "bad" : ""}><span aria-hidden="true">${SIGNS[what]} </span>${name} ${what}</span>`);
  return parts.length > 0 ? html`<span class="fate">${parts}</span>` : html`<span class="muted" title="No sampler and no exporter has told.">not told</span>`;
}
