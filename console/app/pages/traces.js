// The traces that came lately: a list with filters; one of them as a waterfall.

import { html, useEffect, useRef, useState } from "../../vendor/ui.js";
import { get } from "../api.js";
import { asText, condition, conditions, honesty, listPath, shown, whyEmpty } from "../filters.js";
import { age, count, plural } from "../format.js";
import { Card, Empty, Icon, Search, Trouble } from "../parts.js";
import { about, ask, go, isPaused, link, place } from "../state.js";
import { Rows } from "../tracerows.js";
import { Waterfall } from "../waterfall.js";

const LIMIT = 100;
const EVERY_MS = 3000;
const SORTS = { start: "Latest", duration: "Longest", spans: "Most spans", errors: "Most errors" };

export function Traces() {
  if (!about.value) return html`<p class="boot">Waiting for the first reading.</p>`;
  if (about.value.level !== "data") return html`<${NoData} name="Traces" />`;
  const id = place.value.query.trace;
  return id ? html`<${Waterfall} key=${id} id=${id} />` : html`<${List} />`;
}

/** At the level `operation` there is nothing, and the page says why. @param {{name: string}} props */
export function NoData({ name }) {
  const [title, help] = whyEmpty({ level: "operation", store: undefined, hasFilter: false });
  return html`<header class="page-head"><h1>${name}</h1></header>
    <${Card} title=${name}><${Empty} title=${title}><p>${help}</p></${Empty}></${Card}>`;
}

/** The list again and again, while somebody looks. @param {string} path */
function useList(path) {
  const [state, set] = useState({ path: "", list: undefined, fresh: [], error: undefined });
  const current = useRef(state);
  current.current = state;
  useEffect(() => {
    let isOver = false;
    let timer;
    const read = async (isFirst) => {
      if (isFirst || !(document.hidden || isPaused.peek() || link.peek() === "lost")) {
        try {
          const list = await get(path);
          if (isOver) return;
          set(merged(isFirst ? undefined : current.current.list, list, path));
        } catch (error) {
          if (isOver) return;
          set({ ...current.current, path, list: isFirst ? undefined : current.current.list, error });
        }
      }
      if (!isOver) timer = setTimeout(() => read(false), EVERY_MS);
    };
    read(true);
    return () => {
      isOver = true;
      clearTimeout(timer);
    };
  }, [path]);
  const show = () => set({ ...state, list: state.latest, fresh: 0 });
  return { ...state, show };
}

/** Rows that are shown stay where they are; new ones are only counted. */
function merged(before, latest, path) {
  if (!before || before.traces.length === 0) return { path, list: latest, latest, fresh: 0, error: undefined };
  const known = new Map(latest.traces.map((one) => [one.trace, one]));
  const rows = before.traces.map((one) => known.get(one.trace) ?? one);
  const held = new Set(before.traces.map((one) => one.trace));
  const fresh = latest.traces.filter((one) => !held.has(one.trace)).length;
  return { path, list: { ...latest, traces: rows }, latest, fresh, error: undefined };
}

function List() {
  const { query } = place.value;
  const path = listPath(query, LIMIT);
  const { list, fresh, error, show, path: of } = useList(path);
  const hasFilter = ["service", "name", "text", "errors", "min_ms", "where", "decision"].some((key) => query[key]);
  return html`<header class="page-head"><h1>Traces</h1>
      <p class="muted">${list ? `${count(list.matched)} of ${plural(list.store.traces, "trace")}` : ""}</p>
      <${Search} label="Text in a span" value=${query.text ?? ""} onInput=${(text) => ask({ text })} /></header>
    <${Filters} list=${list} />
    ${error && html`<${Trouble} error=${error} />`}
    ${list && html`<${Card} title="Recent traces" class="trace-list"
      aside=${html`<${Fresh} fresh=${fresh} onShow=${show} /><label class="pick"><span class="hidden">Order</span>
        <select value=${query.sort || "start"} onChange=${(event) => ask({ sort: event.target.value === "start" ? "" : event.target.value })}>
        ${Object.entries(SORTS).map(([key, name]) => html`<option key=${key} value=${key}>${name}</option>`)}</select></label>`}>
      ${list.traces.length > 0 ? html`<${Rows} traces=${list.traces} />` : of === path ? html`<${Nothing} list=${list} hasFilter=${hasFilter} />` : html`<${Empty} title="Reading the traces." />`}
      <p class="muted pad honest">${list.traces.length < list.matched ? `the first ${list.traces.length} of ${count(list.matched)} · ` : ""}${honesty(list, Date.now(), age)}</p>
    </${Card}>`}`;
}

/** New ones are announced, and come when they are asked for. */
function Fresh({ fresh, onShow }) {
  return html`<span role="status">${fresh > 0 && html`<button type="button" class="primary" onClick=${onShow}>
    ${fresh >= LIMIT ? `${LIMIT} or more` : fresh} new</button>`}</span>`;
}

function Nothing({ list, hasFilter }) {
  const [title, help] = whyEmpty({ store: list.store, level: "data", hasFilter });
  return html`<${Empty} title=${title}><p>${help}</p>
    ${hasFilter && html`<p><button type="button" class="quiet" onClick=${() => go("traces")}>Take away all conditions</button></p>`}</${Empty}>`;
}

function Filters({ list }) {
  const { query } = place.value;
  const [draft, setDraft] = useState("");
  const [isWrong, setWrong] = useState(false);
  const services = [...new Set((list?.traces ?? []).flatMap((one) => one.services.map((part) => part.service)))].filter(Boolean).sort();
  if (query.service && !services.includes(query.service)) services.push(query.service);
  const list_ = conditions(query.where);
  const add = (event) => {
    event.preventDefault();
    const found = condition(draft);
    setWrong(!found);
    if (!found) return;
    ask({ where: asText([...list_, found]) });
    setDraft("");
  };
  return html`<div class="filters" role="group" aria-label="Filters">
    <label class="pick"><span class="hidden">Service</span><select value=${query.service ?? ""} onChange=${(event) => ask({ service: event.target.value })}>
      <option value="">All services</option>${services.map((name) => html`<option key=${name} value=${name}>${name}</option>`)}</select></label>
    <label class="field"><span>Span</span><input value=${query.name ?? ""} placeholder="any name" onChange=${(event) => ask({ name: event.target.value.trim() })} /></label>
    <label class="field"><span>At least</span><input class="small" inputmode="decimal" value=${query.min_ms ?? ""} placeholder="0"
      onChange=${(event) => ask({ min_ms: Number(event.target.value) > 0 ? String(Number(event.target.value)) : "" })} /><span>ms</span></label>
    <button type="button" class="quiet" aria-pressed=${query.errors === "true"} onClick=${() => ask({ errors: query.errors === "true" ? "" : "true" })}>With errors</button>
    <form class="field" onSubmit=${add}><label for="condition">Attribute</label><input id="condition" value=${draft} placeholder="user.id = 17" aria-invalid=${isWrong}
      aria-describedby="condition-help" onInput=${(event) => (setDraft(event.target.value), setWrong(false))} /></form>
    <span id="condition-help" role="status" class=${isWrong ? "bad" : "hidden"}>${isWrong ? "write key = value, with =, !=, >, <, contains, exists" : ""}</span>
    ${list_.map((one, i) => html`<button type="button" key=${shown(one)} class="chip removable" aria-label=${`Take away ${shown(one)}`}
      onClick=${() => ask({ where: asText(list_.filter((_, at) => at !== i)) })}><span class="mono">${shown(one)}</span> <${Icon} name="close" /></button>`)}
  </div>`;
}
