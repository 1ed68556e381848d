// Who sends, and whose requests never became data.

import { html, useState } from "../vendor/ui.js";
import { flow, odd, reason, sdk, sorted, via } from "./findings.js";
import { ago, count, plural } from "./format.js";
import { Card, Words } from "./parts.js";
import { ask, senders } from "./state.js";

/** Rows that are shown until all are asked for. */
const FEW = 8;

export function Senders() {
  const [isLong, setLong] = useState(false);
  const all = sorted(senders.value?.senders ?? []);
  if (all.length === 0) return null;
  const shown = isLong ? all : all.slice(0, FEW);
  const forgotten = senders.value.forgotten;
  return html`<${Card} title="Senders" aside=${html`<span class="muted">${plural(all.length, "sender")}${forgotten > 0 ? `, ${count(forgotten)} forgotten` : ""}</span>`}>
    <div class="scroll" tabindex="0" role="region" aria-label="Who sends"><table class="rows senders">
      <thead><tr><th scope="col">Service</th><th scope="col">SDK</th><th scope="col">Via</th><th scope="col">From</th>
        <th scope="col" class="number">In the last minute</th><th scope="col" class="number">Last</th><th scope="col" class="number">Refused</th></tr></thead>
      <tbody>${shown.map((one) => html`<${Row} key=${key(one)} one=${one} />`)}</tbody></table></div>
    ${all.length > FEW && html`<p class="pad"><button type="button" class="link" onClick=${() => setLong(!isLong)}>${isLong ? "Fewer" : `All ${all.length}`}</button></p>`}
  </${Card}>`;
}

/** @param {any} one */
const key = (one) => [one.service ?? "", one.agent, one.receiver, one.transport, one.peer, one.sdk_name, one.sdk_language, one.sdk_version, one.encoding, one.compression, one.service == null].join("\n");

/** @param {{one: any}} props */
function Row({ one }) {
  const isStranger = one.service === null;
  const name = one.service || (isStranger ? one.agent || "a client" : "no name");
  const mark = odd(one);
  const refused = one.total?.refused ?? 0;
  const { why, remedy } = reason(one.refusal);
  const isFresh = isStranger || (one.recent?.refused ?? 0) > 0;
  return html`<tr class=${mark || isStranger ? "odd" : ""}><th scope="row">
      ${one.service ? html`<button type="button" class="link" onClick=${() => ask({ why: "traces", service: one.service })}>${name}</button>` : html`<span>${name}</span>`}
      ${isStranger && html`<span class="badge dropped"><span aria-hidden="true">✕</span> sent no data</span>`}
      ${mark && html`<span class="badge changed"><span aria-hidden="true">?</span> <${Words} text=${mark} /></span>`}
      ${refused > 0 && isFresh && one.refusal && html`<p class="why wrap"><${Words} text=${why} />${remedy && html`<br /><span class="muted">Do</span> <${Words} text=${remedy} />`}</p>`}</th>
    <td>${sdk(one) || "–"}</td><td>${via(one) || "–"} <span class="muted">${one.receiver}</span></td><td class="mono">${one.peer || "–"}</td>
    <td class="number">${flow(one) || "–"}</td><td class="number">${ago(one.last_age_ms)}</td>
    <td class=${refused > 0 ? "number bad" : "number"}>${refused > 0 ? count(refused) : "–"}</td></tr>`;
}
