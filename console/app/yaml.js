// What a page has to know of YAML: the path of each line of text that skep has written, and which
// parts of a line are keys, comments and values. Pure.

/**
 * The path of each line, such as `receivers::otlp::protocols`, of YAML in block style with two
 * blanks a level.
 * @param {string} text
 * @returns {string[]}
 */
export function paths(text) {
  /** @type {{indent: number, key: string, next: number}[]} */
  const open = [];
  return text.split("\n").map((line) => {
    const indent = line.length - line.trimStart().length;
    let rest = line.slice(indent);
    if (rest === "") return "";
    while (open.length > 0 && open[open.length - 1].indent >= indent) {
      if (open[open.length - 1].indent === indent && rest.startsWith("-")) break;
      open.pop();
    }
    if (rest === "-" || rest.startsWith("- ")) {
      const last = open.at(-1);
      // The elements of a list stand below its key, each a level of its own.
      if (last && last.indent === indent && last.next > 0) {
        last.key = String(last.next);
        last.next += 1;
      } else {
        open.push({ indent, key: "0", next: 1 });
      }
      rest = rest.slice(1).trimStart();
    } else {
      open.push({ indent, key: keyOf(rest), next: 0 });
    }
    return open.map((level) => level.key).join("::");
  });
}

/** The key at the beginning of a line. @param {string} text */
function keyOf(text) {
  if (text.startsWith('"')) {
    const end = /^"(?:[^"\\]|\\.)*"/.exec(text);
    if (end) {
      try {
        return JSON.parse(end[0]);
      } catch {
        return end[0];
      }
    }
  }
  const at = text.search(/:(\s|$)/);
  return at < 0 ? text : text.slice(0, at);
}

/**
 * A line in parts: `{kind: "key" | "comment" | "text" | "plain" | "mark", text}`.
 * @param {string} line
 */
export function parts(line) {
  const found = [];
  const push = (kind, text) => text && found.push({ kind, text });
  let rest = line;
  const lead = /^(\s*(?:- +)*-?\s*)/.exec(rest);
  if (lead && lead[0]) {
    push("mark", lead[0]);
    rest = rest.slice(lead[0].length);
  }
  if (rest.startsWith("#")) {
    push("comment", rest);
    return found;
  }
  const key = /^("(?:[^"\\]|\\.)*"|'(?:[^']|'')*'|[^\s#"'{[&*!|>%@`][^#]*?):(?=\s|$)/.exec(rest);
  if (key) {
    push("key", key[1]);
    push("mark", ":");
    rest = rest.slice(key[0].length);
  }
  const comment = rest.search(/\s#/);
  const value = comment < 0 ? rest : rest.slice(0, comment);
  push(/^\s*["']/.test(value) ? "text" : "plain", value);
  if (comment >= 0) push("comment", rest.slice(comment));
  return found;
}
