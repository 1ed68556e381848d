// The beginning: the token in the link becomes a cookie, then the pages are shown.

import { html, render } from "../vendor/ui.js";
import { Backends } from "./pages/backends.js";
import { Boards } from "./pages/boards.js";
import { Budget } from "./pages/budget.js";
import { Config } from "./pages/config.js";
import { Login } from "./pages/login.js";
import { Overview } from "./pages/overview.js";
import { Tap } from "./pages/tap.js";
import { Traces } from "./pages/traces.js";
import { Card, Empty } from "./parts.js";
import { token } from "./router.js";
import { Shell } from "./shell.js";
import { connect, go, isKnown, link, login, place } from "./state.js";

/** The page of each name in `PAGES` of `state.js`. */
const VIEWS = {
  overview: Overview,
  tap: Tap,
  traces: Traces,
  boards: Boards,
  backends: Backends,
  budget: Budget,
  config: Config,
};

function Missing() {
  const home = html`<button type="button" class="primary" onClick=${() => go("overview")}>Overview</button>`;
  return html`<header class="page-head"><h1>No such page</h1></header>
    <${Card} title="Nothing is here"><${Empty} title="There is no page at this address.">${home}</${Empty}></${Card}>`;
}

let failed;

function App() {
  if (link.value === "login") return html`<${Login} error=${failed} />`;
  const View = VIEWS[place.value.page] ?? Missing;
  return html`<${Shell}><${View} /></${Shell}>`;
}

const found = token(location.hash);
// The token belongs neither into the history nor into a screenshot.
if (location.hash) history.replaceState(null, "", location.pathname + location.search);
if (found) await login(found).catch((error) => (failed = error));
if (!(await isKnown())) link.value = "login";
else failed = undefined;
document.querySelector("#app").textContent = "";
render(html`<${App} />`, document.querySelector("#app"));
connect();
