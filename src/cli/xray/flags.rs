//! The daemon's flags in the form that clap reads: long ones may have one dash, short ones two, a
//! value may follow an equal sign, and the word `xray` may be among them.
//!
//! The word comes from compose files: `command: xray -o` was meant as a whole command line, and the
//! daemon's image takes it as arguments.

use std::ffi::OsString;

use clap::CommandFactory as _;

use super::Flags;

/// Arguments with the dashes that clap expects, without the word `xray`.
pub(super) fn normalized(arguments: impl Iterator<Item = OsString>) -> Vec<OsString> {
    let command = Flags::command();
    let mut out = Vec::new();
    let mut is_value = false;
    for argument in arguments {
        let text = argument.to_str().unwrap_or_default();
        if std::mem::take(&mut is_value) {
            out.push(argument);
            continue;
        }
        let Some(flag) = text.strip_prefix('-').filter(|flag| !flag.is_empty()) else {
            if text != "xray" {
                out.push(argument);
            }
            continue;
        };
        let flag = flag.strip_prefix('-').unwrap_or(flag);
        let name = flag.split('=').next().unwrap_or_default();
        if name.is_empty() {
            out.push(argument);
            continue;
        }
        let mut letters = name.chars();
        let letter = letters.next().filter(|_| letters.next().is_none());
        let known = command.get_arguments().find(|known| {
            known.get_long() == Some(name) || letter.is_some() && known.get_short() == letter
        });
        let takes_value = known.is_some_and(|known| {
            known.get_action().takes_values() && !known.is_require_equals_set()
        });
        is_value = takes_value && name.len() == flag.len();
        let dashes = if letter.is_some() { "-" } else { "--" };
        out.push(format!("{dashes}{flag}").into());
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(given: &str, expected: &str) {
        let words = |text: &str| text.split(' ').map(OsString::from).collect::<Vec<_>>();
        assert_eq!(normalized(words(given).into_iter()), words(expected), "{given}");
    }

    #[test]
    fn every_form_of_the_daemon_becomes_one() {
        check("xray -o -b xray-daemon:2000", "-o -b xray-daemon:2000");
        check("-t 0.0.0.0:2000 -b 0.0.0.0:2000 xray -o", "-t 0.0.0.0:2000 -b 0.0.0.0:2000 -o");
        check(
            "-bind-tcp a:1 --bind=b:2 -log-level=dev",
            "--bind-tcp a:1 --bind=b:2 --log-level=dev",
        );
        check("--n eu-west-1 -local-mode=false -o=true", "-n eu-west-1 --local-mode=false -o=true");
        check("-n xray -f -o -v", "-n xray -f -o -v");
        check("-drain-timeout 3s -bnid x", "--drain-timeout 3s --bnid x");
        check("extra -", "extra -");
    }
}
