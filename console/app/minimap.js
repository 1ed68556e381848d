// All spans of a trace in one small picture. A part of it that is drawn with the pointer becomes
// the range of the rows below.

import { html, useEffect, useRef, useState } from "../vendor/ui.js";
import { millis } from "./format.js";
import { isError } from "./tree.js";

const HEIGHT = 64;

/** @param {{trace: any, tree: import("./tree.js").Tree, zoom: {from: number, to: number}, onZoom: (zoom: {from: number, to: number}) => void}} props */
export function Minimap({ trace, tree, zoom, onZoom }) {
  const canvas = useRef(null);
  const [drag, setDrag] = useState(undefined);
  useEffect(() => {
    const own = canvas.current;
    const draw = () => paint(own, trace, tree);
    draw();
    const resized = new ResizeObserver(draw);
    resized.observe(own);
    const themed = new MutationObserver(draw);
    themed.observe(document.documentElement, { attributes: true, attributeFilter: ["data-theme"] });
    const scheme = matchMedia("(prefers-color-scheme: dark)");
    scheme.addEventListener("change", draw);
    return () => {
      resized.disconnect();
      themed.disconnect();
      scheme.removeEventListener("change", draw);
    };
  }, [trace, tree]);
  const time = (event) => {
    const { left, width } = canvas.current.getBoundingClientRect();
    return (Math.max(0, Math.min(1, (event.clientX - left) / width))) * tree.to;
  };
  const begin = (event) => {
    if (event.button !== 0) return;
    event.currentTarget.setPointerCapture(event.pointerId);
    setDrag({ from: time(event), to: time(event) });
  };
  const move = (event) => drag && setDrag({ ...drag, to: time(event) });
  const end = () => {
    if (!drag) return;
    const [from, to] = [Math.min(drag.from, drag.to), Math.max(drag.from, drag.to)];
    setDrag(undefined);
    if (to - from > tree.to / 200) onZoom({ from, to });
  };
  const part = drag ? { from: Math.min(drag.from, drag.to), to: Math.max(drag.from, drag.to) } : zoom;
  const share = (value) => `${(100 * value) / tree.to}%`;
  return html`<div class="minimap" role="img" aria-label=${`All ${tree.n} spans over ${millis(tree.to / 1000)}; shown is ${millis(part.from / 1000)} to ${millis(part.to / 1000)}`}
    title="Draw a range to zoom; + and - zoom, too" onPointerDown=${begin} onPointerMove=${move} onPointerUp=${end} onPointerCancel=${() => setDrag(undefined)}>
    <canvas ref=${canvas} height=${HEIGHT}></canvas>
    <span class="shade" style=${{ left: 0, width: share(part.from) }}></span><span class="shade" style=${{ left: share(part.to), right: 0 }}></span></div>`;
}

/** @param {HTMLCanvasElement} canvas @param {any} trace @param {import("./tree.js").Tree} tree */
function paint(canvas, trace, tree) {
  const ratio = Math.min(2, devicePixelRatio || 1);
  const width = canvas.clientWidth * ratio;
  const height = HEIGHT * ratio;
  if (width === 0) return;
  [canvas.width, canvas.height] = [width, height];
  const style = getComputedStyle(canvas);
  const tones = Array.from({ length: 8 }, (_, i) => style.getPropertyValue(`--tone-${i}`).trim());
  const bad = style.getPropertyValue("--bad").trim();
  const context = canvas.getContext("2d");
  const scale = width / tree.to;
  const step = Math.min(4 * ratio, (height - 4 * ratio) / tree.n);
  const thick = Math.max(1, step * 0.7);
  // Errors come last, so that none is covered.
  for (const failed of [false, true]) {
    for (let row = 0; row < tree.n; row++) {
      if (isError(trace, row) !== failed) continue;
      context.fillStyle = failed ? bad : tones[trace.service[row] % 8];
      context.fillRect(tree.start[row] * scale, 2 * ratio + row * step, Math.max(ratio, tree.duration[row] * scale), thick);
    }
  }
}
