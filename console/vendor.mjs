// Makes `vendor/ui.js` and `vendor/LICENSES` of the packages that `package-lock.json` pins.
//
//     npm ci && npm run vendor
//
// With `--check` it writes nothing and fails if the files are not what it would write.

import { readFileSync, writeFileSync } from "node:fs";
import { build } from "esbuild";

const PACKAGES = ["preact", "@preact/signals", "@preact/signals-core", "htm"];

const ENTRY = `
  import { h } from "preact";
  import htm from "htm";
  export { render, Fragment } from "preact";
  export { useEffect, useLayoutEffect, useRef, useState, useMemo } from "preact/hooks";
  export { signal, computed, effect, batch, useSignal, useComputed } from "@preact/signals";
  export const html = htm.bind(h);
`;

const manifest = (name) => JSON.parse(readFileSync(`node_modules/${name}/package.json`, "utf8"));
const versions = PACKAGES.map((name) => `${name} ${manifest(name).version}`).join(", ");

const built = await build({
  stdin: { contents: ENTRY, resolveDir: ".", loader: "js" },
  bundle: true,
  format: "esm",
  minify: true,
  legalComments: "none",
  target: "es2022",
  banner: { js: `// ${versions}. Made by \`npm run vendor\`; see LICENSES.` },
  write: false,
});

const licenses = PACKAGES.map((name) => {
  const { version, license } = manifest(name);
  return `${name} ${version} (${license})\n\n${readFileSync(`node_modules/${name}/LICENSE`, "utf8").trim()}\n`;
}).join(`\n${"-".repeat(80)}\n\n`);

const files = { "vendor/ui.js": built.outputFiles[0].text, "vendor/LICENSES": licenses };
for (const [path, text] of Object.entries(files)) {
  if (process.argv.includes("--check")) {
    if (readFileSync(path, "utf8") !== text) {
      console.error(`${path} is not what \`npm run vendor\` makes`);
      process.exitCode = 1;
    }
  } else {
    writeFileSync(path, text);
  }
}
