// Small parts that several pages use.

import { html, useRef, useState } from "../vendor/ui.js";
import { asTables } from "./state.js";

const ICONS = {
  graph: "M3 5h4v4H3zM13 3h4v4h-4zM13 13h4v4h-4zM7 7h3M10 5v10M10 5h3M10 15h3",
  out: "M3 4h8v12H3zM8 10h9M14 7l3 3-3 3",
  tree: "M3 5h9M6 10h11M9 15h6",
  chart: "M3 16h14M5 16v-5M9 16V5M13 16V9",
  tap: "M3 7h8a4 4 0 0 1 4 4v2M7 7V4M4.500 4h5M3 10.500h7M13 16.500h4",
  meter: "M3 14a7 7 0 1 1 14 0M10 14l3-5",
  file: "M5 3h7l3 3v11H5zM12 3v3h3M8 10h4M8 13h4",
  sun: "M10 6.500a3.500 3.500 0 1 1 0 7 3.500 3.500 0 0 1 0-7zM10 2v2M10 16v2M2 10h2M16 10h2M4.300 4.300l1.400 1.400M14.300 14.300l1.400 1.400M4.300 15.700l1.400-1.400M14.300 5.700l1.400-1.400",
  moon: "M15.500 12A6.500 6.500 0 0 1 8 4.500a6.500 6.500 0 1 0 7.500 7.500z",
  auto: "M10 3a7 7 0 1 1 0 14 7 7 0 0 1 0-14zM10 3v14",
  pause: "M7 5v10M13 5v10",
  play: "M7 5l8 5-8 5z",
  help: "M7.500 7.500a2.500 2.500 0 1 1 3.500 2.300c-.7.300-1 .8-1 1.700M10 14.500v.2M10 3a7 7 0 1 1 0 14 7 7 0 0 1 0-14z",
  copy: "M7 7h9v9H7zM4 13V4h9",
  check: "M4 10l4 4 8-8",
  table: "M3 5h14v10H3zM3 9h14M8 9v6",
  close: "M5 5l10 10M15 5L5 15",
  search: "M9 4a5 5 0 1 1 0 10A5 5 0 0 1 9 4zM13 13l4 4",
  reload: "M16 10a6 6 0 1 1-2-4.500M16 3v3.500h-3.500",
};

/** @param {{name: string}} props */
export function Icon({ name }) {
  return html`<svg class="icon" viewBox="0 0 20 20" width="20" height="20" aria-hidden="true"><path d=${ICONS[name]} /></svg>`;
}

/** The words of a state, each with a sign, so that no one needs the colour. */
const STATES = {
  ok: ["●", "ok"],
  idle: ["○", "nothing yet"],
  error: ["▲", "failing"],
  stopped: ["■", "stopped"],
  unknown: ["○", "unknown"],
};

/** @param {{state: string, words?: string}} props */
export function State({ state, words }) {
  const [sign, name] = STATES[state] ?? STATES.unknown;
  return html`<span class=${`state ${state}`}><span aria-hidden="true">${sign}</span> ${words ?? name}</span>`;
}

/** @param {{name: string}} props */
export function Signal({ name }) {
  return html`<span class=${`signal ${name.split("/")[0]}`}>${name}</span>`;
}

/**
 * A card with a title, and what belongs beside it.
 * @param {{title: string, aside?: any, id?: string, class?: string, children?: any}} props
 */
export function Card({ title, aside, children, ...rest }) {
  return html`<section class=${`card ${rest.class ?? ""}`} aria-label=${title}>
    <header class="card-head"><h2>${title}</h2>${aside && html`<div class="card-aside">${aside}</div>`}</header>
    ${children}
  </section>`;
}

/**
 * A bar: used parts of a whole, with words for those who do not see it.
 * @param {{parts: {value: number, kind?: string}[], whole: number, mark?: number, label: string}} props
 */
export function Bar({ parts, whole, mark, label }) {
  const width = (value) => `${Math.max(0, Math.min(100, (100 * value) / (whole || 1)))}%`;
  return html`<div class="bar" role="img" aria-label=${label}>
    ${parts.map((part) => html`<span class=${`bar-part ${part.kind ?? ""}`} style=${{ width: width(part.value) }}></span>`)}
    ${mark !== undefined && html`<span class="bar-mark" style=${{ left: width(mark) }}></span>`}
  </div>`;
}

/**
 * A line of the last minutes. Gaps are gaps.
 * @param {{values: (number | undefined)[], label: string, tone?: string, width?: number, height?: number, most?: number, show?: (value: number) => string}} props
 */
export function Spark({ values, label, tone = "", width = 160, height = 36, most = 300, show = String }) {
  const known = values.filter((value) => value !== undefined);
  const peak = Math.max(...known, 0);
  const shown = values.slice(-most);
  // The first minute fills the width, then it is the last five.
  const slots = Math.max(60, shown.length);
  const step = width / (slots - 1);
  const start = width - (shown.length - 1) * step;
  const y = (value) => height - 2 - (peak > 0 ? (value / peak) * (height - 5) : 0);
  const runs = [];
  let run = [];
  shown.forEach((value, i) => {
    if (value === undefined) {
      if (run.length > 0) runs.push(run);
      run = [];
    } else run.push([start + i * step, y(value)]);
  });
  if (run.length > 0) runs.push(run);
  const line = (points) => points.map(([x, y], i) => `${i ? "L" : "M"}${x.toFixed(1)} ${y.toFixed(1)}`).join("");
  const area = (points) => `${line(points)}L${points.at(-1)[0].toFixed(1)} ${height}L${points[0][0].toFixed(1)} ${height}z`;
  const last = known.at(-1) ?? 0;
  const words = known.length > 1 ? `${label}: now ${show(last)}, at most ${show(peak)}` : `${label}: no history yet`;
  if (asTables.value) {
    return html`<table class="mini"><caption>${label}</caption><thead><tr><th scope="col">now</th><th scope="col">mean</th>
      <th scope="col">most</th></tr></thead>
      <tbody><tr><td>${show(last)}</td><td>${show(known.reduce((sum, one) => sum + one, 0) / Math.max(1, known.length))}</td>
        <td>${show(peak)}</td></tr></tbody></table>`;
  }
  return html`<svg class=${`spark ${tone}`} viewBox=${`0 0 ${width} ${height}`} preserveAspectRatio="none" role="img" aria-label=${words}>
    <path class="spark-base" d=${`M0 ${height - 1.5}H${width}`} />
    ${runs.filter((run) => run.length > 1).map((run) => html`<path class="spark-area" d=${area(run)} />
      <path class="spark-line" d=${line(run)} />`)}
  </svg>`;
}

/** A button that copies a text. @param {{text: string, what: string}} props */
export function Copy({ text, what }) {
  const [isDone, setDone] = useState(false);
  const timer = useRef(0);
  const copy = async () => {
    try {
      await navigator.clipboard.writeText(text);
    } catch {
      return;
    }
    setDone(true);
    clearTimeout(timer.current);
    timer.current = setTimeout(() => setDone(false), 1600);
  };
  return html`<button type="button" class="quiet" onClick=${copy} aria-label=${`Copy ${what}`}>
    <${Icon} name=${isDone ? "check" : "copy"} /><span aria-live="polite">${isDone ? "Copied" : "Copy"}</span>
  </button>`;
}

/** Lines to copy. @param {{lines: string[], what: string}} props */
export function Code({ lines, what }) {
  return html`<div class="code"><pre tabindex="0" aria-label=${what}><code>${lines.join("\n")}</code></pre>
    <${Copy} text=${lines.join("\n")} what=${what} /></div>`;
}

/** A text in which `names` are set apart. @param {{text: string}} props */
export function Words({ text }) {
  return text.split(/(`[^`]+`)/).map((part) => (part.length > 2 && part.startsWith("`") && part.endsWith("`") ? html`<code>${part.slice(1, -1)}</code>` : part));
}

/** Nothing is there, and what to do. @param {{title: string, children?: any}} props */
export function Empty({ title, children }) {
  return html`<div class="empty"><p class="empty-title">${title}</p>${children}</div>`;
}

/** What is wrong, and the remedy. @param {{error: any}} props */
export function Trouble({ error }) {
  return html`<p class="trouble" role="alert"><strong>${error.message}</strong>${error.help ? html`<br />${error.help}` : ""}</p>`;
}

/** A field to search in. `/` leads to it. @param {{label: string, value: string, onInput: (text: string) => void}} props */
export function Search({ label, value, onInput }) {
  return html`<label class="search"><${Icon} name="search" /><span class="hidden">${label}</span>
    <input type="search" data-search placeholder=${label} value=${value} onInput=${(event) => onInput(event.target.value)} />
    <kbd aria-hidden="true">/</kbd></label>`;
}

/**
 * A row of tabs, moved by arrow keys.
 * @param {{label: string, tabs: {id: string, name: any}[], current: string, onPick: (id: string) => void}} props
 */
export function Tabs({ label, tabs, current, onPick }) {
  const move = (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!step) return;
    event.preventDefault();
    const at = tabs.findIndex((tab) => tab.id === current);
    const next = tabs[(at + step + tabs.length) % tabs.length];
    onPick(next.id);
    event.currentTarget.querySelectorAll("[role=tab]")[tabs.indexOf(next)]?.focus();
  };
  return html`<div class="tabs" role="tablist" aria-label=${label} onKeyDown=${move}>
    ${tabs.map((tab) => html`<button type="button" role="tab" key=${tab.id} aria-selected=${tab.id === current}
      tabindex=${tab.id === current ? 0 : -1} onClick=${() => onPick(tab.id)}>${tab.name}</button>`)}
  </div>`;
}
