// Opens the page in a real browser and does what its user would do.
//
//     driver.mjs SETTINGS
//
// SETTINGS is JSON: the addresses `otlp`, `api`, `rollbar` and the `token` of the page; `port` of the
// page, which is an origin of its own; `steps`, functions of the page that are called in this order,
// or `leave`, which goes to another page; `clockOffset`, milliseconds by which the clock of the
// browser is ahead. Writes what the steps returned, as JSON.

import { readFileSync } from "node:fs";
import { createServer } from "node:http";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";

// The packages are installed beside the built crate, not beside this file.
const require = createRequire(pathToFileURL(join(process.cwd(), "driver.js")));
const esbuild = require("esbuild");
const puppeteer = require("puppeteer-core");

const settings = JSON.parse(process.argv[2]);
const bundle = await esbuild.build({
  entryPoints: [join(dirname(fileURLToPath(import.meta.url)), "page.js")],
  bundle: true,
  write: false,
  nodePaths: [join(process.cwd(), "node_modules")],
});
const script = bundle.outputFiles[0].text;
const page = '<!doctype html><title>Shop</title><h1>Shop</h1><script src="/page.js"></script>';
const server = createServer((request, response) => {
  const isScript = request.url === "/page.js";
  response.setHeader("content-type", isScript ? "text/javascript" : "text/html; charset=utf-8");
  response.end(isScript ? script : page);
});
await new Promise((listens) => server.listen(settings.port, "127.0.0.1", listens));

const browser = await puppeteer.launch({
  executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
  // The sandbox wants privileges that containers do not give.
  args: ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"],
});
const results = [];
try {
  const tab = await browser.newPage();
  tab.on("console", (message) => console.error("console:", message.text()));
  tab.on("pageerror", (error) => console.error("page:", error));
  if (settings.clockOffset) {
    await tab.evaluateOnNewDocument((offset) => {
      const [now, origin] = [Date.now, performance.timeOrigin];
      Date.now = () => now() + offset;
      Object.defineProperty(performance, "timeOrigin", { value: origin + offset });
    }, settings.clockOffset);
  }
  const query = new URLSearchParams();
  for (const key of ["otlp", "api", "rollbar", "token"]) {
    if (settings[key]) query.set(key, settings[key]);
  }
  await tab.goto(`http://localhost:${settings.port}/?${query}`, { waitUntil: "load" });
  for (const [step, ...parameters] of settings.steps) {
    if (step === "leave") {
      await tab.goto("about:blank");
      // A request that outlives its page is sent by the browser, which must not end before.
      await new Promise((done) => setTimeout(done, 1000));
    } else {
      const call = (step, parameters) =>
        Promise.resolve(window[step](...parameters)).catch((error) => ({ error: `${error}` }));
      results.push((await tab.evaluate(call, step, parameters)) ?? null);
    }
  }
} finally {
  await browser.close();
  server.close();
}
console.log(JSON.stringify(results));
