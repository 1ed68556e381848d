// The frame of all pages: the bar, the rail, keys, and what is said when skep is gone.

import { Fragment, html, useEffect, useRef } from "../vendor/ui.js";
import { uptime } from "./format.js";
import { Icon } from "./parts.js";
import { about, asTables, go, health, isPaused, link, missed, PAGES, place, theme, trouble } from "./state.js";

const LINKS = { starting: ["idle", "connecting"], live: ["ok", "live"], paused: ["idle", "paused"], lost: ["error", "skep is gone"] };

function Link() {
  const [kind, words] = LINKS[link.value] ?? LINKS.starting;
  const sign = { ok: "●", idle: "○", error: "▲" }[kind];
  const slow = missed.value > 0 && link.value === "live" ? `, ${missed.value} readings missed` : "";
  return html`<span class=${`state ${kind} link-state`} role="status"><span aria-hidden="true">${sign}</span> ${words}${slow}</span>`;
}

/** The button of a theme goes through three of them. */
const THEMES = { "": ["auto", "light", "Theme of the system"], light: ["sun", "dark", "Light theme"], dark: ["moon", "", "Dark theme"] };

/** @param {{onHelp: () => void}} props */
function Top({ onHelp }) {
  const [icon, next, name] = THEMES[theme.value] ?? THEMES[""];
  const file = about.value?.configuration.name ?? "";
  return html`<header class="top">
    <a class="brand" href="/" onClick=${(event) => follow(event, "overview")}>
      <img src=${new URL("icon.svg", import.meta.url).href} width="24" height="24" alt="" /> skep</a>
    <span class="top-file muted" title=${file}>${file}</span>
    ${about.value && html`<span class="top-more muted">${about.value.version}${health.value ? ` · up ${uptime(health.value.uptime_ms)}` : ""}</span>`}
    <span class="space"></span>
    <${Link} />
    <button type="button" class="quiet icon-only" aria-pressed=${isPaused.value} aria-label=${isPaused.value ? "Go on" : "Pause"}
      title=${isPaused.value ? "Go on (p)" : "Pause (p)"} onClick=${() => (isPaused.value = !isPaused.value)}><${Icon}
      name=${isPaused.value ? "play" : "pause"} /></button>
    <button type="button" class="quiet icon-only" aria-label=${`${name}; change`} title=${name} onClick=${() => (theme.value = next)}>
      <${Icon} name=${icon} /></button>
    <button type="button" class="quiet icon-only" aria-label="Keys" title="Keys (?)" onClick=${onHelp}><${Icon} name="help" /></button>
  </header>`;
}

/** A click that stays in this page. @param {MouseEvent} event @param {string} page */
function follow(event, page) {
  if (event.ctrlKey || event.metaKey || event.shiftKey || event.button !== 0) return;
  event.preventDefault();
  go(page);
}

function Rail() {
  return html`<nav class="rail" aria-label="Pages">${PAGES.map((page, i) => html`<a key=${page.id} href=${page.path}
    aria-current=${place.value.page === page.id ? "page" : undefined} onClick=${(event) => follow(event, page.id)}>
    <${Icon} name=${page.icon} /><span>${page.name}</span><kbd aria-hidden="true">${i + 1}</kbd></a>`)}</nav>`;
}

function Gone() {
  if (link.value !== "lost") return null;
  return html`<div class="gone" role="alert">
    <strong>skep does not answer.</strong> What you see is old. This page goes on by itself when skep is back.${trouble.value?.status ? html` <span class="muted">${trouble.value.message}${trouble.value.help ? `: ${trouble.value.help}` : ""}.</span>` : ""}</div>`;
}

/** What Escape closes, the innermost first. */
const OPEN = ["node", "span", "trace"];

const KEYS = [
  [`1 – ${PAGES.length}`, "go to a page"],
  ["/", "search on this page"],
  ["t", "charts as tables, and back"],
  ["↑ ↓ ← →", "in a trace: move, close and open"],
  ["n, e", "in a trace: next found span, next error; with Shift the one before"],
  ["+ - 0", "in a trace: zoom"],
  ["p", "pause, and go on"],
  ["Esc", "close what is open"],
  ["?", "this list"],
];

/** @param {{dialog: any}} props */
function Help({ dialog }) {
  return html`<dialog class="help" ref=${dialog} aria-label="Keys"
    onClick=${(event) => event.target === event.currentTarget && dialog.current.close()}>
    <h2>Keys</h2><dl>${KEYS.map(([key, words]) => html`<div key=${key}><dt><kbd>${key}</kbd></dt><dd>${words}</dd></div>`)}</dl>
    <button type="button" class="primary" onClick=${() => dialog.current.close()}>Close</button></dialog>`;
}

/** Keys that work everywhere but in fields. @param {() => void} help */
function useKeys(help) {
  useEffect(() => {
    const press = (event) => {
      if (event.ctrlKey || event.metaKey || event.altKey) return;
      const field = event.target.closest?.("input, textarea, select, [contenteditable]");
      if (event.key === "Escape") {
        if (field) field.blur();
        else if (document.querySelector("dialog[open]")) return;
        else {
          const open = OPEN.find((key) => place.value.query[key]);
          const more = open === "trace" ? { row: "", find: "" } : {};
          if (open) go(place.value.page, { ...place.value.query, ...more, [open]: "" });
        }
        return;
      }
      if (field || document.querySelector("dialog[open]")) return;
      const page = PAGES[Number(event.key) - 1];
      if (page) go(page.id);
      else if (event.key === "/") document.querySelector("[data-search]")?.focus();
      else if (event.key === "?") help();
      else if (event.key === "t") asTables.value = !asTables.value;
      else if (event.key === "p") isPaused.value = !isPaused.value;
      else return;
      event.preventDefault();
    };
    addEventListener("keydown", press);
    return () => removeEventListener("keydown", press);
  }, []);
}

/** @param {{children?: any}} props */
export function Shell({ children }) {
  const dialog = useRef(null);
  const help = () => dialog.current?.showModal();
  useKeys(help);
  useEffect(() => {
    const name = PAGES.find((page) => page.id === place.value.page)?.name ?? "Not found";
    document.title = `${name} · skep`;
  }, [place.value.page]);
  return html`<${Fragment}><a class="skip" href="#main">Skip to the page</a><${Top} onHelp=${help} /><${Rail} />
    <main id="main" tabindex="-1" class=${link.value === "lost" ? "old" : ""}><${Gone} />${children}</main>
      <${Help} dialog=${dialog} /></${Fragment}>`;
}
