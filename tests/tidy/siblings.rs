//! No component uses a file of a sibling. What several components share is in files of their folder
//! that have no entry.

use super::{
    imports::{module, named},
    sources,
};

/// Folders of components.
const FOLDERS: [&str; 5] = ["receivers", "processors", "exporters", "connectors", "extensions"];

#[test]
fn components_use_no_files_of_siblings() {
    let files: Vec<_> =
        sources().into_iter().filter_map(|(path, text)| Some((module(&path)?, text))).collect();
    for folder in FOLDERS {
        let in_folder = || files.iter().filter(|(module, _)| module[0] == folder);
        let components: Vec<&str> = in_folder()
            .filter(|(module, text)| module.len() == 2 && text.contains("const ENTRY: Entry<"))
            .map(|(module, _)| &*module[1])
            .collect();
        assert!(!components.is_empty(), "the components of {folder} were found");
        for (module, text) in in_folder().filter(|(module, _)| module.len() > 1) {
            for path in named(text) {
                let supers = path.iter().take_while(|part| *part == "super").count();
                let whole = match path.first().map(String::as_str) {
                    Some("crate") => path[1..].to_vec(),
                    Some("super") if supers <= module.len() => {
                        [&module[..module.len() - supers], &path[supers..]].concat()
                    }
                    _ => continue,
                };
                let used = whole.get(1).filter(|_| whole[0] == folder).map_or("", String::as_str);
                assert!(
                    used == module[1] || !components.contains(&used),
                    "{} uses {}: move what they share to a file without an entry",
                    module.join("::"),
                    whole.join("::")
                );
            }
        }
    }
}
