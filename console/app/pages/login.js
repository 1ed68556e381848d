// The console asks for its token: the link has it, or somebody types it.

import { html, useEffect, useRef, useState } from "../../vendor/ui.js";
import { Trouble } from "../parts.js";
import { about, hasRestarted, login } from "../state.js";

/** @param {{error?: any}} props */
export function Login({ error: first }) {
  const [text, setText] = useState("");
  const [error, setError] = useState(first);
  const box = useRef(null);
  useEffect(() => box.current?.focus(), []);
  const submit = async (event) => {
    event.preventDefault();
    try {
      await login(/#t=([^&]+)/.exec(text)?.[1] ?? text.trim());
    } catch (error) {
      setError(error);
    }
  };
  const title = hasRestarted.value && about.value ? "skep was started again" : "The console of skep";
  return html`<main class="login"><form class="card" onSubmit=${submit}>
    <img src=${new URL("../icon.svg", import.meta.url).href} width="40" height="40" alt="" />
    <h1>${title}</h1>
    <p class="muted">${hasRestarted.value && about.value ? "Each start has a new token." : "It opens with a token."} Open the link that skep has printed at its start, or paste it here. <code>skep console</code> prints it, too.</p>
    <label for="token">Token or link</label>
    <input id="token" ref=${box} type="password" autocomplete="off" value=${text} onInput=${(event) => setText(event.target.value)} />
    ${error && html`<${Trouble} error=${error} />`}
    <button type="submit" class="primary" disabled=${text.trim() === ""}>Open</button>
  </form></main>`;
}
