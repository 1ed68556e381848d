// Lines, bars and heatmaps of boards. Each has a table of the same numbers.

import { html } from "../vendor/ui.js";
import { clock } from "./format.js";
import { asTables } from "./state.js";

const TONES = 8;
const [WIDTH, HEIGHT] = [600, 150];

/**
 * A line for each row of an answer.
 * @param {{label: string, names: string[], series: (number | null)[][], from: number, step: number, show: (value: number) => string}} props
 */
export function Lines({ label, names, series, from, step, show }) {
  const shown = series.slice(0, TONES);
  const known = shown.map((line) => line.filter((value) => value !== null));
  const peak = Math.max(0, ...known.flat());
  const table = html`<table class="rows"><caption>${label}</caption><thead><tr><th scope="col">Line</th><th scope="col" class="number">Last</th>
    <th scope="col" class="number">Least</th><th scope="col" class="number">Most</th></tr></thead><tbody>${shown.map((_, i) => html`<tr key=${i}><th scope="row">${names[i]}</th>
    ${[known[i].at(-1), Math.min(...known[i]), Math.max(...known[i])].map((value, at) => html`<td key=${at} class="number">${value === undefined || !Number.isFinite(value) ? "–" : show(value)}</td>`)}</tr>`)}</tbody></table>`;
  if (asTables.value) return table;
  const points = Math.max(2, ...shown.map((line) => line.length));
  const x = (i) => (i * WIDTH) / (points - 1);
  const y = (value) => HEIGHT - 4 - (peak > 0 ? (value / peak) * (HEIGHT - 14) : 0);
  return html`<div class="chart"><span class="chart-peak muted">${show(peak)}</span>
    <svg viewBox=${`0 0 ${WIDTH} ${HEIGHT}`} preserveAspectRatio="none" aria-hidden="true">
      ${[0, 0.5, 1].map((part) => html`<path key=${part} class="spark-base" d=${`M0 ${y(part * peak)}H${WIDTH}`} />`)}
      ${shown.map((line, i) => html`<path key=${i} class=${`chart-line tone-${i}`} d=${path(line, x, y)} />`)}</svg>
    <p class="chart-time muted"><span>${clock(from)}</span><span>${clock(from + step * points)}</span></p>
    <p class="legend">${shown.map((_, i) => html`<span key=${i} class=${`tone-${i}`}><i></i>${names[i]} <b>${known[i].length > 0 ? show(known[i].at(-1)) : "–"}</b></span>`)}${series.length > TONES ? html`<span class="muted">and ${series.length - TONES} more</span>` : ""}</p></div><div class="hidden">${table}</div>`;
}

/** Where there is no value, the line has a gap; a value alone is a dash. */
function path(line, x, y) {
  let text = "";
  line.forEach((value, i) => {
    if (value === null) return;
    const starts = i === 0 || line[i - 1] === null;
    text += `${starts ? "M" : "L"}${x(i).toFixed(1)} ${y(value).toFixed(1)}`;
    if (starts && (line[i + 1] === null || i === line.length - 1)) text += "h8";
  });
  return text;
}

/**
 * How often values of a size occurred over time.
 * @param {{label: string, heat: any, from: number, step: number, show: (value: number) => string}} props
 */
export function Heat({ label, heat, from, step, show }) {
  const rows = heat.bounds.length - 1;
  const sums = new Array(Math.max(0, rows)).fill(0);
  let [peak, columns] = [0, 1];
  for (const [at, bucket, weight] of heat.cells) {
    sums[bucket] += weight;
    peak = Math.max(peak, weight);
    columns = Math.max(columns, at + 1);
  }
  const table = html`<table class="rows"><caption>${label}</caption><thead><tr><th scope="col">From</th><th scope="col">To</th><th scope="col" class="number">Count</th></tr></thead>
    <tbody>${sums.map((sum, i) => sum > 0 && html`<tr key=${i}><td>${show(heat.bounds[i])}</td><td>${show(heat.bounds[i + 1])}</td><td class="number">${Math.round(sum)}</td></tr>`)}</tbody></table>`;
  if (asTables.value || rows < 1) return table;
  const [wide, high] = [WIDTH / columns, HEIGHT / rows];
  return html`<div class="chart"><span class="chart-peak muted">${show(heat.bounds.at(-1))}</span><svg viewBox=${`0 0 ${WIDTH} ${HEIGHT}`} preserveAspectRatio="none" aria-hidden="true">
    ${heat.cells.map(([at, bucket, weight]) => html`<rect key=${`${at} ${bucket}`} class="heat" x=${at * wide} y=${HEIGHT - (bucket + 1) * high} width=${Math.max(1, wide - 0.5)} height=${Math.max(1, high - 0.5)}
      style=${{ opacity: 0.18 + 0.82 * Math.sqrt(weight / peak) }} />`)}</svg>
    <p class="chart-time muted"><span>${clock(from)}</span><span>from ${show(heat.bounds[0])}</span><span>${clock(from + step * columns)}</span></p></div><div class="hidden">${table}</div>`;
}
