//! The files of the page, which are in the binary. A browser gets them under a path with the hash
//! of all of them, so it may keep them for ever and never mixes two versions. The first page that
//! it reads is never kept.

use std::sync::OnceLock;

use bytes::Bytes;
use flate2::{Compression, write::GzEncoder};
use std::io::Write as _;
use xxhash_rust::xxh3::Xxh3;

/// What stands for the hash in the page.
const MARK: &str = "/a/-/";

/// A file.
#[derive(Debug)]
pub(super) struct Asset {
    /// Below `console/`, and below the hash in a URL.
    pub(super) path: &'static str,
    pub(super) content_type: &'static str,
    pub(super) bytes: &'static [u8],
}

const fn script(path: &'static str, bytes: &'static [u8]) -> Asset {
    Asset { path, content_type: "text/javascript; charset=utf-8", bytes }
}

/// The page.
const INDEX: &str = include_str!("../../console/index.html");

/// Everything that the page loads.
const ASSETS: &[Asset] = &[
    Asset {
        path: "app/app.css",
        content_type: "text/css; charset=utf-8",
        bytes: include_bytes!("../../console/app/app.css"),
    },
    Asset {
        path: "app/icon.svg",
        content_type: "image/svg+xml",
        bytes: include_bytes!("../../console/app/icon.svg"),
    },
    script("app/api.js", include_bytes!("../../console/app/api.js")),
    script("app/chart.js", include_bytes!("../../console/app/chart.js")),
    script("app/detail.js", include_bytes!("../../console/app/detail.js")),
    script("app/filters.js", include_bytes!("../../console/app/filters.js")),
    script("app/findings.js", include_bytes!("../../console/app/findings.js")),
    script("app/format.js", include_bytes!("../../console/app/format.js")),
    script("app/graph.js", include_bytes!("../../console/app/graph.js")),
    script("app/graphmodel.js", include_bytes!("../../console/app/graphmodel.js")),
    script("app/ladder.js", include_bytes!("../../console/app/ladder.js")),
    script("app/layout.js", include_bytes!("../../console/app/layout.js")),
    script("app/main.js", include_bytes!("../../console/app/main.js")),
    script("app/minimap.js", include_bytes!("../../console/app/minimap.js")),
    script("app/pages/backends.js", include_bytes!("../../console/app/pages/backends.js")),
    script("app/pages/boards.js", include_bytes!("../../console/app/pages/boards.js")),
    script("app/pages/budget.js", include_bytes!("../../console/app/pages/budget.js")),
    script("app/pages/config.js", include_bytes!("../../console/app/pages/config.js")),
    script("app/pages/login.js", include_bytes!("../../console/app/pages/login.js")),
    script("app/pages/overview.js", include_bytes!("../../console/app/pages/overview.js")),
    script("app/pages/start.js", include_bytes!("../../console/app/pages/start.js")),
    script("app/pages/tap.js", include_bytes!("../../console/app/pages/tap.js")),
    script("app/pages/traces.js", include_bytes!("../../console/app/pages/traces.js")),
    script("app/parts.js", include_bytes!("../../console/app/parts.js")),
    script("app/rates.js", include_bytes!("../../console/app/rates.js")),
    script("app/router.js", include_bytes!("../../console/app/router.js")),
    script("app/senders.js", include_bytes!("../../console/app/senders.js")),
    script("app/shell.js", include_bytes!("../../console/app/shell.js")),
    script("app/snippets.js", include_bytes!("../../console/app/snippets.js")),
    script("app/span.js", include_bytes!("../../console/app/span.js")),
    script("app/state.js", include_bytes!("../../console/app/state.js")),
    script("app/tapmodel.js", include_bytes!("../../console/app/tapmodel.js")),
    script("app/tracerows.js", include_bytes!("../../console/app/tracerows.js")),
    script("app/tree.js", include_bytes!("../../console/app/tree.js")),
    script("app/verdict.js", include_bytes!("../../console/app/verdict.js")),
    script("app/waterfall.js", include_bytes!("../../console/app/waterfall.js")),
    script("app/yaml.js", include_bytes!("../../console/app/yaml.js")),
    script("vendor/ui.js", include_bytes!("../../console/vendor/ui.js")),
];

/// The files with their hash, and compressed copies.
#[derive(Debug)]
pub(super) struct Files {
    hash: String,
    index: File,
    all: Vec<(&'static Asset, File)>,
}

/// A file as it is sent.
#[derive(Debug, Clone)]
pub(super) struct File {
    pub(super) content_type: &'static str,
    pub(super) plain: Bytes,
    pub(super) gzip: Bytes,
}

impl File {
    fn new(content_type: &'static str, plain: Bytes) -> Self {
        let gzip = compressed(&plain);
        File { content_type, plain, gzip }
    }
}

impl Files {
    /// All of them, compressed once for the process.
    pub(super) fn embedded() -> &'static Files {
        static ALL: OnceLock<Files> = OnceLock::new();
        ALL.get_or_init(|| {
            let mut hasher = Xxh3::new();
            for asset in ASSETS {
                hasher.update(asset.path.as_bytes());
                hasher.update(asset.bytes);
            }
            let hash = format!("{:016x}", hasher.digest());
            let index = INDEX.replace(MARK, &format!("/a/{hash}/"));
            let file = |asset: &'static Asset| {
                (asset, File::new(asset.content_type, Bytes::from_static(asset.bytes)))
            };
            Files {
                hash,
                index: File::new("text/html; charset=utf-8", index.into()),
                all: ASSETS.iter().map(file).collect(),
            }
        })
    }

    /// The page.
    pub(super) fn index(&self) -> &File {
        &self.index
    }

    /// `ETag` of the page.
    pub(super) fn tag(&self) -> String {
        format!("\"{}\"", self.hash)
    }

    /// The file of `HASH/path`; `None` if it is not of this version.
    pub(super) fn find(&self, path: &str) -> Option<&File> {
        let path = path.strip_prefix(&*self.hash)?.strip_prefix('/')?;
        self.all.iter().find(|(asset, _)| asset.path == path).map(|(_, file)| file)
    }
}

fn compressed(plain: &[u8]) -> Bytes {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    // Writing into memory does not fail.
    let _ = encoder.write_all(plain);
    encoder.finish().unwrap_or_default().into()
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, fs, path::Path};

    use super::*;

    /// Bytes that a first visit loads, compressed.
    const BUDGET: usize = 150 << 10;
    const VENDOR: usize = 40 << 10;
    const CSS: usize = 12 << 10;

    fn folder(name: &str) -> BTreeSet<String> {
        let mut found = BTreeSet::new();
        let mut folders = vec![name.to_owned()];
        while let Some(folder) = folders.pop() {
            let place = Path::new(env!("CARGO_MANIFEST_DIR")).join("console").join(&folder);
            for entry in fs::read_dir(place).unwrap() {
                let entry = entry.unwrap();
                let path = format!("{folder}/{}", entry.file_name().to_str().unwrap());
                if entry.path().is_dir() {
                    folders.push(path);
                } else if !path.ends_with("LICENSES") {
                    found.insert(path);
                }
            }
        }
        found
    }

    #[test]
    fn every_file_of_the_page_is_in_the_binary() {
        let there = folder("app").into_iter().chain(folder("vendor")).collect::<BTreeSet<_>>();
        let here: BTreeSet<String> = ASSETS.iter().map(|asset| asset.path.to_owned()).collect();
        assert_eq!(there, here);
    }

    #[test]
    fn every_file_that_is_named_exists() {
        let files = Files::embedded();
        let index = String::from_utf8(files.index().plain.to_vec()).unwrap();
        assert!(!index.contains(MARK), "{index}");
        let mut named: BTreeSet<String> = BTreeSet::new();
        for part in index.split("/a/").skip(1) {
            named.insert(part.split('"').next().unwrap().to_owned());
        }
        assert!(named.len() >= 3, "{named:?}");
        for asset in ASSETS.iter().filter(|asset| asset.content_type.contains("javascript")) {
            let text = std::str::from_utf8(asset.bytes).unwrap();
            for line in text.lines().filter(|line| {
                line.starts_with("import ")
                    || line.starts_with("} from ")
                    || line.starts_with("export * from ")
            }) {
                let Some(wanted) = line.split('"').nth(1) else { continue };
                let mut path: Vec<&str> = asset.path.split('/').collect();
                path.pop();
                for part in wanted.split('/') {
                    match part {
                        "." => {}
                        ".." => drop(path.pop()),
                        part => path.push(part),
                    }
                }
                named.insert(format!("{}/{}", files.hash, path.join("/")));
            }
        }
        for path in &named {
            assert!(files.find(path).is_some(), "{path}");
        }
        let unused: Vec<_> = ASSETS
            .iter()
            .filter(|asset| !named.contains(&format!("{}/{}", files.hash, asset.path)))
            .map(|asset| asset.path)
            .collect();
        assert!(unused.is_empty(), "nothing loads {unused:?}");
        assert!(files.find("0000000000000000/app/app.css").is_none(), "another version");
    }

    #[test]
    fn a_first_visit_is_small() {
        let files = Files::embedded();
        let size = |start: &str, end: &str| {
            let mut total = 0;
            for (asset, file) in &files.all {
                if asset.path.starts_with(start) && asset.path.ends_with(end) {
                    total += file.gzip.len();
                }
            }
            total
        };
        let total = size("", "") + files.index().gzip.len();
        assert!(total <= BUDGET, "{total} bytes compressed");
        assert!(size("vendor/", "") <= VENDOR && size("app/", ".css") <= CSS);
    }

    #[test]
    fn the_page_has_no_inline_code() {
        let index = INDEX.to_ascii_lowercase();
        for wrong in ["<style", "style=", "onload", "onclick", "javascript:", "http:", "https:"] {
            assert!(!index.contains(wrong), "{wrong}");
        }
        for part in index.split("<script").skip(1) {
            assert!(part.split('>').next().unwrap().contains("src="), "{part}");
        }
    }
}
