// What runs, what is on disk, what a reload would change, and whether another file would do.

import { html, useEffect, useMemo, useRef, useState } from "../../vendor/ui.js";
import { get, post } from "../api.js";
import { ago, plural } from "../format.js";
import { Copy, Icon, Search, Tabs, Trouble, Words } from "../parts.js";
import { about, ask, place } from "../state.js";
import { parts, paths } from "../yaml.js";

const EMPTY = "receivers:\n  otlp:\n    protocols: {grpc: {}, http: {}}\n\nexporters:\n  debug:\n\nservice:\n  pipelines:\n    traces: {receivers: [otlp], exporters: [debug]}\n";

export function Config() {
  const [config, setConfig] = useState(undefined);
  const [error, setError] = useState(undefined);
  const generation = about.value?.configuration.generation;
  const load = () => get("config").then((found) => (setConfig(found), setError(undefined)), setError);
  // Read again when another configuration was applied, wherever that was asked for.
  useEffect(() => void load(), [generation]);
  const query = place.value.query;
  const disk = config?.on_disk;
  const tabs = [{ id: "running", name: "Running" }, ...(disk ? disk.sources.map((source, i) => ({ id: `source-${i}`, name: title(source.name) })) : []), { id: "check", name: "Check a file" }];
  const tab = tabs.some((one) => one.id === query.tab) ? query.tab : "running";
  return html`<header class="page-head"><h1>Config</h1>
      <p class="muted">${config ? html`${config.origin.name}, applied ${ago(Date.now() - config.origin.applied_unix_ms)}` : ""}</p></header>
    ${error && html`<${Trouble} error=${error} />`}
    ${config && html`<${Reload} config=${config} onDone=${load} />`}
    ${config && html`<section class="card" aria-label="Configuration">
      <div class="card-head tabs-head">
        <${Tabs} label="Which configuration" tabs=${tabs} current=${tab} onPick=${(tab) => ask({ tab, line: "" })} /></div>
      ${tab === "running" && html`<${Running} shown=${config.running} find=${query.find ?? ""} />`}
      ${tab.startsWith("source-") && html`<${OnDisk} disk=${disk} source=${disk.sources[Number(tab.slice(7))]} />`}
      ${tab === "check" && html`<${Check} />`}
    </section>`}`;
}

/** A short name for a tab. @param {string} name */
const title = (name) => (name === "yaml:" ? "As written" : name.split("/").at(-1));

/** @param {{config: any, onDone: () => void}} props */
function Reload({ config, onDone }) {
  const [result, setResult] = useState(undefined);
  const [error, setError] = useState(undefined);
  const [isBusy, setBusy] = useState(false);
  const disk = config.on_disk;
  const mayReload = about.value?.actions && about.value?.can_reload;
  const errors = (disk?.problems ?? []).filter((one) => one.error).length;
  const reload = async () => {
    setBusy(true);
    setError(undefined);
    try {
      setResult(await post("reload", {}));
    } catch (error) {
      setError(error);
    }
    setBusy(false);
    onDone();
  };
  const state = !disk
    ? ["idle", "This configuration cannot be read again."]
    : errors > 0
      ? ["error", `On disk it has ${plural(errors, "error")}: a reload would change nothing.`]
      : disk.differs
        ? ["warn", "On disk it says something else than what runs: a reload would apply it."]
        : ["ok", config.origin.is_built_in ? "The built-in configuration runs." : "What runs is what is on disk."];
  return html`<section class=${`verdict slim ${state[0]}`} aria-label="Reload">
    <div class="verdict-row"><p>
      <span class="sign" aria-hidden="true">${{ ok: "●", idle: "○", warn: "▲", error: "▲" }[state[0]]}</span> ${state[1]}</p>
      <button type="button" class="primary" disabled=${!mayReload || isBusy} onClick=${reload} aria-describedby="reload-why">
        <${Icon} name="reload" />${isBusy ? "Reloading" : "Reload"}</button></div>
    ${!about.value?.actions && html`<p id="reload-why"
      class="muted">This console changes nothing. Start skep with <code>--console-actions</code>, or run <code>skep reload</code>.</p>`}
    ${error && html`<${Trouble} error=${error} />`}
    ${result && html`<${Outcome} result=${result} />`}
  </section>`;
}

/** @param {{result: any}} props */
function Outcome({ result }) {
  const groups = ["changed", "added", "removed", "kept"].filter((name) => result[name].length > 0);
  return html`<div class="outcome" role="status">
    <p><strong>${result.applied ? "Applied." : "Not applied: the running configuration stays."}</strong> ${result.applied ? html`<span class="muted">The pipelines stood still for ${(result.pause_us / 1000).toFixed(1)} ms.</span>` : ""}</p>
    ${result.applied && groups.length > 0 && html`<dl class="changes">${groups.map((name) => html`<div key=${name} class=${name}>
      <dt>${name}</dt><dd>${result[name].join(", ")}</dd></div>`)}</dl>`}
    <${Problems} problems=${result.problems} />
  </div>`;
}

/** What is wrong, each with its place and its remedy. @param {{problems: any[], onPick?: (line: number) => void}} props */
function Problems({ problems, onPick }) {
  if (problems.length === 0) return null;
  const where = (one) => [one.source && one.line ? `${title(one.source)}:${one.line}:${one.column}` : "", one.path].filter(Boolean).join(" ");
  return html`<ul class="problems">${problems.map((one, i) => html`<li key=${i} class=${one.error ? "is-error" : "is-warn"}>
    <p><span class="level">${one.error ? "error" : "warning"}</span> <span class="wrap"><${Words} text=${one.message} /></span></p>
    ${where(one) && html`<p class="mono">${onPick && one.line ? html`<button type="button" class="link"
      onClick=${() => onPick(one.line)}>${where(one)}</button>` : where(one)}</p>`}
    ${one.help && html`<p class="muted wrap"><${Words} text=${one.help} /></p>`}
  </li>`)}</ul>`;
}

/** The configuration as it is used; defaults are fainter. @param {{shown: any, find: string}} props */
function Running({ shown, find }) {
  const all = useMemo(() => paths(shown.yaml), [shown.yaml]);
  const given = useMemo(() => new Set(shown.given), [shown.given]);
  const marks = useMemo(() => {
    const found = new Map();
    for (const problem of shown.problems) {
      const line = all.findLastIndex((path) => path !== "" && (problem.path === path || problem.path.startsWith(`${path}::`)));
      if (problem.path && line >= 0) found.set(line + 1, [...(found.get(line + 1) ?? []), problem]);
    }
    return found;
  }, [shown.problems, all]);
  const aside = html`<p class="muted">References are replaced, defaults are filled in and fainter, secrets are masked.</p>
    <div class="card-aside"><${Search} label="Find a line" value=${find} onInput=${(find) => ask({ find })} />
      <${Copy} text=${shown.yaml} what="the configuration" /></div>`;
  return html`<div class="code-head">${aside}</div><${Problems} problems=${shown.problems} />
    <${Lines} text=${shown.yaml} marks=${marks} find=${find} isFaint=${(line) => all[line - 1] !== "" && !given.has(all[line - 1])} />`;
}

/** @param {{disk: any, source: any}} props */
function OnDisk({ disk, source }) {
  const line = Number(place.value.query.line ?? 0);
  const own = disk.problems.filter((one) => one.source === source.name || one.source === "");
  const marks = new Map();
  for (const problem of own.filter((one) => one.line > 0)) marks.set(problem.line, [...(marks.get(problem.line) ?? []), problem]);
  return html`<div class="code-head"><p class="muted mono">${source.name}</p><div class="card-aside">
    <${Copy} text=${source.text} what="the text" /></div></div>
    <${Problems} problems=${own} onPick=${(line) => ask({ line: String(line) })} />
    <${Lines} text=${source.text} marks=${marks} line=${line} />`;
}

/**
 * Lines of YAML with what is wrong in the gutter.
 * @param {{text: string, marks: Map<number, any[]>, find?: string, line?: number, isFaint?: (line: number) => boolean}} props
 */
function Lines({ text, marks, find = "", line = 0, isFaint = () => false }) {
  const box = useRef(null);
  const lines = useMemo(() => text.replace(/\n$/, "").split("\n"), [text]);
  const sought = find.trim().toLowerCase();
  const first = sought ? lines.findIndex((one) => one.toLowerCase().includes(sought)) + 1 : line;
  useEffect(() => {
    if (first > 0) box.current?.children[first - 1]?.scrollIntoView({ block: "nearest" });
  }, [first]);
  return html`<div class="lines" tabindex="0" role="region" aria-label="Text of the configuration" ref=${box}>${lines.map((one, i) => {
    const found = marks.get(i + 1);
    const kind = [found ? (found.some((problem) => problem.error) ? "error" : "warn") : "", !found && isFaint(i + 1) ? "faint" : "", i + 1 === line || (sought && one.toLowerCase().includes(sought)) ? "hit" : ""].join(" ");
    return html`<div key=${i} class=${`line ${kind}`}><span class="line-number" aria-hidden="true">${i + 1}</span>
      <code>${parts(one).map((part) => html`<span class=${`y-${part.kind}`}>${part.text}</span>`)}${one === "" ? " " : ""}</code>${found && html`<span class="line-mark"><${Words} text=${found.map((problem) => problem.message).join("; ")} /></span>`}</div>`;
  })}</div>`;
}

/** A box for another file. */
function Check() {
  const [text, setText] = useState(EMPTY);
  const [result, setResult] = useState(undefined);
  const [error, setError] = useState(undefined);
  const box = useRef(null);
  useEffect(() => {
    let isLate = false;
    const timer = setTimeout(() => {
      post("validate", { text }).then(
        (found) => isLate || (setResult(found), setError(undefined)),
        (error) => isLate || setError(error),
      );
    }, 400);
    return () => {
      isLate = true;
      clearTimeout(timer);
    };
  }, [text]);
  const pick = (line) => {
    const start = text.split("\n").slice(0, line - 1).reduce((sum, one) => sum + one.length + 1, 0);
    box.current.focus();
    box.current.setSelectionRange(start, start + text.split("\n")[line - 1].length);
    box.current.scrollTop = Math.max(0, (line - 6) * 20);
  };
  const numbers = useMemo(() => text.split("\n").map((_, i) => i + 1).join("\n"), [text]);
  const wrong = (result?.problems ?? []).filter((one) => one.error).length;
  return html`<div class="code-head">
    <p class="muted">Paste a file of skep or of the Collector. It is checked in this process and kept nowhere; references to variables and files are not looked up.</p></div>
    <div class="check"><div class="check-text"><pre class="numbers" aria-hidden="true">${numbers}</pre>
      <textarea ref=${box} spellcheck="false" autocapitalize="off" autocomplete="off" wrap="off" aria-label="A configuration to check"
        value=${text} onInput=${(event) => setText(event.target.value)}
        onScroll=${(event) => (event.target.previousElementSibling.scrollTop = event.target.scrollTop)}></textarea></div>
      <div class="check-result" role="status" aria-live="polite">
        ${error && html`<${Trouble} error=${error} />`}
        ${!error && !result && html`<p class="muted">Checking.</p>`}
        ${!error && result && html`<p class=${`check-title ${result.valid ? "ok" : "error"}`}>
          <span class="sign" aria-hidden="true">${result.valid ? "●" : "▲"}</span> ${result.valid ? "Valid" : `Not valid: ${plural(wrong, "error")}`}</p>
          ${result.summary && html`<p>${result.summary}</p>`}
          ${result.references > 0 && html`<p class="muted">${plural(result.references, "reference")} to variables or files ${result.references === 1 ? "was" : "were"} not looked up.</p>`}
          <${Problems} problems=${result.problems} onPick=${pick} />`}
      </div></div>`;
}
