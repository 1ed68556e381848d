//! Finds the configuration that the arguments name, or the default one, and reads it.

use std::path::Path;

use super::{Configuration, EMPTY_VARIABLES};
use crate::{
    config::{self, Problem, Problems, Severity, source::Loaded},
    document::profiles,
};

/// Files that are read, the first that exists, if no configuration is named. The last two are those
/// of the Collector's images, so that skep can replace such an image.
const DEFAULT_FILES: [&str; 3] =
    ["/etc/skep/config.yaml", "/etc/otelcol/config.yaml", "/etc/otelcol-contrib/config.yaml"];

/// The configuration if there is no other.
const BUILT_IN: &str = include_str!("../../pipelines/default.yaml");
/// The configuration if there is no other and Honeycomb's key is set.
const BUILT_IN_HONEYCOMB: &str = include_str!("../../pipelines/honeycomb.yaml");

/// How the configuration was found.
pub(crate) enum Origin {
    /// Named on the command line, or in one of the default places.
    Given(Vec<String>),
    /// None was found: the built-in one.
    BuiltIn,
    /// The flags of the X-Ray daemon, and its file where there is one.
    #[cfg_attr(not(feature = "aws"), expect(dead_code, reason = "there is no such daemon"))]
    Daemon(Option<String>),
}

impl Origin {
    /// The name of the configuration in the log.
    pub(super) fn name(&self) -> String {
        match self {
            // The text of an argument may be long and may contain secrets.
            Origin::Given(uris) => {
                let name = |uri: &String| match uri.strip_prefix("yaml:") {
                    Some(text) => format!("yaml: ({} bytes)", text.len()),
                    None => uri.clone(),
                };
                uris.iter().map(name).collect::<Vec<_>>().join(", ")
            }
            Origin::BuiltIn => "built in".to_owned(),
            Origin::Daemon(None) => "flags of the X-Ray daemon".to_owned(),
            Origin::Daemon(Some(file)) => format!("flags of the X-Ray daemon, {file}"),
        }
    }
}

/// The variable that holds the whole configuration in the Collector's distribution of AWS. It wins
/// over files, since the images of that distribution always name one.
const AOT_CONFIG: &str = "AOT_CONFIG_CONTENT";

/// Reads the configuration that the arguments name, or the default one.
pub(crate) fn load(configuration: &Configuration, problems: &mut Problems) -> (Origin, Loaded) {
    let empty = std::env::var(EMPTY_VARIABLES).unwrap_or_default();
    let env = |name: &str| {
        let is_empty = || empty.split(',').any(|known| known == name).then(String::new);
        std::env::var(name).ok().or_else(is_empty)
    };
    let mut uris = configuration.uris.clone();
    if env(AOT_CONFIG).is_some_and(|text| !text.is_empty()) {
        if !uris.is_empty() {
            let message = format!("`--config` is not read: {AOT_CONFIG} holds the configuration");
            let mut problem = Problem::of_the_whole(message);
            problem.severity = Severity::Warning;
            problem.help(format!("remove `--config`, or unset {AOT_CONFIG} to read it"));
            problems.0.push(problem);
        }
        uris = vec![format!("env:{AOT_CONFIG}")];
    }
    // An empty variable counts as unset: compose makes a variable empty if nobody has set it.
    if uris.is_empty() && env("SKEP_CONFIG").is_some_and(|text| !text.is_empty()) {
        uris.push("env:SKEP_CONFIG".to_owned());
    }
    if uris.is_empty() {
        let found = DEFAULT_FILES.into_iter().find(|file| Path::new(file).exists());
        uris.extend(found.map(ToOwned::to_owned));
    }
    if !uris.is_empty() {
        let mut loaded = config::source::load(&uris, &configuration.sets, &env, problems);
        if let Some(root) = loaded.root.as_mut()
            && profiles::is_allowed(&configuration.feature_gates)
        {
            profiles::leave_out(root, problems);
        }
        return (Origin::Given(uris), loaded);
    }
    let has_key = env("HONEYCOMB_API_KEY").is_some_and(|key| !key.is_empty());
    let text = if has_key { BUILT_IN_HONEYCOMB } else { BUILT_IN };
    let uris = [format!("yaml:{text}")];
    (Origin::BuiltIn, config::source::load(&uris, &configuration.sets, &env, problems))
}
