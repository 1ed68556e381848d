// One trace: its head, a picture of all of it, and its spans as rows of a tree. Only the rows that
// are seen are in the document, so that a trace of 80 000 spans scrolls as one of ten.

import { html, useEffect, useLayoutEffect, useMemo, useRef, useState } from "../vendor/ui.js";
import { get } from "./api.js";
import { honesty } from "./filters.js";
import { age, clock, count, millis, plural } from "./format.js";
import { Minimap } from "./minimap.js";
import { Card, Copy, Empty, Icon, Search } from "./parts.js";
import { Span } from "./span.js";
import { ask, go, place } from "./state.js";
import { Fate } from "./tracerows.js";
import { CUT, find, isError, isLeaf, LINKS, MISSING, next, placeOf, reveal, ticks, treeOf, visible, windowOf, zoomed } from "./tree.js";

const ROW = 26;
/** Services have one of so many colours, in the order of their first span. */
const TONES = 8;

/** @param {{id: string}} props */
export function Waterfall({ id }) {
  const [state, set] = useState({ trace: undefined, error: undefined });
  const [turn, setTurn] = useState(0);
  useEffect(() => {
    let isOver = false;
    get(`traces/${encodeURIComponent(id)}`)
      .then((trace) => isOver || set({ trace, error: undefined }))
      .catch((error) => isOver || set({ trace: undefined, error }));
    return () => (isOver = true);
  }, [id, turn]);
  const back = () => go("traces", { ...place.value.query, trace: "", span: "", find: "" });
  const { trace, error } = state;
  if (error) {
    return html`<header class="page-head"><h1>Trace</h1></header><${Card} title=${id}>
      <${Empty} title=${error.message}><p>${error.help}</p><p><button type="button" class="primary" onClick=${back}>All traces</button></p></${Empty}></${Card}>`;
  }
  if (!trace) return html`<p class="boot">Reading the trace.</p>`;
  return html`<${Trace} key=${`${id} ${turn}`} trace=${trace} onBack=${back} onAgain=${() => setTurn(turn + 1)} />`;
}

/** What is odd of a trace, as words. */
function oddities(trace) {
  const odd = [];
  if (trace.missing > 0) odd.push(`${plural(trace.missing, "parent")} did not come`);
  if (trace.circles > 0) odd.push(`${plural(trace.circles, "circle")} of parents cut`);
  if (trace.gone > 0) odd.push(`${plural(trace.gone, "span")} not held any more`);
  if (trace.hidden > 0) odd.push(`${plural(trace.hidden, "span")} too many to be shown`);
  return odd;
}

function Trace({ trace, onBack, onAgain }) {
  const tree = useMemo(() => treeOf(trace), [trace]);
  const [closed] = useState(() => new Uint8Array(tree.n));
  const [turn, setTurn] = useState(0);
  const rows = useMemo(() => visible(tree, closed), [tree, turn]);
  const { query } = place.value;
  const row = Math.min(tree.n - 1, Math.max(0, Number(query.row) || 0));
  const [zoom, setZoom] = useState({ from: 0, to: tree.to });
  const found = useMemo(() => find(trace, query.find ?? ""), [trace, query.find]);
  const pick = (row, changes = {}) => {
    if (row === undefined) return;
    if (reveal(tree, closed, row)) setTurn((turn) => turn + 1);
    ask({ row: String(row), ...changes });
  };
  const fold = (at, isClosed) => {
    closed[at] = isClosed ? 1 : 0;
    setTurn((turn) => turn + 1);
  };
  const foldAll = (isClosed) => {
    for (let at = 0; at < tree.n; at++) closed[at] = isClosed && tree.parent[at] >= 0 && !isLeaf(tree, at) ? 1 : 0;
    setTurn((turn) => turn + 1);
    if (isClosed) ask({ row: "0" });
  };
  const view = { trace, tree, rows, row, zoom, setZoom, found, pick, fold, closed };
  useKeys(view);
  const odd = oddities(trace);
  const root = trace.names[trace.name[0]] || "(no name)";
  const at = found.indexOf(row);
  return html`<header class="page-head trace-head"><button type="button" class="quiet" onClick=${onBack}>‹ Traces</button>
      <h1 class="wrap">${root}</h1>
      <p class="muted">${clock(Number(BigInt(trace.base_ns) / 1_000_000n))} · ${millis(tree.to / 1000)} · ${plural(tree.n - trace.missing, "span")} · ${plural(trace.services.length, "service")}${tree.errors.length > 0 ? html` · <span class="bad">${plural(tree.errors.length, "error")}</span>` : ""}</p>
      <${Search} label="Find a span" value=${query.find ?? ""} onInput=${(text) => ask({ find: text })} /></header>
    <div class="filters"><${Fate} fate=${trace.fate} /><span class="mono muted wrap">${trace.trace}</span><${Copy} text=${trace.trace} what="the id of the trace" />
      <a class="quiet" href=${`/api/v1/traces/${trace.trace}/export`} download=${`trace-${trace.trace}.json`}><${Icon} name="out" /> OTLP/JSON</a>
      <button type="button" class="quiet" onClick=${onAgain}><${Icon} name="reload" /> Read again</button></div>
    ${odd.length > 0 && html`<p class="note" role="status">${odd.join("; ")}.</p>`}
    <div class=${query.span ? "trace-body open" : "trace-body"}><section class="card waterfall" aria-label="Spans">
      <div class="wf-tools">
        ${query.find && html`<span role="status">${found.length === 0 ? "nothing found" : `${at >= 0 ? `${at + 1} of ` : ""}${plural(found.length, "span")}`}</span>
          <button type="button" class="quiet" title="Next (n)" disabled=${found.length === 0} onClick=${() => pick(next(found, row, 1))}>Next</button>`}
        ${tree.errors.length > 0 && html`<button type="button" class="quiet" title="Next error (e)" onClick=${() => pick(next(tree.errors, row, 1))}>
          <span class="bad" aria-hidden="true">▲</span> Next error</button>`}
        <button type="button" class="quiet" onClick=${() => foldAll(true)}>Close all</button><button type="button" class="quiet" onClick=${() => foldAll(false)}>Open all</button>
        ${zoom.to - zoom.from < tree.to && html`<button type="button" class="quiet" title="Whole trace (0)" onClick=${() => setZoom({ from: 0, to: tree.to })}>Whole trace</button>`}
        <span class="legend">${trace.services.slice(0, TONES).map((name, i) => html`<span key=${name} class=${`tone-${i % TONES}`}><i></i>${name || "(none)"}</span>`)}</span></div>
      <${Minimap} trace=${trace} tree=${tree} zoom=${zoom} onZoom=${setZoom} />
      <${Grid} view=${view} />
      <p class="muted pad honest">${honesty(trace, Date.now(), age)}</p></section>
    ${query.span && html`<${Span} key=${trace.at[row]} trace=${trace} tree=${tree} row=${row} onClose=${() => ask({ span: "" })} />`}</div>`;
}

/** Keys of this page. */
function useKeys({ tree, row, found, pick, zoom, setZoom }) {
  useEffect(() => {
    const press = (event) => {
      if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest?.("input, textarea, select") || document.querySelector("dialog[open]")) return;
      const list = { n: found, N: found, e: tree.errors, E: tree.errors }[event.key];
      if (list) pick(next(list, row, event.shiftKey ? -1 : 1));
      else if (event.key === "+") setZoom(zoomed(zoom, 0.5, tree.to));
      else if (event.key === "-") setZoom(zoomed(zoom, 2, tree.to));
      else if (event.key === "0") setZoom({ from: 0, to: tree.to });
      else return;
      event.preventDefault();
    };
    addEventListener("keydown", press);
    return () => removeEventListener("keydown", press);
  });
}

/** The rows as a tree grid. The focus stays on the grid, which names the row that is meant. */
function Grid({ view }) {
  const { trace, tree, rows, row, zoom, found, pick, fold, closed } = view;
  const box = useRef(null);
  const [seen, setSeen] = useState({ top: 0, height: 600 });
  const look = () => box.current && setSeen({ top: box.current.scrollTop, height: box.current.clientHeight });
  useLayoutEffect(() => {
    look();
    const observer = new ResizeObserver(look);
    observer.observe(box.current);
    return () => observer.disconnect();
  }, []);
  const at = placeOf(rows, row);
  useLayoutEffect(() => {
    const { scrollTop, clientHeight } = box.current;
    const [top, room] = [at * ROW, clientHeight - ROW];
    if (top < scrollTop) box.current.scrollTop = top;
    else if (top + ROW > scrollTop + room) box.current.scrollTop = top + 2 * ROW - room;
    look();
  }, [row, rows]);
  const step = (to) => pick(rows[Math.max(0, Math.min(rows.length - 1, to))]);
  const press = (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const page = Math.max(1, Math.floor(seen.height / ROW) - 2);
    const moves = { ArrowDown: at + 1, ArrowUp: at - 1, PageDown: at + page, PageUp: at - page, Home: 0, End: rows.length - 1 };
    const own = rows[at];
    if (event.key in moves) step(moves[event.key]);
    else if (event.key === "ArrowRight" && !isLeaf(tree, own)) closed[own] ? fold(own, false) : pick(own + 1);
    else if (event.key === "ArrowLeft") !isLeaf(tree, own) && !closed[own] ? fold(own, true) : tree.parent[own] >= 0 && pick(tree.parent[own]);
    else if (event.key === "Enter") pick(own, { span: "1" });
    else return;
    event.preventDefault();
  };
  const { from, to } = windowOf(rows.length, seen.top, seen.height, ROW);
  const hits = useMemo(() => new Set(found), [found]);
  const shown = Array.from(rows.subarray(from, to));
  return html`<div class="wf-scroll" role="treegrid" aria-label="Spans of the trace" tabindex="0" ref=${box} onScroll=${look} onKeyDown=${press}
      aria-rowcount=${rows.length + 1} aria-activedescendant=${at >= from && at < to ? `span-${rows[at]}` : undefined}>
    <div role="rowgroup" class="wf-top"><div role="row" class="wf-head" aria-rowindex="1"><span role="columnheader">Span</span><span role="columnheader" class="wf-service">Service</span>
      <span role="columnheader" class="wf-axis"><span class="hidden">Time</span>${ticks(zoom.from, zoom.to).map((tick) => html`<span key=${tick} class="wf-tick" style=${{ left: `${(100 * (tick - zoom.from)) / (zoom.to - zoom.from)}%` }}>${millis(tick / 1000)}</span>`)}</span></div></div>
    <div role="rowgroup" class="wf-space" style=${{ height: `${rows.length * ROW}px` }}>${shown.map((one, i) => html`<${Row} key=${one} one=${one}
      at=${from + i} trace=${trace} tree=${tree} zoom=${zoom} isOpen=${!closed[one]} isPicked=${one === rows[at]} isHit=${hits.has(one)}
      onPick=${() => pick(one, { span: "1" })} onFold=${() => fold(one, !closed[one])} />`)}</div></div>`;
}

function Row({ one, at, trace, tree, zoom, isOpen, isPicked, isHit, onPick, onFold }) {
  const name = trace.names[trace.name[one]] || "(no name)";
  const service = trace.services[trace.service[one]] || "(none)";
  const flags = trace.flags[one];
  const failed = isError(trace, one);
  const hasBelow = !isLeaf(tree, one);
  const place = (time) => (100 * (time - zoom.from)) / (zoom.to - zoom.from);
  const [left, width] = [place(tree.start[one]), (100 * tree.duration[one]) / (zoom.to - zoom.from)];
  const lasts = millis(tree.duration[one] / 1000);
  const isLate = left + width > 72;
  // There is no room on either side of a long bar.
  const isInside = isLate && left < 14;
  const toggle = (event) => {
    event.stopPropagation();
    onFold();
  };
  return html`<div role="row" id=${`span-${one}`} class=${`wf-row tone-${trace.service[one] % TONES}${isPicked ? " picked" : ""}${isHit ? " hit" : ""}${failed ? " failed" : ""}${flags & MISSING ? " missing" : ""}`}
    style=${{ transform: `translateY(${at * ROW}px)` }} aria-level=${tree.depth[one] + 1} aria-rowindex=${at + 2} aria-selected=${isPicked}
    aria-expanded=${hasBelow ? isOpen : undefined} onClick=${onPick}>
    <span role="gridcell" class="wf-name" style=${{ paddingLeft: `${6 + Math.min(24, tree.depth[one]) * 12}px` }} title=${name}>
      <span class=${hasBelow ? "wf-fold" : "wf-fold none"} aria-hidden="true" onClick=${hasBelow ? toggle : undefined}>${hasBelow ? (isOpen ? "▾" : "▸") : ""}</span>
      <span class="wf-text">${failed && html`<span class="bad">▲<span class="hidden">failed: </span></span> `}${name}</span>
      ${hasBelow && !isOpen && html`<span class="chip">${count(tree.end[one] - one - 1)}</span>`}${flags & CUT ? html`<span class="chip">cut</span>` : ""}${flags & LINKS ? html`<span class="chip">link</span>` : ""}</span>
    <span role="gridcell" class="wf-service" title=${service}><i></i>${service}</span>
    <span role="gridcell" class="wf-time"><span class="wf-bar" style=${{ left: `${left}%`, width: `${width}%` }}></span>
      ${(tree.marks.get(one) ?? []).slice(0, 20).map((event) => html`<span key=${event} class=${trace.names[trace.events.name[event]] === "exception" ? "wf-event bad" : "wf-event"}
        style=${{ left: `${place(trace.events.time[event])}%` }} title=${trace.names[trace.events.name[event]]}></span>`)}
      <span class=${isInside ? "wf-lasts inside" : "wf-lasts"} style=${lastsAt(left, width, isLate, isInside)}>${lasts}</span></span></div>`;
}

/** Where the time of a bar stands: after it, else before it, else in it. */
function lastsAt(left, width, isLate, isInside) {
  if (isInside) return { left: `${Math.max(0, left) + 1}%` };
  return isLate ? { right: `${Math.max(0, 100 - left) + 0.5}%` } : { left: `${Math.max(0, left + width) + 0.5}%` };
}
