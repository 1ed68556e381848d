//! Which sets of dimensions a metric is declared with: each set is a metric of its own in
//! CloudWatch, and is billed as one.

use std::collections::BTreeSet;

use regex::Regex;

/// Most dimensions of a set (CloudWatch).
pub(super) const DIMENSIONS: usize = 30;
/// The dimension with the name of the scope.
pub(super) const SCOPE: &str = "OTelLib";

/// Further sets of dimensions besides that of all labels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rollup {
    None,
    /// A set for each label.
    Single,
    /// A set for each label, and one without labels.
    ZeroAndSingle,
}

/// One of `metric_declarations`, read.
#[derive(Debug, Clone)]
pub(super) struct Declaration {
    pub(super) dimensions: Vec<Vec<String>>,
    pub(super) names: Vec<Regex>,
    pub(super) labels: Vec<LabelMatcher>,
}

/// One of `label_matchers`, read.
#[derive(Debug, Clone)]
pub(super) struct LabelMatcher {
    pub(super) names: Vec<String>,
    pub(super) separator: String,
    pub(super) regex: Regex,
}

/// Labels of a group of points, sorted by name.
pub(super) type Labels = [(String, String)];

fn value<'l>(labels: &'l Labels, name: &str) -> Option<&'l str> {
    labels.iter().find(|(own, _)| own == name).map(|(_, value)| &**value)
}

impl LabelMatcher {
    fn matches(&self, labels: &Labels) -> bool {
        let values = self.names.iter().map(|name| value(labels, name).unwrap_or_default());
        self.regex.is_match(&values.collect::<Vec<_>>().join(&self.separator))
    }
}

impl Declaration {
    fn matches(&self, name: &str, labels: &Labels) -> bool {
        self.names.iter().any(|regex| regex.is_match(name))
            && (self.labels.is_empty() || self.labels.iter().any(|one| one.matches(labels)))
    }
}

/// Sets of dimensions, each sorted.
pub(super) type Sets = BTreeSet<Vec<String>>;

/// The sets of dimensions of a metric: the declared ones and those of the rollup. If there are
/// none, it is only in the log and not a metric. A metric that a declaration selects has the sets
/// of the rollup even if it lacks the labels of all declared sets.
pub(super) fn sets(
    name: &str,
    labels: &Labels,
    declarations: &[Declaration],
    rollup: Rollup,
    parsed: &BTreeSet<String>,
) -> Sets {
    let is_dimension =
        |name: &str, value: &str| is_dimension(name, value) && !is_tree(name, value, parsed);
    let mut sets = Sets::new();
    if declarations.is_empty() {
        // Those that can be dimensions, by name where there are too many.
        let all = labels.iter().filter(|(name, value)| is_dimension(name, value));
        sets.insert(all.map(|(name, _)| name.clone()).take(DIMENSIONS).collect());
    }
    let mut is_declared = declarations.is_empty();
    for declaration in declarations.iter().filter(|one| one.matches(name, labels)) {
        is_declared = true;
        for set in &declaration.dimensions {
            let has_all = set
                .iter()
                .all(|name| value(labels, name).is_some_and(|value| is_dimension(name, value)));
            if has_all {
                let set: BTreeSet<&String> = set.iter().collect();
                sets.insert(set.into_iter().cloned().collect());
            }
        }
    }
    if !is_declared || rollup == Rollup::None {
        return sets;
    }
    let scope = labels.iter().filter(|(name, value)| name == SCOPE && is_dimension(name, value));
    let scope: Vec<String> = scope.map(|(name, _)| name.clone()).collect();
    let others = labels.iter().filter(|(name, value)| name != SCOPE && is_dimension(name, value));
    // Without a label there is nothing to roll up.
    let has_labels = others.clone().next().is_some();
    for (name, _) in others {
        let mut set = scope.clone();
        set.push(name.clone());
        set.sort();
        sets.insert(set);
    }
    if rollup == Rollup::ZeroAndSingle && has_labels {
        sets.insert(scope);
    }
    sets
}

/// Whether the value is JSON in the document, and therefore not text.
fn is_tree(name: &str, value: &str, parsed: &BTreeSet<String>) -> bool {
    parsed.contains(name) && serde_json::from_str::<serde::de::IgnoredAny>(value).is_ok()
}

/// Whether CloudWatch takes it: a name of 250 and a value of 1 to 1024 characters. It takes no
/// metric of a document with one that is not.
fn is_dimension(name: &str, value: &str) -> bool {
    (1..=250).contains(&name.chars().count())
        && !name.starts_with(':')
        && (1..=1024).contains(&value.chars().count())
        && !value.trim().is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(all: &[(&str, &str)]) -> Vec<(String, String)> {
        all.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    fn shown(sets: &Sets) -> Vec<String> {
        sets.iter().map(|set| set.join(",")).collect()
    }

    /// M01 and M03.
    #[test]
    fn labels_are_one_set_and_with_a_rollup_more() {
        let none = BTreeSet::new();
        let own = labels(&[("OTelLib", "lib"), ("a", "1"), ("b", "2")]);
        let all = |rollup| shown(&sets("m", &own, &[], rollup, &none));
        assert_eq!(all(Rollup::None), ["OTelLib,a,b"]);
        assert_eq!(
            all(Rollup::ZeroAndSingle),
            ["OTelLib", "OTelLib,a", "OTelLib,a,b", "OTelLib,b"]
        );
        assert_eq!(all(Rollup::Single), ["OTelLib,a", "OTelLib,a,b", "OTelLib,b"]);
        let bare = labels(&[("a", "1"), ("b", " ")]);
        assert_eq!(shown(&sets("m", &bare, &[], Rollup::ZeroAndSingle, &none)), ["", "a"]);
        let many: Vec<(String, String)> =
            (0..40).map(|n| (format!("l{n:02}"), "v".to_owned())).collect();
        assert_eq!(sets("m", &many, &[], Rollup::None, &none).first().unwrap().len(), DIMENSIONS);
    }

    #[test]
    fn declarations_choose_metrics_and_sets() {
        let none = BTreeSet::new();
        let set = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        let twelve: Vec<String> = (0..12).map(|n| format!("l{n:02}")).collect();
        let declaration = Declaration {
            dimensions: vec![set(&["b", "a"]), set(&["missing"]), twelve.clone()],
            names: vec![Regex::new("^http_").unwrap()],
            labels: vec![LabelMatcher {
                names: set(&["a", "b"]),
                separator: ";".to_owned(),
                regex: Regex::new("^1;2$").unwrap(),
            }],
        };
        let mut own = labels(&[("a", "1"), ("b", "2")]);
        own.extend(twelve.iter().map(|name| (name.clone(), "v".to_owned())));
        let declared =
            sets("http_time", &own, std::slice::from_ref(&declaration), Rollup::None, &none);
        assert_eq!(shown(&declared), ["a,b".to_owned(), twelve.join(",")]);
        assert!(
            sets("cpu", &own, std::slice::from_ref(&declaration), Rollup::None, &none).is_empty()
        );
        own[0].1 = "other".to_owned();
        assert!(sets("http_time", &own, &[declaration], Rollup::ZeroAndSingle, &none).is_empty());
    }

    #[test]
    fn a_rollup_counts_where_a_declaration_matches_and_none_of_its_sets_fits() {
        let none = BTreeSet::new();
        let declaration = Declaration {
            dimensions: vec![vec!["a".to_owned(), "b".to_owned()]],
            names: vec![Regex::new("^m").unwrap()],
            labels: Vec::new(),
        };
        let declarations = std::slice::from_ref(&declaration);
        let of = |name, own: &[(&str, &str)], rollup| {
            shown(&sets(name, &labels(own), declarations, rollup, &none))
        };
        assert_eq!(of("m", &[("n", "1")], Rollup::ZeroAndSingle), ["", "n"]);
        assert_eq!(of("m", &[("n", "1")], Rollup::Single), ["n"]);
        assert_eq!(
            of("m", &[("OTelLib", "l"), ("n", "1")], Rollup::ZeroAndSingle),
            ["OTelLib", "OTelLib,n"]
        );
        assert_eq!(of("m", &[("OTelLib", "l")], Rollup::ZeroAndSingle), [""; 0]);
        assert_eq!(of("m", &[("n", "1")], Rollup::None), [""; 0]);
        assert_eq!(of("other", &[("n", "1")], Rollup::ZeroAndSingle), [""; 0]);
        let fitting = [("a", "1"), ("b", "2")];
        assert_eq!(of("m", &fitting, Rollup::Single), ["a", "a,b", "b"]);
    }
}
