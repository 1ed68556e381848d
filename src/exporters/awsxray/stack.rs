//! Stack traces as languages print them, read into frames. Any text is read; what is no frame is passed
//! over.

use std::borrow::Cow;

/// An exception with its frames, innermost first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Exception<'a> {
    pub(super) kind: Cow<'a, str>,
    pub(super) message: Cow<'a, str>,
    pub(super) frames: Vec<Frame<'a>>,
}

/// A frame.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Frame<'a> {
    pub(super) path: &'a str,
    /// 0 where it is not known.
    pub(super) line: i64,
    pub(super) label: &'a str,
}

/// Reads the trace of an exception: the exception itself first, then what caused it, each the cause of
/// the one before. `language` is `telemetry.sdk.language`.
pub(super) fn read<'a>(
    language: &str,
    kind: &'a str,
    message: &'a str,
    trace: &'a str,
) -> Vec<Exception<'a>> {
    let frames = match language {
        "java" | "php" => return java(kind, message, trace),
        "python" => return python(kind, message, trace),
        "javascript" | "nodejs" | "webjs" => lines(trace).filter_map(javascript).collect(),
        "dotnet" => lines(trace).filter_map(dotnet).collect(),
        "go" => go(trace),
        _ => Vec::new(),
    };
    vec![Exception { kind: kind.into(), message: message.into(), frames }]
}

fn lines(trace: &str) -> impl DoubleEndedIterator<Item = &str> {
    trace.lines().map(|line| line.trim_end_matches('\r'))
}

/// `path:line`; what follows the line, as in `path:line:column`, is left out.
fn place(text: &str) -> (&str, i64) {
    let (path, line) = text.rsplit_once(':').unwrap_or((text, ""));
    let number = |text: &str| text.trim().parse::<i64>().ok();
    match (number(line), path.rsplit_once(':')) {
        (Some(_), Some((path, line))) if number(line).is_some() => {
            (path, number(line).unwrap_or(0))
        }
        (Some(line), _) => (path, line),
        (None, _) => (text, 0),
    }
}

// ---- Java and PHP ----------------------------------------------------------------------------

/// Frames are `\tat package.Class.method(File.java:12)`; `Caused by: Type: message` begins a cause.
fn java<'a>(kind: &'a str, message: &'a str, trace: &'a str) -> Vec<Exception<'a>> {
    let mut all =
        vec![Exception { kind: kind.into(), message: message.into(), ..Exception::default() }];
    // A message of several lines goes on until the first frame.
    let mut in_message = false;
    let mut is_suppressed = false;
    for line in lines(trace).skip(1) {
        let Some(last) = all.last_mut() else { continue };
        if let Some(frame) = java_frame(line) {
            in_message = false;
            if !is_suppressed {
                last.frames.push(frame);
            }
        } else if let Some(cause) = line.strip_prefix("Caused by: ") {
            let (kind, message) = cause.split_once(':').unwrap_or((cause, ""));
            let (kind, message) = (kind.trim().into(), message.trim_start().into());
            all.push(Exception { kind, message, frames: Vec::new() });
            (in_message, is_suppressed) = (true, false);
        } else if line.trim_start().starts_with("Suppressed:") {
            (in_message, is_suppressed) = (false, true);
        } else if in_message && !line.trim_start().starts_with("... ") {
            let message = last.message.to_mut();
            message.push('\n');
            message.push_str(line);
        }
    }
    all
}

fn java_frame(line: &str) -> Option<Frame<'_>> {
    let frame = line.trim_start().strip_prefix("at ")?;
    let (label, rest) = frame.split_once('(')?;
    let (place_text, _) = rest.rsplit_once(')')?;
    // `module/version/package.Class`: what is before the last slash is not of the name.
    let label = label.rsplit('/').next().unwrap_or(label);
    let (path, line) = place(place_text);
    Some(Frame { path, line, label })
}

// ---- Python ------------------------------------------------------------------------------------

const DURING: &str = "During handling of the above exception, another exception occurred:";
const DIRECT: &str = "The above exception was the direct cause of the following exception:";

/// Innermost frames are last, and causes first. Between frames stand lines of source, and from 3.11 on
/// lines of `^` and `~` below them.
fn python<'a>(kind: &'a str, message: &'a str, trace: &'a str) -> Vec<Exception<'a>> {
    let all: Vec<&str> = lines(trace).collect();
    let parts = all.split(|line| *line == DURING || *line == DIRECT);
    let parts: Vec<&[&str]> = parts.collect();
    let mut found = Vec::new();
    for (at, part) in parts.iter().rev().enumerate() {
        let frames: Vec<Frame<'_>> =
            part.iter().rev().filter_map(|line| python_frame(line)).collect();
        if at == 0 {
            found.push(Exception { kind: kind.into(), message: message.into(), frames });
            continue;
        }
        // After the last frame and its source comes the exception, at the begin of its line.
        let last = part.iter().rposition(|line| python_frame(line).is_some());
        let after = &part[last.map_or(0, |last| last + 1)..];
        let mut words = after
            .iter()
            .skip_while(|line| line.starts_with(' ') || line.is_empty())
            .filter(|line| !line.starts_with("Traceback "));
        let first = words.next().copied().unwrap_or_default();
        let (kind, message) = first.split_once(": ").unwrap_or((first.trim_end_matches(':'), ""));
        let mut message = Cow::Borrowed(message);
        for line in words.filter(|line| !line.is_empty()) {
            message.to_mut().push('\n');
            message.to_mut().push_str(line);
        }
        found.push(Exception { kind: kind.into(), message, frames });
    }
    found
}

/// `  File "path", line 12, in function`. A path may have commas.
fn python_frame(line: &str) -> Option<Frame<'_>> {
    let rest = line.strip_prefix("  File ")?;
    let (path, rest) = match rest.strip_prefix('"') {
        Some(quoted) => quoted.split_once("\", line ")?,
        None => rest.rsplit_once(", line ")?,
    };
    let (number, label) = rest.split_once(", in ").unwrap_or((rest, ""));
    Some(Frame { path, line: number.trim().parse().unwrap_or(0), label })
}

// ---- others ------------------------------------------------------------------------------------

/// `    at label (path:line:column)` or `    at path:line:column`.
fn javascript(line: &str) -> Option<Frame<'_>> {
    let frame = line.trim_start().strip_prefix("at ")?;
    let (label, text) = match frame.rsplit_once(" (") {
        Some((label, text)) => (label.trim(), text.trim_end().trim_end_matches(')')),
        None => ("", frame.trim_end()),
    };
    let (path, number) = place(text);
    if number == 0 && text.contains("native") {
        return Some(Frame { path: "native", line: 0, label });
    }
    Some(Frame { path, line: number, label })
}

/// `at label in path:line 12`, or `at label`.
fn dotnet(line: &str) -> Option<Frame<'_>> {
    let frame = line.trim().strip_prefix("at ")?;
    let Some((label, text)) = frame.rsplit_once(" in ") else {
        return Some(Frame { label: frame, ..Frame::default() });
    };
    let (path, number) = text.rsplit_once(":line ").unwrap_or((text, ""));
    Some(Frame { path, line: number.trim().parse().unwrap_or(0), label })
}

/// Pairs of lines, the function and `\tpath:12 +0x1d`, after `goroutine 1 [running]:`.
fn go(trace: &str) -> Vec<Frame<'_>> {
    let mut all = lines(trace).filter(|line| !line.starts_with("goroutine ")).peekable();
    let mut frames = Vec::new();
    while let Some(label) = all.next() {
        let Some(text) = all.next_if(|line| line.starts_with(['\t', ' '])) else { continue };
        let text = text.trim();
        let text = text.split_once(" +0x").map_or(text, |(text, _)| text);
        let (path, line) = place(text);
        frames.push(Frame { path, line, label: label.trim() });
    }
    frames
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn frames<'a>(all: &[(&'a str, i64, &'a str)]) -> Vec<Frame<'a>> {
        all.iter().map(|(path, line, label)| Frame { path, line: *line, label }).collect()
    }

    #[test]
    fn python_chains_of_all_versions() {
        let trace = "Traceback (most recent call last):\n  File \"/app/a.py\", line 3, in f\n    {}['k']\n    ~~^^^^^\nKeyError: 'k'\n\n\
             During handling of the above exception, another exception occurred:\n\n\
             Traceback (most recent call last):\n  File \"/app/b, c.py\", line 9, in <module>\n    f()\n    ^^^\n  \
             File \"/app/a.py\", line 5, in f\n    raise RuntimeError('wrapped')\nRuntimeError: wrapped\n";
        let all = read("python", "RuntimeError", "wrapped", trace);
        assert_eq!(all.len(), 2);
        let own = frames(&[("/app/a.py", 5, "f"), ("/app/b, c.py", 9, "<module>")]);
        assert_eq!((&*all[0].kind, &all[0].frames), ("RuntimeError", &own));
        assert_eq!((&*all[1].kind, &*all[1].message), ("KeyError", "'k'"));
        assert_eq!(all[1].frames, frames(&[("/app/a.py", 3, "f")]));
        let direct = trace.replace(DURING, DIRECT);
        assert_eq!(read("python", "RuntimeError", "wrapped", &direct), all);
        // Frames without a line of source.
        let bare = "Traceback (most recent call last):\n  File \"<string>\", line 1, in g\nValueError: bad\nnews\n\n";
        let chain = format!("{bare}{DIRECT}\n\n{bare}");
        let all = read("python", "ValueError", "bad\nnews", &chain);
        assert_eq!(
            (&*all[1].message, &all[1].frames),
            ("bad\nnews", &frames(&[("<string>", 1, "g")]))
        );
    }

    #[test]
    fn java_causes_and_modules() {
        let trace = "java.lang.IllegalStateException: state\n\tat a//com.ex.A.run(A.java:10)\n\tat com.ex.Main.main(Main.java)\n\
             \tSuppressed: java.lang.Error: no\n\t\tat com.ex.S.close(S.java:1)\n\
             Caused by: java.io.IOException: disk\nfull\n\tat com.ex.B.read(B.java:77)\n\t... 2 more\n";
        let all = read("java", "java.lang.IllegalStateException", "state", trace);
        assert_eq!(
            all[0].frames,
            frames(&[("A.java", 10, "com.ex.A.run"), ("Main.java", 0, "com.ex.Main.main")])
        );
        assert_eq!((&*all[1].kind, &*all[1].message), ("java.io.IOException", "disk\nfull"));
        assert_eq!(all[1].frames, frames(&[("B.java", 77, "com.ex.B.read")]));
        assert_eq!(all.len(), 2);
    }

    #[test]
    fn the_other_languages() {
        let one = |language, trace| read(language, "E", "m", trace).remove(0).frames;
        let js = "Error: m\n    at Object.run (/app/a.js:10:5)\n    at /app/b.js:2:1\n    at Array.map (native)\n    at new X (file:///c.mjs:7:3)";
        let expected = frames(&[
            ("/app/a.js", 10, "Object.run"),
            ("/app/b.js", 2, ""),
            ("native", 0, "Array.map"),
            ("file:///c.mjs", 7, "new X"),
        ]);
        for language in ["javascript", "nodejs", "webjs"] {
            assert_eq!(one(language, js), expected);
        }
        let net =
            "System.Exception: m\n   at A.B.C(Int32 x) in C:\\src\\A.cs:line 12\n   at D.E()\n";
        assert_eq!(
            one("dotnet", net),
            frames(&[("C:\\src\\A.cs", 12, "A.B.C(Int32 x)"), ("", 0, "D.E()")])
        );
        let go = "goroutine 7 [running]:\nmain.f(0x1)\n\t/app/main.go:12 +0x1d\nmain.main()\n\t/app/main.go:3\n";
        assert_eq!(
            one("go", go),
            frames(&[("/app/main.go", 12, "main.f(0x1)"), ("/app/main.go", 3, "main.main()")])
        );
        assert_eq!(one("rust", go), []);
    }

    proptest! {
        #[test]
        fn any_text_is_read(text in "(\\PC|[\\n\\t:(),]|at |File |Caused by: |  File \"){0,200}") {
            for language in ["java", "php", "python", "nodejs", "dotnet", "go"] {
                prop_assert!(!read(language, "kind", "message", &text).is_empty());
            }
        }
    }
}
