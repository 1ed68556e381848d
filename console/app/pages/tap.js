// The data itself, as it passes a component: what went in, what came out, and what became of it.

import { html, useEffect, useMemo, useRef, useState } from "../../vendor/ui.js";
import { get, Refused, stream } from "../api.js";
import { Copy, Empty, Icon, Trouble } from "../parts.js";
import { about, ask, isAway, isPaused, link, place } from "../state.js";
import { badges, duration, fields, kept, newRows, ordered, request, sees, time, told } from "../tapmodel.js";

/** How often the page is drawn at most, in milliseconds. */
const DRAW_MS = 150;
const RATES = ["5", "20", "50", "200"];
const SIDES = [["both", "In and out"], ["in", "In"], ["out", "Out"]];

export function Tap() {
  const [points, setPoints] = useState(undefined);
  const [error, setError] = useState(undefined);
  const isHidden = about.value && about.value.level !== "data";
  const generation = about.value?.configuration.generation;
  useEffect(() => {
    if (!isHidden) get("taps").then((found) => (setPoints(found.taps), setError(undefined)), setError);
  }, [isHidden, generation]);
  const groups = useMemo(() => ordered(points ?? [], about.value?.pipelines ?? []), [points, about.value?.pipelines]);
  const query = place.value.query;
  return html`<header class="page-head"><h1>Tap</h1><p class="muted">The data itself, as it passes a component.</p></header>
    ${isHidden && html`<section class="card"><${Empty} title="This console shows no contents of telemetry.">
      <p>Start skep with <code>--console-level data</code>, or look from the machine itself with <code>skep tap</code>.</p></${Empty}></section>`}
    ${error && html`<${Trouble} error=${error} />`}
    ${!isHidden && points && !query.component && html`<${Choice} groups=${groups} />`}
    ${!isHidden && points && query.component && html`<${Tapped} groups=${groups} query=${query} />`}`;
}

/** All that can be tapped. @param {{groups: any[]}} props */
function Choice({ groups }) {
  return html`<section class="card" aria-label="What can be tapped">
    ${groups.length === 0 && html`<${Empty} title="No pipeline runs." />`}
    ${groups.map(({ pipeline, points }) => html`<div class="points" key=${pipeline}><h2><span class=${`signal ${pipeline.split("/")[0]}`}>${pipeline}</span></h2>
      <ul>${points.map((point) => html`<li key=${`${point.kind} ${point.id}`}><button type="button" class="point"
        onClick=${() => ask({ pipeline, component: `${point.kind} ${point.id}` })}><span class="muted">${point.kind}</span>
        <strong>${point.id}</strong> <span class="muted">${sees(point)}</span></button></li>`)}</ul></div>`)}
  </section>`;
}

/** @param {{groups: any[], query: Record<string, string>}} props */
function Tapped({ groups, query }) {
  const [again, setAgain] = useState(0);
  const asked = request(query);
  const tap = useTap(asked, again);
  const point = groups.flatMap((one) => one.points).find((one) => one.pipeline === query.pipeline && `${one.kind} ${one.id}` === query.component);
  const id = query.component.slice(query.component.indexOf(" ") + 1);
  const isWrong = tap.error?.status === 400 && Boolean(query.where);
  return html`<section class="card" aria-label="What is tapped">
      <${Controls} groups=${groups} query=${query} point=${point} error=${isWrong ? tap.error : undefined} />
      ${!isWrong && html`<div class="tap-status"><span class="muted">${tap.error ? "" : told(tap.counts) || (isPaused.value ? "" : "Opening.")}</span>
        ${isPaused.value && html`<span class="chip">paused</span>`}
        ${tap.ended && html`<span role="status">Ended: ${tap.ended}. <button type="button" class="link" onClick=${() => setAgain(again + 1)}>Go on</button></span>`}
        <span class="space"></span>
        ${tap.rows.length > 0 && html`<button type="button" class="quiet" onClick=${tap.clear}>Clear</button>`}
        ${!tap.error && html`<button type="button" class="quiet" onClick=${() => (isPaused.value = !isPaused.value)}>
          <${Icon} name=${isPaused.value ? "play" : "pause"} />${isPaused.value ? "Go on" : "Pause"}</button>`}</div>`}
      ${tap.error && !isWrong && html`<div class="pad"><${Trouble} error=${tap.error} />
        <p><button type="button" class="link" onClick=${() => setAgain(again + 1)}>Try again</button></p></div>`}
    </section>
    <${Rows} key=${`${asked} ${tap.cleared}`} tap=${tap} id=${id} side=${query.side} />`;
}

/** @param {any} props */
function Controls({ groups, query, point, error }) {
  const field = useRef(null);
  const pick = (event) => {
    const [pipeline, component] = event.target.value.split("\n");
    ask({ pipeline, component, side: "" });
  };
  const apply = (event) => {
    event.preventDefault();
    ask({ where: field.current.value.trim() });
  };
  // Also when the address was changed by the back button.
  useEffect(() => void (field.current.value = query.where ?? ""), [query.where]);
  const value = `${query.pipeline}\n${query.component}`;
  return html`<form class="tap-form" onSubmit=${apply}>
    <label class="pick">Component <select value=${value} onChange=${pick}>
      ${!point && html`<option value=${value}>${query.component} (not running)</option>`}
      ${groups.map((one) => html`<optgroup key=${one.pipeline} label=${one.pipeline}>${one.points.map((point) => {
        const component = `${point.kind} ${point.id}`;
        return html`<option key=${component} value=${`${one.pipeline}\n${component}`}>${component}</option>`;
      })}</optgroup>`)}</select></label>
    ${point?.side === "both" && html`<label class="pick">Side <select value=${query.side || "both"}
      onChange=${(event) => ask({ side: event.target.value === "both" ? "" : event.target.value })}>
      ${SIDES.map(([side, name]) => html`<option key=${side} value=${side}>${name}</option>`)}</select></label>`}
    <label class="pick">At most <select value=${query.rate || "20"} onChange=${(event) => ask({ rate: event.target.value === "20" ? "" : event.target.value })}>
      ${RATES.map((rate) => html`<option key=${rate} value=${rate}>${rate} a second</option>`)}</select></label>
    <label class="tick"><input type="checkbox" checked=${query.names === "true"}
      onChange=${(event) => ask({ names: event.target.checked ? "true" : "" })} /> Names only</label>
    <div class="where"><label for="where">Where</label>
      <input id="where" ref=${field} data-search type="text" class="mono" spellcheck="false" autocapitalize="off" autocomplete="off"
        placeholder=${'name == "GET /cart"'} aria-invalid=${Boolean(error)} aria-describedby="where-error" onChange=${apply} />
      <button type="submit" class="quiet">Apply</button></div>
    <pre id="where-error" class="where-error" role="alert" hidden=${!error}>${error?.message ?? ""}</pre>
  </form>`;
}

/** A tap before its first message. `cleared` counts how often its rows were thrown away. */
const NOTHING = { rows: [], counts: undefined, error: undefined, ended: "", cleared: 0 };

/**
 * A tap that is open while this is shown.
 * @param {string} asked @param {number} again
 */
function useTap(asked, again) {
  const [state, setState] = useState(NOTHING);
  const waits = !isPaused.value && !isAway.value && link.value !== "login";
  useEffect(() => {
    // Rows of another tap are not those of this one.
    setState((old) => (old.asked === asked ? old : { ...NOTHING, asked }));
  }, [asked]);
  useEffect(() => {
    if (!waits) return undefined;
    const controller = new AbortController();
    setState((old) => ({ ...old, error: undefined, ended: "" }));
    const pen = new Pen((change) => controller.signal.aborted || setState(change));
    follow(asked, controller.signal, pen);
    return () => controller.abort();
  }, [asked, again, waits]);
  return { ...state, clear: () => setState((old) => ({ ...old, rows: [], cleared: old.cleared + 1 })) };
}

let numbers = 0;

/** Collects what comes, so that the page is not drawn for each item. */
class Pen {
  /** @param {(change: (old: any) => any) => void} set */
  constructor(set) {
    this.set = set;
    this.rows = [];
    this.timer = 0;
  }

  /** @param {any} message */
  take(message) {
    for (const row of message.items) row.n = numbers += 1;
    this.rows = kept(this.rows, message.items);
    this.counts = message.counts;
    this.timer ||= setTimeout(() => this.draw(), DRAW_MS);
  }

  draw() {
    this.timer = 0;
    const { rows, counts } = this;
    this.rows = [];
    this.set((old) => ({ ...old, counts, rows: rows.length > 0 ? kept(old.rows, rows.toReversed()) : old.rows }));
  }

  /** @param {{error?: any, ended?: string}} why */
  end(why) {
    if (this.timer) clearTimeout(this.timer), this.draw();
    this.set((old) => ({ ...old, ...why }));
  }
}

/** Reads a tap until it ends; opens it again if the connection broke. @param {string} asked @param {AbortSignal} signal @param {Pen} pen */
async function follow(asked, signal, pen) {
  while (!signal.aborted) {
    let ended = "";
    const take = (_, message) => {
      pen.take(message);
      ended = message.end;
    };
    try {
      await stream(`tap?${asked}`, signal, take, () => {});
    } catch (error) {
      if (signal.aborted) return;
      if (error instanceof Refused && error.status > 0) return pen.end({ error });
    }
    if (ended) return pen.end({ ended });
    await new Promise((done) => setTimeout(done, 1500));
  }
}

/** The rows; while one is open, new ones wait. @param {{tap: any, id: string, side: string}} props */
function Rows({ tap, id, side }) {
  const [open, setOpen] = useState(undefined);
  const held = useRef([]);
  if (open === undefined) held.current = tap.rows;
  const shown = open === undefined ? tap.rows : held.current;
  const waiting = open === undefined ? 0 : tap.rows.findIndex((row) => row.n === shown[0]?.n);
  const more = waiting < 0 ? tap.rows.length : waiting;
  if (shown.length === 0) {
    const words = side === "out" ? "has come out yet" : "has passed yet";
    return html`<section class="card" aria-label="Items"><${Empty} title=${tap.error ? "No tap is open." : isPaused.value ? "Paused." : `Nothing that fits ${words}.`}>
      ${!tap.error && !isPaused.value && html`<p>Items are shown as they pass. What passed before the tap was opened is not.</p>`}</${Empty}></section>`;
  }
  const toggle = (n) => setOpen(open === n ? undefined : n);
  return html`<section class="card taps" aria-label="Items" onKeyDown=${(event) => event.key === "Escape" && setOpen(undefined)}>
    ${more > 0 && html`<button type="button" class="more-rows" onClick=${() => setOpen(undefined)}>Show ${newRows(more)}</button>`}
    <ol>${shown.map((row) => html`<${Item} key=${row.n} row=${row} id=${id} isOpen=${row.n === open} onToggle=${toggle} />`)}</ol>
  </section>`;
}

/** @param {any} props */
function Item({ row, id, isOpen, onToggle }) {
  const isBad = row.status === "error" || row.status === "fatal";
  return html`<li class=${isOpen ? "is-open" : ""}><button type="button" class="tap-row" aria-expanded=${isOpen} onClick=${() => onToggle(row.n)}>
    <time>${time(row.at_unix_us)}</time>
    <span class="tap-service">${row.service || "–"}</span>
    <span class="tap-name">${row.name || "–"}</span>
    <span class="number">${duration(row.duration_us)}</span>
    <span class=${isBad ? "bad" : "muted"}>${row.status === "ok" ? "" : row.status}</span>
    <span class="tap-badges">${badges(row, id).map((badge) => html`<span class=${`badge ${badge.tone}`}><span aria-hidden="true">${badge.sign}</span> ${badge.words}</span>`)}</span>
  </button>${isOpen && html`<${Fields} row=${row} />`}</li>`;
}

/** @param {{row: import("../tapmodel.js").Row}} props */
function Fields({ row }) {
  const all = fields(row);
  const changed = all.filter((one) => ["changed", "added", "removed"].includes(one.kind));
  const others = all.filter((one) => !changed.includes(one));
  const value = (text) => (text === null ? html`<span class="muted">not there</span>` : html`<code>${text}</code>`);
  return html`<div class="fields">
    <div class="fields-head">
      ${row.trace_id ? html`<span class="muted">trace <code>${row.trace_id}</code></span>` : ""}<span class="space"></span>
      ${row.otlp ? html`<span class="muted">OTLP/JSON</span> <${Copy} text=${row.otlp} what="the item as OTLP/JSON" />` : html`<span class="muted">too large to copy</span>`}</div>
    ${changed.length > 0 && html`<table class="rows changes-table"><thead><tr><th scope="col">Changed</th><th scope="col">In</th><th scope="col">Out</th></tr></thead>
      <tbody>${changed.map((one) => html`<tr key=${one.key} class=${one.kind}><th scope="row"><span aria-hidden="true">${{ changed: "≠", added: "+", removed: "−" }[one.kind]}</span> ${one.key}</th>
        <td>${value(one.before)}</td><td>${value(one.after)}</td></tr>`)}</tbody></table>`}
    <table class="rows"><thead><tr><th scope="col">${changed.length > 0 ? "The same" : "Field"}</th><th scope="col">Value</th></tr></thead>
      <tbody>${others.map((one) => html`<tr key=${one.key}><th scope="row">${one.key}</th><td>${value(one.before)}</td></tr>`)}</tbody></table>
    ${row.more_fields > 0 && html`<p class="muted pad">and ${row.more_fields} more fields, which the copy has</p>`}
  </div>`;
}
