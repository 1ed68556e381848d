// Nothing has come yet: which ports are open, and what to write where.

import { html } from "../../vendor/ui.js";
import { Card, Code, Tabs } from "../parts.js";
import { about, ask, place } from "../state.js";
import { languages, local, span, target } from "../snippets.js";

/** Ports for applications that are not OTLP. */
const OTHERS = {
  awsxray: (address) => `AWS_XRAY_DAEMON_ADDRESS=${address}`,
  awscloudwatchlogs: (address) => `AWS_ENDPOINT_URL_CLOUDWATCH_LOGS=http://${address}`,
  rollbar: (address) => `rollbar.init(..., endpoint='http://${address}/api/1/')`,
};

export function Start() {
  const configuration = about.value?.configuration;
  const ports = configuration?.ports ?? [];
  const found = target(ports);
  const receivers = new Set((about.value?.pipelines ?? []).flatMap((pipeline) => pipeline.receivers));
  const doors = ports.filter((port) => receivers.has(port.component));
  const all = found ? languages(found) : [];
  const chosen = all.find((one) => one.id === place.value.query.language) ?? all[0];
  const others = doors.flatMap((port) => {
    const told = OTHERS[port.component.split("/")[0]];
    return told ? [told(local(port.address))] : [];
  });
  return html`<${Card} title="Send the first data" class="start">
    <div class="start-grid">
      <div>
        ${chosen && html`<${Tabs} label="Language" tabs=${all} current=${chosen.id} onPick=${(language) => ask({ language })} />
          <${Code} lines=${chosen.lines} what=${`the lines for ${chosen.name}`} />`}
        ${found && span(found) && html`<p class="muted">Or one span, without an SDK:</p>
          <${Code} lines=${span(found)} what="a request with one span" />`}
        ${others.map((line) => html`<${Code} key=${line} lines=${[line]} what="the setting" />`)}
        ${!found && others.length === 0 && html`<p>No port for applications is open.</p>`}
      </div>
      <div>
        <h3>Open ports</h3>
        <table class="rows"><thead><tr><th scope="col">Receiver</th><th scope="col">Protocol</th><th scope="col">Address</th></tr></thead>
          <tbody>${doors.map((port) => html`<tr key=${port.component + port.protocol + port.address}><td>${port.component}</td>
            <td>${port.protocol}${port.tls ? " with TLS" : ""}</td><td class="mono">${port.address}</td></tr>`)}</tbody></table>
        <p class="muted">${configuration?.in_container ? "skep runs in a container: from another one, write the name of its service instead of localhost." : "From a container, localhost is that container: write a name of this machine, and have skep listen there."} This page shows the first data within a second.</p>
      </div>
    </div>
  </${Card}>`;
}
