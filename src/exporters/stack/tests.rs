use proptest::prelude::*;

use super::{
    python::{DIRECT, DURING},
    *,
};

fn frames<'a>(all: &[(&'a str, i64, &'a str)]) -> Vec<Frame<'a>> {
    all.iter().map(|(path, line, label)| Frame::new(path, *line, label)).collect()
}

/// Frames without columns and source, which `columns_and_source_are_read` checks.
fn places<'a>(frames: &[Frame<'a>]) -> Vec<Frame<'a>> {
    frames.iter().map(|frame| Frame::new(frame.path, frame.line, frame.label)).collect()
}

#[test]
fn columns_and_source_are_read() {
    let columns = |language, trace| {
        let Trace { chain, .. } = read(language, "Error", "m", trace);
        chain[0].frames.iter().map(|frame| frame.column).collect::<Vec<_>>()
    };
    let v8 = "Error: m\n    at f (/a.js:10:5)\n    at /b.js:2:1\n    at Array.map (native)\n    at g (/c.js:7)";
    assert_eq!(columns("nodejs", v8), [5, 1, 0, 0]);
    assert_eq!(columns("webjs", "f@http://a/c.js:41:17\nmap@[native code]\n"), [17, 0]);
    let python = "Traceback (most recent call last):\n  File \"b.py\", line 9, in <module>\n    f()\n  \
        File \"a.py\", line 5, in f\n    raise E('m')\n    ^^^^^^^^\nError: m\n";
    let Trace { chain, is_whole } = read("python", "Error", "m", python);
    let code: Vec<&str> = chain[0].frames.iter().map(|frame| frame.code).collect();
    assert_eq!((code, is_whole), (vec!["raise E('m')", "f()"], true));
}

#[test]
fn frames_that_java_does_not_print_twice_are_counted() {
    let trace = "E: m\n\tat a.b(C.java:1)\n\tat a.d(C.java:2)\nCaused by: F: n\n\tat a.c(C.java:3)\n\t... 2 more\n";
    let Trace { chain, is_whole } = read("java", "E", "m", trace);
    let shared: Vec<usize> = chain.iter().map(|exception| exception.shared).collect();
    assert_eq!((shared, is_whole), (vec![0, 2], true));
}

#[test]
fn python_chains_of_all_versions() {
    let trace = "Traceback (most recent call last):\n  File \"/app/a.py\", line 3, in f\n    {}['k']\n    ~~^^^^^\nKeyError: 'k'\n\n\
         During handling of the above exception, another exception occurred:\n\n\
         Traceback (most recent call last):\n  File \"/app/b, c.py\", line 9, in <module>\n    f()\n    ^^^\n  \
         File \"/app/a.py\", line 5, in f\n    raise RuntimeError('wrapped')\nRuntimeError: wrapped\n";
    let read = |language, kind, message, trace| {
        let Trace { chain, is_whole } = read(language, kind, message, trace);
        assert!(is_whole, "{trace}");
        chain
    };
    let all = read("python", "RuntimeError", "wrapped", trace);
    assert_eq!(all.len(), 2);
    let own = frames(&[("/app/a.py", 5, "f"), ("/app/b, c.py", 9, "<module>")]);
    assert_eq!((&*all[0].kind, places(&all[0].frames)), ("RuntimeError", own));
    assert_eq!((&*all[1].kind, &*all[1].message), ("KeyError", "'k'"));
    assert_eq!(places(&all[1].frames), frames(&[("/app/a.py", 3, "f")]));
    let direct = trace.replace(DURING, DIRECT);
    assert_eq!(read("python", "RuntimeError", "wrapped", &direct), all);
    // Frames without a line of source.
    let bare = "Traceback (most recent call last):\n  File \"<string>\", line 1, in g\nValueError: bad\nnews\n\n";
    let chain = format!("{bare}{DIRECT}\n\n{bare}");
    let all = read("python", "ValueError", "bad\nnews", &chain);
    assert_eq!((&*all[1].message, &all[1].frames), ("bad\nnews", &frames(&[("<string>", 1, "g")])));
}

#[test]
fn java_causes_and_modules() {
    let trace = "java.lang.IllegalStateException: state\n\tat a//com.ex.A.run(A.java:10)\n\tat com.ex.Main.main(Main.java)\n\
         \tSuppressed: java.lang.Error: no\n\t\tat com.ex.S.close(S.java:1)\n\
         Caused by: java.io.IOException: disk\nfull\n\tat com.ex.B.read(B.java:77)\n\t... 2 more\n";
    let Trace { chain: all, is_whole } =
        read("java", "java.lang.IllegalStateException", "state", trace);
    assert!(!is_whole, "what was suppressed is not in the chain");
    let without =
        trace.replace("\tSuppressed: java.lang.Error: no\n\t\tat com.ex.S.close(S.java:1)\n", "");
    let other = read("", "java.lang.IllegalStateException", "state", &without);
    assert_eq!((&other.chain, other.is_whole), (&all, true));
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
    // By its language, and by its text alone.
    let one = |language, trace| {
        let kind = if language == "dotnet" { "System.Exception" } else { "Error" };
        let read = |language| read(language, kind, "m", trace);
        let Trace { mut chain, is_whole } = read(language);
        assert_eq!((&read("").chain, is_whole), (&chain, true), "{language}");
        places(&chain.remove(0).frames)
    };
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
    let net = "System.Exception: m\n   at A.B.C(Int32 x) in C:\\src\\A.cs:line 12\n   at D.E()\n";
    assert_eq!(
        one("dotnet", net),
        frames(&[("C:\\src\\A.cs", 12, "A.B.C(Int32 x)"), ("", 0, "D.E()")])
    );
    let go = "goroutine 7 [running]:\nmain.f(0x1)\n\t/app/main.go:12 +0x1d\nmain.main()\n\t/app/main.go:3\n";
    assert_eq!(
        one("go", go),
        frames(&[("/app/main.go", 12, "main.f(0x1)"), ("/app/main.go", 3, "main.main()")])
    );
    let gecko = "total@http://app.example/cart.js:41:17\n@http://app.example/@a/c.js:12:5\nmap@[native code]\n";
    let expected = frames(&[
        ("http://app.example/cart.js", 41, "total"),
        ("http://app.example/@a/c.js", 12, ""),
        ("[native code]", 0, "map"),
    ]);
    assert_eq!(one("webjs", gecko), expected);
    let rust = "stack backtrace:\n   0: core::panicking::panic\n             at /rustc/a/library/core/src/panicking.rs:50:5\n   \
        1:     0x55d0c1a2 - app::main\n             at ./src/main.rs:4:5\n   2: _start\n";
    let expected = frames(&[
        ("/rustc/a/library/core/src/panicking.rs", 50, "core::panicking::panic"),
        ("./src/main.rs", 4, "app::main"),
        ("", 0, "_start"),
    ]);
    assert_eq!(one("rust", rust), expected);
    let swift = "0   Shop   0x0000000102e4c1a8 $s4Shop5totalyyF + 123\n1 [ra] 0x0000000000401234 main + 16 in shop at /app/main.swift:12:5\n";
    let expected = frames(&[
        ("Shop", 0, "$s4Shop5totalyyF + 123"),
        ("/app/main.swift", 12, "main + 16 in shop"),
    ]);
    assert_eq!(one("swift", swift), expected);
}

#[test]
fn ruby_says_causes_behind_their_frames() {
    let trace = "app.rb:10:in `total': bad\nnews (ShopError)\n\tfrom app.rb:20:in 'Cart#checkout'\n\tfrom app.rb:30\n\
        app.rb:5:in `rows': closed (IOError)\n\tfrom app.rb:9:in `total'\n";
    let trace = trace.replace("bad\nnews (ShopError)", "bad (ShopError)\nnews");
    for language in ["ruby", ""] {
        let Trace { chain, is_whole } = read(language, "ShopError", "bad\nnews", &trace);
        let own = [("app.rb", 10, "total"), ("app.rb", 20, "Cart#checkout"), ("app.rb", 30, "")];
        assert_eq!((&chain[0].frames, is_whole), (&frames(&own), true));
        assert_eq!((&*chain[1].kind, &*chain[1].message), ("IOError", "closed"));
        assert_eq!(chain[1].frames, frames(&[("app.rb", 5, "rows"), ("app.rb", 9, "total")]));
    }
    assert!(!read("ruby", "ShopError", "good", &trace).is_whole);
}

#[test]
fn what_says_more_than_its_frames_is_not_whole() {
    for (language, trace) in [
        ("", "something else"),
        (
            "python",
            "  + Exception Group Traceback (most recent call last):\n  |   File \"a.py\", line 1, in f\n",
        ),
        (
            "python",
            "Traceback (most recent call last):\n  File \"a.py\", line 1, in f\n  [Previous line repeated 9 more times]\nE: m\n",
        ),
        (
            "python",
            "Traceback (most recent call last):\n  File \"a.py\", line 1, in f\nE: m\na note\n",
        ),
        ("nodejs", "E: m\n    at f (a.js:1:2) {\n  code: 'X'\n}"),
        ("dotnet", "E: m ---> Inner: why\n   at A.B()\n"),
        ("java", "E: m\n\tat a.b(C.java:1)\nmore"),
        ("go", "panic: m\n\ngoroutine 1 [running]:\nmain.f()\n"),
        ("rust", "thread 'main' panicked at a.rs:1:1:\nm\nstack backtrace:\n   0: f\n"),
    ] {
        assert!(!read(language, "E", "m", trace).is_whole, "{trace}");
    }
    assert_eq!(read("nodejs", "E", "m", "E: m\n").chain[0].frames, []);
}

/// Words that traces have of themselves.
const GRAMMAR: [&str; 14] = [
    "at",
    "in",
    "line",
    "File",
    "from",
    "Traceback",
    "most",
    "recent",
    "call",
    "last",
    "goroutine",
    "running",
    "Caused",
    "by",
];

proptest! {
    /// Of a text that counts as read, all words are in the frames, the kinds or the messages.
    #[test]
    fn nothing_of_a_whole_text_is_lost(
        lines in prop::collection::vec(
            prop::sample::select(vec![
                "  File \"aa.py\", line 7, in bb", "\tat cc.dd(Ee.java:7)", "    at ff (gg.js:7:7)",
                "hh@http://ii/jj.js:7:7", "   at Kk.Ll(Mm nn) in oo.cs:line 7", "pp.rr()", "\t/qq/ss.go:7",
                "tt.rb:7:in `uu'", "tt.rb:7:in `uu': vv (Ww)", "   0: xx::yy", "             at ./zz.rs:7:7",
                "0   Ab   0xcd ef + 7", "goroutine 7 [running]:", "Caused by: Gh: ij", "kl", "Mn: op", "",
                "Traceback (most recent call last):",
            ]),
            0..6,
        ),
        language in prop::sample::select(vec!["java", "python", "nodejs", "dotnet", "go", "ruby", "rust", "swift", ""]),
    ) {
        let trace = lines.join("\n");
        let Trace { chain, is_whole } = read(language, "Mn", "op", &trace);
        let said = format!("{chain:?}");
        // Source below the frames of Python is not said again.
        let has_source = trace.contains("  File ");
        let own = |line: &&&str| !(has_source && line.starts_with("    "));
        let trace = lines.iter().filter(own).copied().collect::<Vec<_>>().join("\n");
        let words = trace.split(|c: char| !c.is_alphanumeric()).filter(|word| {
            word.chars().any(char::is_alphabetic) && !GRAMMAR.contains(word) && !word.starts_with("0x")
        });
        for word in words.filter(|_| is_whole) {
            prop_assert!(said.contains(word), "{word} of {trace} is not in {said}");
        }
    }

    #[test]
    fn any_text_is_read(text in "(\\PC|[\\n\\t:(),@]|at |File |Caused by: |  File \"|0: | from |:in `){0,200}") {
        for language in ["java", "php", "python", "nodejs", "dotnet", "go", "ruby", "rust", "swift", ""] {
            prop_assert!(!read(language, "kind", "message", &text).chain.is_empty());
        }
    }
}
