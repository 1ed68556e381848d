//! Names of log groups and streams: `/app/{ServiceName}`, filled in from attributes.
//!
//! Keys such as `{ServiceName}` are those of the Collector. Any attribute of the resource can be
//! used: `{service.name}`, or `{resource.env}` if its name has no dot. `{attributes.tenant}` is an
//! attribute of the item. `{ServiceName:-app}` is `app` if the attribute is missing; without a
//! default it is `undefined`.

use std::borrow::Cow;

/// Most characters of a name (`CreateLogGroup`, `CreateLogStream`).
const LONGEST: usize = 512;
/// Replaces a missing attribute, as in the Collector.
const UNDEFINED: &str = "undefined";

/// Keys of the Collector and the attributes of the resource that they mean.
const KEYS: [(&str, &str); 10] = [
    ("ClusterName", "aws.ecs.cluster.name"),
    ("ContainerInstanceId", "aws.ecs.container.instance.id"),
    ("FaasName", "faas.name"),
    ("FaasVersion", "faas.version"),
    ("InstanceId", "service.instance.id"),
    ("NodeName", "k8s.node.name"),
    ("PodName", "pod"),
    ("ServiceName", "service.name"),
    ("TaskDefinitionFamily", "aws.ecs.task.family"),
    ("TaskId", "aws.ecs.task.id"),
];

/// The kind of thing that is named.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum Named {
    Group,
    Stream,
}

impl Named {
    fn takes(self, letter: char) -> bool {
        match self {
            Named::Group => letter.is_ascii_alphanumeric() || "._-/#".contains(letter),
            Named::Stream => !matches!(letter, ':' | '*') && !letter.is_control(),
        }
    }

    /// Makes a valid name of any text.
    pub(in super::super) fn clean(self, text: &str) -> String {
        let clean = |letter| if self.takes(letter) { letter } else { '_' };
        let name: String = text.chars().take(LONGEST).map(clean).collect();
        if name.is_empty() { UNDEFINED.to_owned() } else { name }
    }

    fn word(self) -> &'static str {
        match self {
            Named::Group => "a log group",
            Named::Stream => "a log stream",
        }
    }
}

/// Where an attribute comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum Of {
    Resource,
    Item,
}

/// A name with places to fill.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in super::super) struct Template {
    named: Named,
    parts: Vec<Part>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Text(String),
    Place {
        of: Of,
        /// Looked for in this order.
        keys: Vec<String>,
        default: String,
    },
}

impl Template {
    /// Reads a name. An error says what is wrong and what to write.
    pub(in super::super) fn parse(named: Named, text: &str) -> Result<Self, String> {
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('{') {
            let Some((inside, behind)) = after.split_once('}') else {
                return Err(format!("`{{` in `{text}` has no `}}`"));
            };
            parts.push(Part::Text(before.to_owned()));
            parts.push(place(inside)?);
            rest = behind;
        }
        parts.push(Part::Text(rest.to_owned()));
        parts.retain(|part| *part != Part::Text(String::new()));
        let mut written = 0;
        for part in &parts {
            let Part::Text(text) = part else { continue };
            if let Some(wrong) = text.chars().find(|letter| !named.takes(*letter)) {
                return Err(format!("`{wrong}` is not allowed in the name of {}", named.word()));
            }
            written += text.chars().count();
        }
        if written > LONGEST {
            return Err(format!("the name of {} has at most {LONGEST} characters", named.word()));
        }
        let is_reserved =
            matches!(parts.first(), Some(Part::Text(text)) if text.starts_with("aws/"));
        if named == Named::Group && is_reserved {
            return Err("names of groups that begin with `aws/` are reserved for AWS".to_owned());
        }
        Ok(Template { named, parts })
    }

    /// Whether it needs attributes of items.
    pub(in super::super) fn asks_items(&self) -> bool {
        self.parts.iter().any(|part| matches!(part, Part::Place { of: Of::Item, .. }))
    }

    /// Whether it needs this attribute of a resource or an item.
    pub(in super::super) fn asks(&self, key: &[u8]) -> bool {
        self.parts.iter().any(|part| match part {
            Part::Text(_) => false,
            Part::Place { keys, .. } => keys.iter().any(|own| own.as_bytes() == key),
        })
    }

    /// The name. Characters that are not allowed become `_`; a name that is too long is cut.
    pub(in super::super) fn fill<'v>(
        &self,
        value: impl Fn(Of, &str) -> Option<Cow<'v, str>>,
    ) -> String {
        let mut name = String::new();
        for part in &self.parts {
            match part {
                Part::Text(text) => name.push_str(text),
                Part::Place { of, keys, default } => {
                    let found = keys.iter().find_map(|key| value(*of, key));
                    let found = found.filter(|text| !text.is_empty());
                    name.push_str(found.as_deref().unwrap_or(default));
                }
            }
        }
        self.named.clean(&name)
    }
}

fn place(inside: &str) -> Result<Part, String> {
    let (key, default) = inside.split_once(":-").unwrap_or((inside, UNDEFINED));
    let default = default.to_owned();
    if let Some(attribute) = key.strip_prefix("attributes.").filter(|key| !key.is_empty()) {
        return Ok(Part::Place { of: Of::Item, keys: vec![attribute.to_owned()], default });
    }
    let of = Of::Resource;
    if let Some((_, attribute)) = KEYS.iter().find(|(name, _)| *name == key) {
        // An attribute with the same name as the key comes first, as in the Collector.
        return Ok(Part::Place {
            of,
            keys: vec![key.to_owned(), (*attribute).to_owned()],
            default,
        });
    }
    if let Some(attribute) = key.strip_prefix("resource.").filter(|key| !key.is_empty()) {
        // An attribute with this whole name comes first.
        return Ok(Part::Place { of, keys: vec![key.to_owned(), attribute.to_owned()], default });
    }
    if key.contains('.') {
        return Ok(Part::Place { of, keys: vec![key.to_owned()], default });
    }
    let known = KEYS.iter().find(|(name, _)| name.eq_ignore_ascii_case(key));
    if let Some((name, _)) = known {
        return Err(format!("there is no `{{{key}}}`; it is written `{{{name}}}`"));
    }
    let names: Vec<&str> = KEYS.iter().map(|(name, _)| *name).collect();
    Err(format!(
        "there is no `{{{key}}}`; write one of {}, or an attribute as `{{resource.{key}}}` or \
         `{{attributes.{key}}}`",
        names.join(", ")
    ))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn fill(text: &str, named: Named, values: &[(&str, &'static str)]) -> String {
        let value = |_: Of, key: &str| {
            values.iter().find(|(own, _)| *own == key).map(|(_, value)| Cow::Borrowed(*value))
        };
        Template::parse(named, text).unwrap().fill(value)
    }

    /// L09 of the reference, and what we accept beyond the Collector.
    #[test]
    fn places_are_filled_from_attributes() {
        let group = |text, values: &[_]| fill(text, Named::Group, values);
        assert_eq!(group("/app/{ServiceName}", &[]), "/app/undefined");
        assert_eq!(group("/app/{ServiceName}", &[("service.name", "web")]), "/app/web");
        let both = [("service.name", "web"), ("ServiceName", "own")];
        assert_eq!(group("/app/{ServiceName}", &both), "/app/own");
        assert_eq!(group("{ServiceName:-app}", &[("service.name", "")]), "app");
        assert_eq!(group("{k8s.pod.name}/{resource.env}", &[("env", "prod")]), "undefined/prod");
        assert_eq!(group("{attributes.tenant}", &[("tenant", "a")]), "a");
        assert_eq!(group("g/{service.name}", &[("service.name", "a b:c")]), "g/a_b_c");
        assert_eq!(fill("{TaskId}", Named::Stream, &[("aws.ecs.task.id", "a:b c")]), "a_b c");
        assert_eq!(group("{ServiceName:-}", &[]), "undefined");
    }

    #[test]
    fn what_cannot_be_a_name_is_said_with_its_remedy() {
        let error = |named, text| Template::parse(named, text).unwrap_err();
        assert!(
            error(Named::Group, "{Nope}").contains("there is no `{Nope}`; write one of Cluster")
        );
        assert!(error(Named::Group, "{servicename}").ends_with("it is written `{ServiceName}`"));
        assert!(error(Named::Group, "a{b").contains("no `}`"));
        assert!(error(Named::Group, "a:b").starts_with("`:`"));
        assert!(error(Named::Stream, "a*").starts_with("`*`"));
        assert!(error(Named::Group, "aws/x").contains("reserved for AWS"));
        assert!(error(Named::Stream, &"x".repeat(513)).contains("512"));
    }

    proptest! {
        #[test]
        fn any_value_gives_a_name_that_is_taken(value: String, text in "[a-z{}:-]{0,12}") {
            for named in [Named::Group, Named::Stream] {
                let value = |_: Of, _: &str| Some(Cow::Borrowed(value.as_str()));
                let Ok(template) = Template::parse(named, &format!("{text}{{a.b}}")) else { continue };
                let name = template.fill(value);
                let length = name.chars().count();
                prop_assert!((1..=LONGEST).contains(&length), "{name}");
                prop_assert!(name.chars().all(|letter| named.takes(letter)), "{name}");
            }
        }
    }
}
