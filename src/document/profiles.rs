//! Pipelines of profiles, a signal that skep does not have. In the Collector they need a feature
//! gate. With that gate, skep leaves them out, too.

use super::ids;
use crate::config::{Node, Problem, Problems, Severity, Value};

/// The feature gate of the Collector without which it refuses such pipelines.
pub const GATE: &str = "service.profilesSupport";

/// Whether the id of a pipeline is one of profiles.
pub(super) fn is_one(id: &str) -> bool {
    ids::component(id).is_ok_and(|id| id.kind_name == "profiles")
}

pub(super) fn remedy() -> String {
    format!(
        "remove the pipeline; with `--feature-gates={GATE}`, which the Collector needs for it, it \
         is left out with a warning"
    )
}

/// Whether the lists after `--feature-gates` turn the gate on: `a,+b,-c`.
pub fn is_allowed(gates: &[String]) -> bool {
    let names = gates.iter().flat_map(|list| list.split(','));
    let last = names.map(str::trim).rfind(|name| name.trim_start_matches(['+', '-']) == GATE);
    last.is_some_and(|name| !name.starts_with('-'))
}

/// Takes the pipelines of profiles out of a file, each with a warning.
pub fn leave_out(root: &mut Node, problems: &mut Problems) {
    let Some(Value::Map(members)) = member(root, "service")
        .and_then(|node| member(node, "pipelines"))
        .map(|node| &mut node.value)
    else {
        return;
    };
    members.retain(|member| {
        let is_profiles = is_one(&member.key);
        if is_profiles {
            let message = format!("`{}` is left out: skep has no profiles", member.key.trim());
            let mut problem = Problem::at(&member.key_place, &member.value.path, message);
            problem.severity = Severity::Warning;
            problem.help("remove it, unless another Collector also reads this file");
            problems.0.push(problem);
        }
        !is_profiles
    });
}

fn member<'a>(node: &'a mut Node, key: &str) -> Option<&'a mut Node> {
    let Value::Map(members) = &mut node.value else { return None };
    members.iter_mut().find(|member| member.key == key).map(|member| &mut member.value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{config::yaml, document};

    #[test]
    fn the_gate_is_read_as_the_collector_reads_it() {
        let is_on = |lists: &[&str]| {
            is_allowed(&lists.iter().map(|list| (*list).to_owned()).collect::<Vec<_>>())
        };
        assert!(is_on(&[GATE]));
        assert!(is_on(&["a, +service.profilesSupport", "b"]));
        assert!(!is_on(&["service.profilesSupport,-service.profilesSupport"]));
        assert!(!is_on(&["-service.profilesSupport"]));
        assert!(!is_on(&["service.profiles"]));
        assert!(!is_on(&[]));
    }

    #[test]
    fn pipelines_of_profiles_are_left_out_with_a_warning() {
        let file = "
receivers: {otlp: {protocols: {grpc: }}}
exporters: {nop: }
service:
  pipelines:
    traces: {receivers: [otlp], exporters: [nop]}
    profiles: {receivers: [otlp], exporters: [nop]}
    profiles/2: {receivers: [unknown], exporters: [nop]}
";
        let mut root = yaml::parse(0, file).unwrap();
        let mut problems = Problems::default();
        document::load(&root, &mut problems);
        assert!(problems.has_errors());
        let mut problems = Problems::default();
        leave_out(&mut root, &mut problems);
        let document = document::load(&root, &mut problems);
        let messages: Vec<&str> = problems.0.iter().map(|problem| &*problem.message).collect();
        let left_out = |id: &str| format!("`{id}` is left out: skep has no profiles");
        assert_eq!(messages, [left_out("profiles"), left_out("profiles/2")]);
        assert!(!problems.has_errors());
        assert_eq!(document.pipelines.len(), 1);
    }
}
