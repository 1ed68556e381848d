//! Names of services that are probably mistakes: none at all, and ones that are nearly another.

/// Whether a `service.name` is what SDKs send if nobody has set one.
pub fn is_unnamed(service: &str) -> bool {
    service.is_empty() || service == "unknown_service" || service.starts_with("unknown_service:")
}

/// How much one name is like another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Likeness {
    /// They differ in upper and lower case, dashes, underscores, dots and spaces only.
    Spelling,
    /// One letter is missing, too many, wrong, or swapped with its neighbour.
    One,
    /// Two are.
    Two,
}

/// Longest name that is compared, in characters.
const LONGEST: usize = 100;

/// Names whose lengths differ by more bytes are not alike: two letters, and some dashes.
const MOST_APART: usize = 12;

/// The name that is most like `name` among others, if one is so like it that it may be meant.
///
/// Names that differ in a number, such as `worker-1` and `worker-2`, are two names, and so are
/// short ones: `card` and `cart` differ on purpose.
pub fn nearest<'a>(name: &str, others: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    if is_unnamed(name) {
        return None;
    }
    let like = |other: &'a str| Some((likeness(name, other)?, other));
    others.into_iter().filter_map(like).min().map(|(_, other)| other)
}

fn likeness(one: &str, other: &str) -> Option<Likeness> {
    // Most names are told apart by their lengths alone.
    if one == other || one.len().abs_diff(other.len()) > MOST_APART {
        return None;
    }
    if is_unnamed(other) || number_apart(one, other) {
        return None;
    }
    let (a, b): (Vec<char>, Vec<char>) = (letters(one).collect(), letters(other).collect());
    let (short, long) = (a.len().min(b.len()), a.len().max(b.len()));
    if a == b {
        return Some(Likeness::Spelling);
    }
    if long > LONGEST || long - short > 2 {
        return None;
    }
    match distance(&a, &b) {
        1 if short >= 5 => Some(Likeness::One),
        2 if short >= 8 => Some(Likeness::Two),
        _ => None,
    }
}

fn letters(name: &str) -> impl Iterator<Item = char> {
    let is_letter = |c: &char| !matches!(c, '-' | '_' | '.' | ' ');
    name.chars().filter(is_letter).flat_map(char::to_lowercase)
}

/// Whether names are equal but for their digits, or for a last part of one letter.
fn number_apart(one: &str, other: &str) -> bool {
    let without = |name: &str| name.chars().filter(|c| !c.is_ascii_digit()).collect::<String>();
    let has_digit = |name: &str| name.bytes().any(|byte| byte.is_ascii_digit());
    if (has_digit(one) || has_digit(other)) && without(one) == without(other) {
        return true;
    }
    let stem = |name: &str| {
        let (stem, last) = name.rsplit_once(['-', '_', '.'])?;
        (last.chars().count() == 1).then(|| stem.to_owned())
    };
    stem(one).is_some_and(|stem_of_one| stem(other) == Some(stem_of_one))
}

/// How many letters have to be inserted, left out, replaced or swapped with their neighbour.
fn distance(a: &[char], b: &[char]) -> usize {
    let mut before: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for i in 1..=a.len() {
        let mut row = vec![i; b.len() + 1];
        for j in 1..=b.len() {
            let replaced = last[j - 1] + usize::from(a[i - 1] != b[j - 1]);
            row[j] = replaced.min(last[j] + 1).min(row[j - 1] + 1);
            let is_swapped = i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1];
            if is_swapped {
                row[j] = row[j].min(before[j - 2] + 1);
            }
        }
        before = std::mem::replace(&mut last, row);
    }
    last[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_is_nearly_another_is_found() {
        let known = ["backend-flask", "frontend", "cart", "worker-1", "unknown_service:python"];
        for (name, expected) in [
            ("bakend-flask", Some("backend-flask")),
            ("backend-falsk", Some("backend-flask")),
            ("backend_flask", Some("backend-flask")),
            ("BackendFlask", Some("backend-flask")),
            ("bakend-flsk", Some("backend-flask")),
            ("frontent", Some("frontend")),
            ("backend-flask", None),
            ("backend-django", None),
            ("card", None),
            ("worker-2", None),
            ("worker-12", None),
            ("unknown_service:pythn", None),
            ("", None),
        ] {
            assert_eq!(nearest(name, known), expected, "{name}");
        }
        assert_eq!(nearest("service-a", ["service-b"]), None);
        assert_eq!(nearest("shop1", ["shop"]), None);
        let near = nearest("checkout", ["chekout", "check-out"]);
        assert_eq!(near, Some("check-out"), "another spelling is nearer than a missing letter");
        let long = "x".repeat(LONGEST + 1);
        assert_eq!(nearest(&long, [&*format!("{long}y")]), None);
    }

    #[test]
    fn letters_that_are_swapped_count_once() {
        let count = |a: &str, b: &str| {
            distance(&a.chars().collect::<Vec<_>>(), &b.chars().collect::<Vec<_>>())
        };
        assert_eq!(count("falsk", "flask"), 1);
        assert_eq!(count("", "abc"), 3);
        assert_eq!(count("kitten", "sitting"), 3);
    }

    #[test]
    fn what_sdks_send_without_a_name_is_no_name() {
        assert!(["", "unknown_service", "unknown_service:node"].into_iter().all(is_unnamed));
        assert!(!is_unnamed("unknown_services"));
    }
}
