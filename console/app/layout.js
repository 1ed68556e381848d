// Where the nodes and edges of the graph are. Pure, and the same for the same graph, so that nothing
// jumps when numbers change.
//
// Every pipeline has a row of its own through all columns. Its label and its processors stand in
// the row; an edge that passes other columns runs along it, where nothing stands. Receivers are in
// the first column and exporters in the last one: each reaches over the rows of its pipelines if no
// other is between them, so that most edges are straight lines.

/**
 * @typedef {import("./graphmodel.js").Graph} Graph
 * @typedef {{key: string, x: number, y: number, width: number, height: number}} Box
 * @typedef {{key: string, path: string, x: number, y: number, align: string}} Line
 *   `x`, `y`: where its numbers are; `align`: `start`, `middle` or `end`.
 * @typedef {{width: number, height: number, boxes: Box[], lines: Line[]}} Layout
 */

export const SIZES = {
  row: 82,
  node: { width: 120, widest: 190, height: 54 },
  /** Receivers and exporters, whose second lines are longer. */
  end: { width: 142 },
  label: { width: 104, height: 26 },
  /** `bent`: where edges curve beside their numbers; `mute`: where there are no numbers. */
  gutter: { least: 76, most: 140, bent: 132, mute: 26 },
  /** Half of the width of a curve, and the straight part with the numbers. */
  bend: 28,
  straight: 72,
  gap: 14,
  /** Room for the numbers of an edge, above and below it. */
  port: 40,
};

/** @param {Graph} graph */
function rowsOf(graph) {
  const feeds = new Map();
  const fedBy = new Map();
  for (const edge of graph.edges) {
    if (edge.to.startsWith("connector:")) feeds.set(edge.pipeline, [...(feeds.get(edge.pipeline) ?? []), edge.to]);
    if (edge.from.startsWith("connector:")) fedBy.set(edge.pipeline, [...(fedBy.get(edge.pipeline) ?? []), edge.from]);
  }
  const order = [];
  const place = (pipeline) => {
    if (order.includes(pipeline)) return;
    order.push(pipeline);
    for (const connector of feeds.get(pipeline) ?? []) {
      if (!order.includes(connector)) order.push(connector);
      for (const next of graph.pipelines.filter((id) => (fedBy.get(id) ?? []).includes(connector))) place(next);
    }
  };
  graph.pipelines.filter((id) => !fedBy.has(id)).forEach(place);
  graph.pipelines.forEach(place);
  return order;
}

/**
 * The column of each node: one more than the last of those before it. Exporters are in the last.
 * @param {Graph} graph
 */
function columnsOf(graph) {
  const columns = new Map(graph.nodes.map((node) => [node.key, 0]));
  // Pipelines form no circle, so this ends; the limit is for a reading that is odd.
  for (let round = 0; round <= graph.nodes.length; round += 1) {
    let isDone = true;
    for (const { from, to } of graph.edges) {
      const least = (columns.get(from) ?? 0) + 1;
      if ((columns.get(to) ?? 0) < least) {
        columns.set(to, least);
        isDone = false;
      }
    }
    if (isDone) break;
  }
  const last = Math.max(0, ...columns.values());
  for (const node of graph.nodes) if (node.kind === "exporter") columns.set(node.key, last);
  return columns;
}

/** @param {string} kind */
const isShared = (kind) => kind === "receiver" || kind === "exporter";

/**
 * Height and centre of the nodes of a column that belong to several rows.
 * @param {{key: string, rows: number[]}[]} nodes
 */
function stacked(nodes) {
  const spans = nodes.map(({ key, rows }) => ({ key, top: Math.min(...rows), bottom: Math.max(...rows), ports: rows.length, rows }));
  spans.sort((a, b) => a.top - b.top || a.bottom - b.bottom || (a.key < b.key ? -1 : 1));
  const isApart = spans.every((span, i) => i === 0 || span.top > spans[i - 1].bottom);
  const placed = new Map();
  if (isApart) {
    for (const { key, top, bottom } of spans) {
      placed.set(key, { y: (top + bottom) / 2, height: bottom - top + SIZES.node.height });
    }
    return placed;
  }
  spans.sort((a, b) => mean(a.rows) - mean(b.rows) || (a.key < b.key ? -1 : 1));
  let free = -Infinity;
  const boxes = spans.map((span) => {
    const height = Math.max(SIZES.node.height, span.ports * SIZES.port + 12);
    const y = Math.max(mean(span.rows), free + height / 2);
    free = y + height / 2 + SIZES.gap;
    return { key: span.key, y, height };
  });
  // Pushed down by those above, all of them move up again by half of it.
  const wanted = spans.reduce((sum, span) => sum + mean(span.rows), 0) / spans.length;
  const shift = boxes.reduce((sum, box) => sum + box.y, 0) / boxes.length - wanted;
  for (const { key, y, height } of boxes) placed.set(key, { y: y - shift, height });
  return placed;
}

/** @param {number[]} values */
const mean = (values) => values.reduce((sum, one) => sum + one, 0) / values.length;

/**
 * @param {Graph} graph @param {number} [available] the width that should be filled
 * @returns {Layout}
 */
export function layout(graph, available = 0) {
  if (graph.nodes.length === 0) return { width: 0, height: 0, boxes: [], lines: [] };
  const rows = rowsOf(graph);
  const rowY = new Map(rows.map((id, i) => [id, (i + 0.5) * SIZES.row]));
  const columns = columnsOf(graph);
  const centres = centresOf(graph, rowY);
  const boxes = new Map();
  for (const node of graph.nodes) {
    const { y, height } = centres.get(node.key) ?? { y: 0, height: SIZES.node.height };
    boxes.set(node.key, { key: node.key, x: 0, y: y - height / 2, width: 0, height });
  }
  const top = Math.min(...[...boxes.values()].map((box) => box.y)) - 24;
  for (const box of boxes.values()) box.y -= top;
  const rowOf = (id) => (rowY.get(id) ?? 0) - top;
  const ports = portsOf(graph, boxes, rowOf);
  const rowOfEdge = new Map(graph.edges.flatMap((edge) => [[`${edge.key} in`, rowOf(edge.pipeline)], [`${edge.key} out`, rowOf(edge.pipeline)]]));
  const bent = new Set([...ports].filter(([side, y]) => Math.abs(y - (rowOfEdge.get(side) ?? y)) > 0.5).map(([side]) => side));
  const xs = across(graph, columns, bent, available);
  for (const node of graph.nodes) {
    const { x, width } = xs.columns[columns.get(node.key) ?? 0];
    const own = node.kind === "pipeline" ? Math.min(width, SIZES.label.width) : width;
    Object.assign(boxes.get(node.key), { x: x + (width - own) / 2, width: own });
  }
  const lines = linesOf(graph, boxes, ports, rowOf);
  const bottom = Math.max(...[...boxes.values()].map((box) => box.y + box.height), ...lines.map((line) => line.y));
  return { width: xs.width, height: bottom + 24, boxes: [...boxes.values()], lines };
}

/** @param {Graph} graph @param {Map<string, number>} rowY */
function centresOf(graph, rowY) {
  const centres = new Map();
  const y = (id) => rowY.get(id) ?? 0;
  for (const kind of ["receiver", "exporter"]) {
    const shared = graph.nodes.filter((node) => node.kind === kind).map((node) => ({
      key: node.key,
      rows: [...new Set(graph.edges.filter((edge) => edge.from === node.key || edge.to === node.key).map((edge) => y(edge.pipeline)))].sort((a, b) => a - b),
    }));
    for (const [key, place] of stacked(shared.filter((node) => node.rows.length > 0))) centres.set(key, place);
  }
  for (const node of graph.nodes.filter((node) => !isShared(node.kind))) {
    const row = node.kind === "connector" ? y(node.key) : y(node.pipeline);
    centres.set(node.key, { y: row, height: node.kind === "pipeline" ? SIZES.label.height : SIZES.node.height });
  }
  return centres;
}

/**
 * Where the columns are.
 * @param {Graph} graph @param {Map<string, number>} columns @param {Set<string>} bent @param {number} available
 */
function across(graph, columns, bent, available) {
  const count = Math.max(...columns.values()) + 1;
  const kindsOf = (column) => new Set(graph.nodes.filter((node) => columns.get(node.key) === column).map((node) => node.kind));
  const kinds = Array.from({ length: count }, (_, i) => kindsOf(i));
  const isOnly = (i, kind) => kinds[i].size === 1 && kinds[i].has(kind);
  const isEnd = (i) => kinds[i].has("receiver") || kinds[i].has("exporter");
  const widths = kinds.map((_, i) => (isOnly(i, "pipeline") ? SIZES.label.width : isEnd(i) ? SIZES.end.width : SIZES.node.width));
  const gutters = kinds.slice(1).map((_, i) => gutterOf(graph, columns, bent, i));
  const total = (list) => list.reduce((sum, one) => sum + one, 0);
  const left = () => available - total(widths) - total(gutters);
  grow(widths, (i) => (isOnly(i, "pipeline") ? widths[i] : SIZES.node.widest), left());
  grow(gutters, (i) => (gutters[i] === SIZES.gutter.mute ? gutters[i] : Math.max(gutters[i], SIZES.gutter.most)), left());
  let x = 0;
  const placed = widths.map((width, i) => {
    const column = { x, width };
    x += width + (gutters[i] ?? 0);
    return column;
  });
  return { columns: placed, width: x };
}

/** Makes all wider by the same, as far as each may grow. @param {number[]} sizes @param {(i: number) => number} most @param {number} more */
function grow(sizes, most, more) {
  const able = sizes.map((size, i) => most(i) - size);
  const count = able.filter((one) => one > 0).length;
  for (let i = 0; i < sizes.length; i += 1) {
    if (able[i] > 0 && more > 0) sizes[i] += Math.min(able[i], more / count);
  }
}

/** The width between a column and the next one: room for the numbers that stand there. */
function gutterOf(graph, columns, bent, column) {
  const out = graph.edges.filter((edge) => columns.get(edge.from) === column);
  const into = graph.edges.filter((edge) => columns.get(edge.to) === column + 1);
  if ([...out.map((edge) => `${edge.key} out`), ...into.map((edge) => `${edge.key} in`)].some((side) => bent.has(side))) return SIZES.gutter.bent;
  const hasNumbers = out.some((edge) => edge.ends === "in" || (edge.ends === "inner" && !isRepeated(graph, edge))) || into.some((edge) => edge.ends === "out");
  return hasNumbers ? SIZES.gutter.least : SIZES.gutter.mute;
}

/**
 * Whether the numbers of an edge would only repeat those of the one before it.
 * @param {Graph} graph @param {import("./graphmodel.js").Edge} edge
 */
export function isRepeated(graph, edge) {
  return edge.from.startsWith("pipeline:") && edge.ends === "inner" && graph.edges.filter((one) => one.to === edge.from).length < 2;
}

/**
 * @param {Graph} graph @param {Map<string, Box>} boxes @param {Map<string, number>} ports
 * @param {(id: string) => number} rowOf @returns {Line[]}
 */
function linesOf(graph, boxes, ports, rowOf) {
  const { bend, straight } = SIZES;
  return graph.edges.map((edge) => {
    const [from, to] = [boxes.get(edge.from), boxes.get(edge.to)];
    if (!from || !to) return { key: edge.key, path: "", x: 0, y: 0, align: "middle" };
    const [x1, x2] = [from.x + from.width, to.x];
    const [y1, y2, row] = [ports.get(`${edge.key} out`) ?? 0, ports.get(`${edge.key} in`) ?? 0, rowOf(edge.pipeline)];
    const [isBentOut, isBentIn] = [Math.abs(y1 - row) > 0.5, Math.abs(y2 - row) > 0.5];
    let path = `M${x1} ${y1}`;
    // Numbers stand beside a box, where the edge is straight; it curves between them and the rest.
    const start = edge.ends === "in" ? straight : 0;
    if (isBentOut) path += `H${x1 + start}C${x1 + start + bend} ${y1} ${x1 + start + bend} ${row} ${x1 + start + 2 * bend} ${row}`;
    const stop = edge.ends === "out" ? straight : 0;
    if (isBentIn) path += `H${x2 - stop - 2 * bend}C${x2 - stop - bend} ${row} ${x2 - stop - bend} ${y2} ${x2 - stop} ${y2}H${x2}`;
    else path += `H${x2}`;
    if (edge.ends === "in") return { key: edge.key, path, x: x1 + 7, y: y1, align: "start" };
    if (edge.ends === "out") return { key: edge.key, path, x: x2 - 7, y: y2, align: "end" };
    return { key: edge.key, path, x: (x1 + x2) / 2, y: row, align: "middle" };
  });
}

/**
 * Where each edge leaves and enters. @param {Graph} graph @param {Map<string, Box>} boxes
 * @param {(id: string) => number} rowOf
 */
function portsOf(graph, boxes, rowOf) {
  const ports = new Map();
  for (const box of boxes.values()) {
    for (const [side, end] of [["out", "from"], ["in", "to"]]) {
      const own = graph.edges.filter((edge) => edge[end] === box.key);
      own.sort((a, b) => rowOf(a.pipeline) - rowOf(b.pipeline) || (a.key < b.key ? -1 : 1));
      const inside = (y) => y >= box.y + 10 && y <= box.y + box.height - 10;
      const rows = own.map((edge) => rowOf(edge.pipeline));
      const isStraight = rows.every(inside) && new Set(rows).size === rows.length;
      const step = Math.min(SIZES.port, (box.height - 12) / Math.max(1, own.length));
      own.forEach((edge, i) => {
        const spread = box.y + box.height / 2 + (i - (own.length - 1) / 2) * step;
        // Labels and processors have one row; what comes together there comes to one point.
        const isOne = box.key.startsWith("pipeline:") || box.key.startsWith("processor:");
        ports.set(`${edge.key} ${side}`, isOne ? box.y + box.height / 2 : isStraight ? rows[i] : spread);
      });
    }
  }
  return ports;
}
