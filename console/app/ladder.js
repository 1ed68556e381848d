// Where data stops: the worst finding in a line, and a drawer with all steps from the port to the backends.

import { html, useEffect, useRef, useState } from "../vendor/ui.js";
import { get } from "./api.js";
import { services, stateOf, worst } from "./findings.js";
import { clock } from "./format.js";
import { Icon, Tabs, Trouble, Words } from "./parts.js";
import { ask, ladders, place, senders } from "./state.js";

/** How often the ladders of one service are asked for. */
const ASK_MS = 2000;

/** @param {{one: any}} props */
function Mark({ one }) {
  const { tone, sign, words } = stateOf(one);
  return html`<span class=${`state ${tone}`}><span aria-hidden="true">${sign}</span> ${words}</span>`;
}

/** The line, for the top of a page. */
export function Finding() {
  const one = worst(ladders.value?.ladders ?? []);
  if (!one) return null;
  return html`<p class="finding"><${Mark} one=${one} /> <strong>${one.signal}</strong>
    <span class="wrap"><${Words} text=${one.finding} /></span>
    <button type="button" class="link" onClick=${() => ask({ why: one.signal })}>All steps</button></p>`;
}

/** The ladders of a service; those of all come by themselves. @param {string} service @param {boolean} isOpen */
function useLadders(service, isOpen) {
  const [found, setFound] = useState(undefined);
  const [error, setError] = useState(undefined);
  useEffect(() => {
    setFound(undefined);
    setError(undefined);
    if (!service || !isOpen) return undefined;
    let isLate = false;
    const load = () => get(`where-stopped?service=${encodeURIComponent(service)}`).then(
      (found) => isLate || (setFound(found), setError(undefined)),
      (error) => isLate || setError(error),
    );
    load();
    const timer = setInterval(load, ASK_MS);
    return () => {
      isLate = true;
      clearInterval(timer);
    };
  }, [service, isOpen]);
  return { found: service ? found : ladders.value, error };
}

/** The drawer; it is open while the address says so. */
export function Drawer() {
  const query = place.value.query;
  const isOpen = Boolean(query.why);
  const service = query.service ?? "";
  const dialog = useRef(null);
  const { found, error } = useLadders(service, isOpen);
  useEffect(() => {
    if (isOpen && !dialog.current.open) dialog.current.showModal();
    if (!isOpen && dialog.current.open) dialog.current.close();
  }, [isOpen]);
  const close = () => ask({ why: "", service: "" });
  const all = found?.ladders ?? [];
  const shown = all.find((one) => one.signal === query.why) ?? all[0];
  const names = services(senders.value?.senders ?? []);
  return html`<dialog class="drawer" ref=${dialog} aria-label="Where it stops" onClose=${() => place.value.query.why && close()}
    onClick=${(event) => event.target === event.currentTarget && close()}>${isOpen && html`<div class="drawer-in">
    <header><h2>Where it stops</h2>
      <label class="pick"><span class="hidden">Service</span><select value=${service} onChange=${(event) => ask({ service: event.target.value })}>
        <option value="">All services</option>${service && !names.includes(service) && html`<option value=${service}>${service}</option>`}
        ${names.map((name) => html`<option key=${name} value=${name}>${name}</option>`)}</select></label>
      <button type="button" class="quiet icon-only" aria-label="Close" onClick=${close}><${Icon} name="close" /></button></header>
    ${error && html`<${Trouble} error=${error} />`}
    ${all.length > 1 && html`<${Tabs} label="Signal" current=${shown.signal} onPick=${(why) => ask({ why })}
      tabs=${all.map((one) => ({ id: one.signal, name: html`<span aria-hidden="true">${stateOf(one).sign}</span> ${one.signal}` }))} />`}
    ${!found && !error && html`<p class="muted">Asking.</p>`}
    ${found && all.length === 0 && html`<p class="muted">No pipeline takes data.</p>`}
    ${shown && html`<p class="drawer-finding"><${Mark} one=${shown} /> <span class="wrap"><${Words} text=${shown.finding} /></span></p>
      <ol class="rungs">${shown.rungs.map((rung, i) => html`<${Rung} key=${i} rung=${rung} />`)}</ol>
      <p class="muted">${shown.recent ? "In the last minute." : "Since the start."} The same on the command line: <code>skep why${service ? ` ${service}` : ""}</code></p>`}
  </div>`}</dialog>`;
}

/** @param {{rung: any}} props */
function Rung({ rung }) {
  return html`<li class=${`is-${stateOf(rung).tone || "plain"}`}><div class="rung-head"><strong class="wrap">${rung.place}</strong> <${Mark} one=${rung} /></div>
    <p class="wrap"><${Words} text=${rung.sentence} />${rung.since_unix_ms ? html` <span class="muted">since ${clock(rung.since_unix_ms)}</span>` : ""}</p>
    ${rung.reason && html`<p class="why wrap"><span class="muted">Why</span> <${Words} text=${rung.reason} /></p>`}
    ${rung.remedy && html`<p class="why wrap"><span class="muted">Do</span> <${Words} text=${rung.remedy} /></p>`}</li>`;
}
