// Boards: questions about what came lately. Every row leads to its traces.

import { html, useEffect, useState } from "../../vendor/ui.js";
import { get, post } from "../api.js";
import { Heat, Lines } from "../chart.js";
import { asText, honesty, listPath, rowFilter } from "../filters.js";
import { age, ago, count, millis, rate } from "../format.js";
import { Bar, Card, Copy, Empty, Tabs, Trouble } from "../parts.js";
import { about, ask, go, isPaused, link, place } from "../state.js";
import { Rows } from "../tracerows.js";
import { NoData } from "./traces.js";

const EVERY_MS = 10_000;
const RANGES = { "": "All that is held", 60: "Last minute", 300: "Last 5 minutes", 900: "Last 15 minutes" };

export function Boards() {
  const [state, set] = useState({ boards: undefined, error: undefined });
  const level = about.value?.level;
  useEffect(() => {
    if (level !== "data") return;
    get("boards").then(({ boards }) => set({ boards })).catch((error) => set({ error }));
  }, [level]);
  if (level && level !== "data") return html`<${NoData} name="Boards" />`;
  if (state.error) return html`<${Trouble} error=${state.error} />`;
  if (!state.boards) return html`<p class="boot">Reading the boards.</p>`;
  const { query } = place.value;
  const board = state.boards.find((one) => one.title === query.board) ?? state.boards[0];
  const tabs = state.boards.map(({ title }) => ({ id: title, name: title }));
  const range = Number(query.last) || 0;
  return html`<header class="page-head"><h1>Boards</h1><${Tabs} label="Boards" tabs=${tabs} current=${board.title} onPick=${(board) => ask({ board })} />
      <label class="pick end"><span class="hidden">Time</span><select value=${query.last ?? ""} onChange=${(event) => ask({ last: event.target.value })}>
        ${Object.entries(RANGES).map(([key, name]) => html`<option key=${key} value=${key}>${name}</option>`)}</select></label></header>
    <div class="boards">${board.panels.map((panel) => html`<${Panel} key=${`${board.title} ${panel.title} ${range}`} panel=${panel} range=${range} />`)}</div>`;
}

/** Asks at once and then again and again, while somebody looks. @param {() => Promise<any>} read */
function useAnswer(read) {
  const [state, set] = useState({ answer: undefined, error: undefined });
  useEffect(() => {
    let isOver = false;
    let timer;
    const again = async (isFirst) => {
      if (isFirst || !(document.hidden || isPaused.peek() || link.peek() === "lost")) {
        await read()
          .then((answer) => isOver || set({ answer, error: undefined }))
          .catch((error) => isOver || set((before) => ({ ...before, error })));
      }
      if (!isOver) timer = setTimeout(() => again(false), EVERY_MS);
    };
    again(true);
    return () => {
      isOver = true;
      clearTimeout(timer);
    };
  }, []);
  return state;
}

function Panel({ panel, range }) {
  const isList = panel.view === "traces";
  const query = range ? { ...panel.query, range: { last_s: range } } : panel.query;
  const from = range ? { from_s: Date.now() / 1000 - range } : {};
  const { answer, error } = useAnswer(() => (isList ? get(`${listPath({ where: asText(panel.query.where ?? []) }, 10)}${range ? `&from_s=${from.from_s}` : ""}`) : post("query", query)));
  const notes = panel.notes.length > 0 ? ` (${panel.notes.join("; ")})` : "";
  return html`<${Card} title=${panel.title} class=${`panel panel-${panel.view}`} aside=${!isList && html`<span title=${`As a query of Honeycomb${notes}`}><${Copy} text=${JSON.stringify(panel.honeycomb, undefined, 2)} what=${`${panel.title} as a query of Honeycomb`} /></span>`}>
    ${error && html`<div class="pad"><${Trouble} error=${error} /></div>`}
    ${answer ? html`<${View} panel=${panel} answer=${answer} />` : !error && html`<p class="pad muted">Asking.</p>`}
    ${answer && html`<p class="muted pad honest">${honesty(answer, Date.now(), age)}${isList ? "" : ` · ${count(answer.matched)} of ${count(answer.scanned)} items in ${millis(answer.took_us / 1000)}`}</p>`}</${Card}>`;
}

/** A result in its unit, which its label tells. @param {string} label @param {any} value */
function shown(label, value) {
  if (value === null || value === undefined) return "–";
  if (typeof value !== "number") return String(value);
  if (label.endsWith("(duration_ms)")) return millis(value);
  if (label.endsWith("(time)")) return ago(Date.now() - value);
  if (label === "RATE") return `${rate(value)}/s`;
  return Number.isInteger(value) ? count(value) : value.toPrecision(3);
}

const NAMES = { COUNT: "count", RATE: "rate", "MAX(time)": "last seen", "LAST(time)": "last seen" };
const title = (label) => NAMES[label] ?? label.replace(/^(P\d+|AVG|MAX|MIN|SUM)\(duration_ms\)$/, (_, op) => op.toLowerCase());
const named = (group) => group.map((value) => (value === null ? "(none)" : value === "" ? "(empty)" : String(value))).join(" · ");

function View({ panel, answer }) {
  if (panel.view === "traces") {
    return answer.traces.length > 0 ? html`<${Rows} traces=${answer.traces} />` : html`<${Empty} title="No trace meets this." />`;
  }
  const isHeat = panel.view === "heatmap";
  if (answer.rows.length === 0 || (isHeat && !answer.heatmaps[0]?.cells.length)) {
    const where = (panel.query.where ?? []).map((one) => one.join(" ")).join(", ");
    return html`<${Empty} title=${answer.scanned > 0 ? "Nothing meets the conditions." : "Nothing has come yet."}>${where && html`<p>It asks for <code>${where}</code>.</p>`}</${Empty}>`;
  }
  if (isHeat) return html`<div class="pad"><${Heat} label=${panel.title} heat=${answer.heatmaps[0]} from=${answer.from_ms} step=${answer.step_ms} show=${millis} /></div>`;
  if (panel.view === "number") return html`<p class="big pad">${shown(answer.select[0], answer.rows[0].values[0])}</p>`;
  if (panel.view === "line" && answer.series.length > 0) {
    const lines = answer.series.flatMap((one) => one.values.map((values, at) => ({ values, name: [answer.rows[one.row].group.length && named(answer.rows[one.row].group), answer.select.length > 1 && title(answer.select[at])].filter(Boolean).join(" ") })));
    return html`<div class="pad"><${Lines} label=${panel.title} names=${lines.map((line) => line.name)} series=${lines.map((line) => line.values)}
      from=${answer.from_ms} step=${answer.step_ms} show=${(value) => shown(answer.select[0], value)} /></div>`;
  }
  return html`<${Table} panel=${panel} answer=${answer} />`;
}

function Table({ panel, answer }) {
  const hasTraces = (panel.query.dataset ?? "spans") === "spans";
  const most = Math.max(1e-9, ...answer.rows.map((row) => Number(row.values[0]) || 0));
  const hasBars = panel.view === "bar";
  const open = (row) => go("traces", { where: asText(rowFilter(panel.query, answer.group_by, row.group)) });
  return html`<div class="scroll"><table class="rows"><thead><tr>${answer.group_by.map((name) => html`<th scope="col" key=${name}>${name}</th>`)}
    ${hasBars && html`<th scope="col" class="wide"><span class="hidden">Share of the most</span></th>`}${answer.select.map((label) => html`<th scope="col" class="number" key=${label}>${title(label)}</th>`)}
    ${hasTraces && html`<th scope="col"><span class="hidden">Traces</span></th>`}</tr></thead>
    <tbody>${answer.rows.map((row) => html`<tr key=${JSON.stringify(row.group)}>${row.group.map((value, i) => html`<td key=${i} class="wrap">${value === null ? html`<span class="muted">(none)</span>` : String(value)}</td>`)}
      ${hasBars && html`<td><${Bar} parts=${[{ value: Number(row.values[0]) || 0 }]} whole=${most} label=${shown(answer.select[0], row.values[0])} /></td>`}
      ${row.values.map((value, i) => html`<td key=${i} class=${typeof value === "number" ? "number" : "wrap"}>${shown(answer.select[i], value)}</td>`)}
      ${hasTraces && html`<td class="number"><button type="button" class="link" aria-label=${`Traces of ${named(row.group)}`} onClick=${() => open(row)}>traces</button></td>`}</tr>`)}
    ${answer.other && html`<tr><td colspan=${answer.group_by.length}>all others</td>${hasBars && html`<td></td>`}${answer.other.values.map((value, i) => html`<td key=${i} class="number">${shown(answer.select[i], value)}</td>`)}${hasTraces && html`<td></td>`}</tr>`}</tbody></table></div>
    ${answer.groups > answer.rows.length && html`<p class="muted pad honest">the first ${answer.rows.length} of ${count(answer.groups)}</p>`}`;
}
