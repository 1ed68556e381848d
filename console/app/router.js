// The state of a view is its URL: a path for the page, a query for the rest. Pure.

/**
 * @typedef {{page: string, query: Record<string, string>}} Place
 */

/**
 * The place of a URL. A path that is not known is the page `missing`.
 * @param {string} path @param {string} search @param {{id: string, path: string}[]} pages
 * @returns {Place}
 */
export function parse(path, search, pages) {
  const clean = path.replace(/\/+$/, "") || "/";
  const page = pages.find((page) => page.path === clean)?.id ?? "missing";
  return { page, query: Object.fromEntries(new URLSearchParams(search)) };
}

/**
 * The URL of a place. Empty values are left out, and the order is always the same.
 * @param {Place} place @param {{id: string, path: string}[]} pages
 */
export function format({ page, query }, pages) {
  const path = pages.find((known) => known.id === page)?.path ?? "/";
  const pairs = Object.entries(query).filter(([, value]) => value !== "" && value !== undefined);
  pairs.sort(([one], [other]) => (one < other ? -1 : 1));
  const search = new URLSearchParams(pairs).toString();
  return search ? `${path}?${search}` : path;
}

/**
 * The token in a fragment `#t=...`.
 * @param {string} hash
 */
export function token(hash) {
  const found = /^#t=([A-Za-z0-9._~-]{1,256})$/.exec(hash);
  return found ? found[1] : undefined;
}
