// From the readings of the API to the graph that is drawn. Pure.
//
// Receivers, exporters and connectors are shared by pipelines and stand in it once; processors
// belong to their pipeline. Each pipeline has a label of its own in the graph, where what comes
// from its receivers flows together.

/**
 * @typedef {{key: string, kind: string, id: string, pipeline: string}} Node
 * @typedef {{key: string, from: string, to: string, pipeline: string, counters: string[], ends: string}} Edge
 *   `counters`: edges of the API whose numbers are added up; `ends`: `in`, `inner` or `out`.
 * @typedef {{pipelines: string[], nodes: Node[], edges: Edge[]}} Graph
 * @typedef {{pipeline: string, kind: string, id: string}} ApiNode
 * @typedef {{pipeline: string, from: string, to: string, items: number, bytes: number}} ApiEdge
 */

/** The key of an edge of the API. @param {ApiEdge} edge */
export const counterOf = (edge) => `${edge.pipeline} | ${edge.from} | ${edge.to}`;

/** Key of a component in the graph. @param {string} pipeline @param {string} kind @param {string} id */
export function keyOf(pipeline, kind, id) {
  return kind === "processor" ? `processor:${pipeline}:${id}` : `${kind}:${id}`;
}

/** Key of an end of an edge: `receiver otlp`. @param {string} pipeline @param {string} end */
function keyOfEnd(pipeline, end) {
  const at = end.indexOf(" ");
  return keyOf(pipeline, end.slice(0, at), end.slice(at + 1));
}

/**
 * The order of processors in a pipeline, by its edges.
 * @param {ApiEdge[]} edges @param {string} pipeline
 */
function chain(edges, pipeline) {
  const isProcessor = (end) => end.startsWith("processor ");
  const next = new Map();
  const hasSource = new Set();
  const all = new Set();
  for (const { from, to } of edges) {
    if (isProcessor(from)) all.add(from);
    if (isProcessor(to)) all.add(to);
    if (isProcessor(from) && isProcessor(to)) {
      next.set(from, to);
      hasSource.add(to);
    }
  }
  const order = [];
  let at = [...all].sort().find((end) => !hasSource.has(end));
  while (at !== undefined && !order.includes(at)) {
    order.push(at);
    at = next.get(at);
  }
  return order.map((end) => keyOfEnd(pipeline, end));
}

/**
 * The graph of a reading of `topology`. `order` are the pipelines in the order of the file, `only`
 * is the one that is shown, or empty.
 * @param {{nodes: ApiNode[], edges: ApiEdge[]}} topology @param {string[]} order @param {string} [only]
 * @returns {Graph}
 */
export function graph(topology, order, only = "") {
  const known = [...new Set(topology.edges.map((edge) => edge.pipeline))].sort();
  const pipelines = [...order.filter((id) => known.includes(id)), ...known.filter((id) => !order.includes(id))].filter(
    (id) => only === "" || id === only,
  );
  const nodes = new Map();
  const add = (node) => nodes.has(node.key) || nodes.set(node.key, node);
  const edges = [];
  for (const pipeline of pipelines) {
    const label = `pipeline:${pipeline}`;
    add({ key: label, kind: "pipeline", id: pipeline, pipeline });
    for (const node of topology.nodes.filter((node) => node.pipeline === pipeline)) {
      const key = keyOf(pipeline, node.kind, node.id);
      add({ key, kind: node.kind, id: node.id, pipeline: node.kind === "processor" ? pipeline : "" });
    }
    const own = topology.edges.filter((edge) => edge.pipeline === pipeline);
    edges.push(...ofPipeline(pipeline, label, own));
  }
  return { pipelines, nodes: [...nodes.values()], edges };
}

/** @param {string} pipeline @param {string} label @param {ApiEdge[]} own @returns {Edge[]} */
function ofPipeline(pipeline, label, own) {
  const edges = [];
  const processors = chain(own, pipeline);
  const edge = (from, to, counters, ends) =>
    edges.push({ key: `${from} > ${to} @ ${pipeline}`, from, to, pipeline, counters, ends });
  const isProcessor = (end) => end.startsWith("processor ");
  // A receiver hands the same items to each exporter, so one of these edges counts.
  const sources = new Map();
  for (const one of own.filter((one) => !isProcessor(one.from))) {
    const key = keyOfEnd(pipeline, one.from);
    if (!sources.has(key)) sources.set(key, counterOf(one));
  }
  for (const [key, counter] of sources) edge(key, label, [counter], "in");
  const first = own.filter((one) => !isProcessor(one.from) && isProcessor(one.to));
  if (processors.length > 0) edge(label, processors[0], first.map(counterOf), "inner");
  for (let i = 1; i < processors.length; i += 1) {
    const one = own.find((one) => keyOfEnd(pipeline, one.from) === processors[i - 1] && keyOfEnd(pipeline, one.to) === processors[i]);
    if (one) edge(processors[i - 1], processors[i], [counterOf(one)], "inner");
  }
  const sinks = new Map();
  for (const one of own.filter((one) => !isProcessor(one.to))) {
    const key = keyOfEnd(pipeline, one.to);
    sinks.set(key, [...(sinks.get(key) ?? []), counterOf(one)]);
  }
  const last = processors.at(-1) ?? label;
  for (const [key, counters] of sinks) edge(last, key, counters, "out");
  return edges;
}
