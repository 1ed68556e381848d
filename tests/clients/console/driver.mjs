// Does in a real browser what a person would do with the console. Reads a step from each line of its
// input, does it, and writes what came of it as a line of JSON: `{"value": ...}` or `{"error": ...}`.
//
// A step is a list: its name, then its parameters. `STEPS` below has all of them.

import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { pathToFileURL } from "node:url";

// The packages are installed beside the built crate, not beside this file.
const require = createRequire(pathToFileURL(join(process.cwd(), "driver.js")));
const puppeteer = require("puppeteer-core");
const axe = readFileSync(require.resolve("axe-core/axe.min.js"), "utf8");

const PATIENCE = 30_000;

const browser = await puppeteer.launch({
  executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
  acceptInsecureCerts: true,
  // The sandbox wants privileges that containers do not give.
  args: ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"],
});

/** What pages have complained about, violations of the policy among it. */
const complaints = [];
let tab;

const STEPS = {
  /** Opens a URL in a new tab; `{theme, width, height}`. */
  async open(url, { theme = "light", width = 1280, height = 860 } = {}) {
    tab = await browser.newPage();
    tab.on("pageerror", (error) => complaints.push(`${error}`));
    tab.on("console", (message) => {
      // A refused request is one of the things that are tested.
      if (message.type() === "error" && !/Failed to load resource|ERR_CONNECTION/.test(message.text())) complaints.push(message.text());
    });
    await tab.setViewport({ width, height });
    await tab.emulateMediaFeatures([{ name: "prefers-color-scheme", value: theme }]);
    await tab.goto(url, { waitUntil: "domcontentloaded" });
  },
  async to(url) {
    await tab.goto(url, { waitUntil: "domcontentloaded" });
  },
  async back() {
    await tab.goBack();
  },
  async reload() {
    await tab.reload({ waitUntil: "domcontentloaded" });
  },
  /** The tab that was opened as the n-th. */
  async tab(n) {
    tab = (await browser.pages())[n];
    await tab.bringToFront();
  },
  async url() {
    return tab.url();
  },
  async text() {
    return tab.evaluate(() => document.body.innerText.replaceAll("\u202f", " "));
  },
  /** Waits until the page shows a text. */
  async see(text) {
    const is = (text) => document.body.innerText.replaceAll("\u202f", " ").includes(text);
    await tab.waitForFunction(is, { timeout: PATIENCE, polling: 50 }, text);
  },
  /** Waits until it does not. */
  async miss(text) {
    const is = (text) => !document.body.innerText.replaceAll("\u202f", " ").includes(text);
    await tab.waitForFunction(is, { timeout: PATIENCE, polling: 50 }, text);
  },
  /** Waits until an expression is true. */
  async until(expression) {
    await tab.waitForFunction(expression, { timeout: PATIENCE, polling: 50 });
  },
  /** Clicks what has a text. */
  async click(text) {
    const element = await tab.waitForSelector(`::-p-text(${text})`, { timeout: PATIENCE });
    await element.click();
  },
  async key(key) {
    await tab.keyboard.press(key);
  },
  /** Writes into a field, in the place of what is there. */
  async fill(selector, text) {
    await tab.waitForSelector(selector, { timeout: PATIENCE });
    await tab.focus(selector);
    await tab.evaluate((selector) => document.querySelector(selector).select(), selector);
    await tab.keyboard.type(text);
  },
  async evaluate(expression) {
    return tab.evaluate(expression);
  },
  /** What axe finds wrong. It is run by the debugger, which the policy of the page does not bind. */
  async axe() {
    const client = await tab.createCDPSession();
    await client.send("Runtime.evaluate", { expression: axe });
    const expression = "axe.run().then((found) => JSON.stringify(found.violations.map((one) => [one.id, one.nodes.map((node) => node.html.slice(0, 200))])))";
    const { result } = await client.send("Runtime.evaluate", { expression, awaitPromise: true, returnByValue: true });
    await client.detach();
    return JSON.parse(result.value);
  },
  async complaints() {
    return complaints;
  },
};

for await (const line of createInterface({ input: process.stdin })) {
  const [name, ...parameters] = JSON.parse(line);
  let answer;
  try {
    answer = { value: (await STEPS[name](...parameters)) ?? null };
  } catch (error) {
    const seen = await STEPS.text().catch(() => "");
    answer = { error: `${error}; the page shows: ${seen.slice(0, 1500)}` };
  }
  console.log(JSON.stringify(answer));
}
await browser.close();
