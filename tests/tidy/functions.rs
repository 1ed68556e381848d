//! Functions fit a screen.

use super::sources;

/// Longest function of `src` in lines, from `fn` to its closing brace. Functions of tests may be
/// longer: a scenario is one story.
const LIMIT: usize = 60;

/// The name of the function that begins in a line.
fn name(line: &str) -> Option<&str> {
    let mut rest = line.trim_start();
    if rest.starts_with("pub(") {
        rest = rest.split_once(") ")?.1;
    }
    for word in ["pub ", "const ", "async "] {
        rest = rest.strip_prefix(word).unwrap_or(rest);
    }
    let rest = rest.strip_prefix("fn ")?;
    rest.split(|c: char| !c.is_alphanumeric() && c != '_').next()
}

/// Functions of a source formatted by rustfmt, each with its first line, counted from one, and its
/// length. The closing brace has the indentation of the beginning.
fn functions(text: &str) -> Vec<(&str, usize, usize)> {
    let lines: Vec<&str> = text.lines().collect();
    let mut found = Vec::new();
    for (at, line) in lines.iter().enumerate() {
        let Some(name) = name(line) else { continue };
        let indent = &line[..line.len() - line.trim_start().len()];
        let closing = format!("{indent}}}");
        for (length, line) in lines[at..].iter().enumerate() {
            // A declaration without a body ends with its semicolon.
            let is_declared =
                line.ends_with(';') && !lines[at..=at + length].join("").contains('{');
            if is_declared {
                break;
            }
            let is_one_line = length == 0 && line.ends_with('}');
            if *line == closing || is_one_line {
                found.push((name, at + 1, length + 1));
                break;
            }
        }
    }
    found
}

#[test]
fn functions_fit_a_screen() {
    let (mut count, mut long) = (0, Vec::new());
    for (path, text) in sources() {
        let is_test = path.components().any(|part| {
            let part = part.as_os_str().to_string_lossy();
            part.starts_with("tests") || part == "benches" || part.starts_with("simulation")
        });
        if is_test {
            continue;
        }
        let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
        for (name, line, length) in functions(code) {
            count += 1;
            if length > LIMIT {
                long.push(format!("{}:{line}: `{name}` has {length} lines", path.display()));
            }
        }
    }
    assert!(long.is_empty(), "functions of more than {LIMIT} lines: {long:#?}");
    assert!(count > 2000, "the functions were found: {count}");
}

#[test]
fn the_reader_of_functions_sees_their_ends() {
    let text = "trait A {\n    fn a(\n        x: u8,\n    );\n    fn b() {\n        c();\n    }\n}\n\npub(crate) async fn d() {}\n";
    assert_eq!(functions(text), [("b", 5, 3), ("d", 10, 1)]);
}
