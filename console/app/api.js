// Talks to skep: calls, and streams.

const ROOT = "/api/v1/";

/** A call that was not answered as asked. `status` 0: skep did not answer at all. */
export class Refused extends Error {
  /** @param {number} status @param {string} message @param {string} help */
  constructor(status, message, help) {
    super(message);
    this.status = status;
    this.help = help;
  }
}

/** @param {Response} response */
async function refusal(response) {
  let words = {};
  try {
    words = await response.json();
  } catch {
    // A proxy may answer in words of its own.
  }
  return new Refused(response.status, words.error ?? `HTTP ${response.status}`, words.help ?? "");
}

/** @param {string} path @param {RequestInit} [options] */
async function call(path, options = {}) {
  let response;
  try {
    response = await fetch(ROOT + path, { cache: "no-store", credentials: "same-origin", ...options });
  } catch {
    throw new Refused(0, "skep does not answer", "see whether it still runs");
  }
  if (!response.ok) throw await refusal(response);
  return response;
}

/** @param {string} path */
export async function get(path) {
  return (await call(path)).json();
}

/** @param {string} path @param {unknown} body */
export async function post(path, body) {
  const headers = { "content-type": "application/json", "x-skep": "1" };
  const response = await call(path, { method: "POST", headers, body: JSON.stringify(body) });
  return response.status === 204 ? undefined : response.json();
}

/** skep writes at least every 15 seconds; after this time without a word, the network is gone. */
const SILENCE_MS = 40_000;

/**
 * Reads a stream of server-sent events. Not `EventSource`, which does not tell why it was refused.
 * Ends when the stream does, and throws if there is none.
 * @param {string} path @param {AbortSignal} signal
 * @param {(topic: string, data: any) => void} on @param {() => void} onOpen
 */
export async function stream(path, signal, on, onOpen) {
  const response = await call(path, { signal });
  onOpen();
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const silence = setTimeout(() => reader.cancel().catch(() => {}), SILENCE_MS);
    const { value, done } = await reader.read().finally(() => clearTimeout(silence));
    if (done) return;
    rest += value;
    const events = rest.split("\n\n");
    rest = events.pop() ?? "";
    for (const event of events) dispatch(event, on);
  }
}

/** @param {string} event @param {(topic: string, data: any) => void} on */
function dispatch(event, on) {
  let topic = "";
  let data = "";
  for (const line of event.split("\n")) {
    if (line.startsWith("event: ")) topic = line.slice(7);
    else if (line.startsWith("data: ")) data += line.slice(6);
  }
  if (topic && data) on(topic, JSON.parse(data));
}
