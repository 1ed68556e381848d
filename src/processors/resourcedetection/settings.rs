//! What can be configured, with the Collector's keys and defaults.

use std::{collections::BTreeMap, time::Duration};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    super::editing::action::broken,
    detectors::{self, Detector},
    retry::Retry,
};
use crate::config::{Anything, Fixed, Ignored, Interval, Node, Problems, Secret, diagnostics};

/// What to do about a platform that no detector is for.
const ELSEWHERE: &str =
    "give attributes of other platforms in OTEL_RESOURCE_ATTRIBUTES and detect `env`";

/// Adds detected resource attributes.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// What is asked, in order of precedence: `env`, `system`, `docker`, `lambda`,
    /// `elasticbeanstalk`, `eks`, `ecs`, `ec2`. The Collector's others are taken and find nothing.
    pub detectors: Vec<String>,
    /// Replace attributes that a resource has already; `false`: add only what is missing.
    pub r#override: bool,
    /// How long detection may take, and data wait for it.
    pub timeout: Interval,
    /// Only attributes of these names are added; all where it is empty.
    pub attributes: Vec<String>,
    /// Has no effect: start-up does not wait for detection, and a detector that fails is logged.
    pub fail_on_missing_metadata: Fixed<false>,
    /// Has no effect: detection runs once, when skep starts.
    pub refresh_interval: Ignored<Interval>,
    /// Settings of the detector `system`.
    pub system: System,
    /// Settings of the detector `docker`.
    pub docker: Choice,
    /// Settings of the detector `lambda`.
    pub lambda: Choice,
    /// Settings of the detector `elasticbeanstalk`.
    pub elasticbeanstalk: Choice,
    /// Settings of the detector `eks`.
    pub eks: Eks,
    /// Settings of the detector `ecs`.
    pub ecs: Choice,
    /// Settings of the detector `ec2`.
    pub ec2: Ec2,
    /// Has no effect: skep does not have this detector.
    pub akamai: Ignored<Anything>,
    /// Has no effect: skep does not have this detector.
    pub aks: Ignored<Anything>,
    /// Has no effect: skep does not have this detector.
    pub alibaba_ecs: Ignored<Anything>,
    /// Has no effect: skep does not have this detector.
    pub azure: Ignored<Anything>,
    /// Has no effect: skep does not have this detector.
    pub azurecontainerapps: Ignored<Anything>,
    /// Has no effect: skep does not have this detector.
    pub consul: Ignored<Anything>,
    /// Has no effect: skep does not have this detector.
    pub digitalocean: Ignored<Anything>,
    /// Has no effect: skep does not have this detector.
    pub gcp: Ignored<Anything>,
    /// Has no effect: skep does not have this detector.
    pub heroku: Ignored<Anything>,
    /// Has no effect: skep does not have this detector.
    pub hetzner: Ignored<Anything>,
    /// Has no effect: skep does not have this detector.
    pub ibmcloud_classic: Ignored<Anything>,
    /// Has no effect: skep does not have this detector.
    pub ibmcloud_vpc: Ignored<Anything>,
    /// Has no effect: skep does not have this detector.
    pub k8s_api: Ignored<Anything>,
    /// Has no effect: skep does not have this detector.
    pub k8snode: Ignored<Anything>,
    /// Has no effect: skep does not have this detector.
    pub kubeadm: Ignored<Anything>,
    /// Has no effect: skep does not have this detector.
    pub nova: Ignored<Anything>,
    /// Has no effect: skep does not have this detector.
    pub openshift: Ignored<Openshift>,
    /// Has no effect: skep does not have this detector.
    pub oraclecloud: Ignored<Anything>,
    /// Has no effect: skep does not have this detector.
    pub scaleway: Ignored<Anything>,
    /// Has no effect: skep does not have this detector.
    pub tencent_cvm: Ignored<Anything>,
    /// Has no effect: skep does not have this detector.
    pub upcloud: Ignored<Anything>,
    /// Has no effect: skep does not have this detector.
    pub vultr: Ignored<Anything>,
    /// Has no effect: platforms are asked directly.
    pub endpoint: Ignored<Anything>,
    /// Has no effect: platforms are asked directly.
    pub proxy_url: Ignored<Secret>,
    /// Has no effect: platforms are asked directly.
    pub tls: Ignored<Anything>,
    /// Has no effect: platforms are asked directly.
    pub read_buffer_size: Ignored<Anything>,
    /// Has no effect: platforms are asked directly.
    pub write_buffer_size: Ignored<Anything>,
    /// Has no effect: platforms are asked directly.
    pub headers: Ignored<BTreeMap<String, Secret>>,
    /// Has no effect: platforms are asked directly.
    pub auth: Ignored<Anything>,
    /// Has no effect: platforms are asked directly.
    pub compression: Ignored<Anything>,
    /// Has no effect: platforms are asked directly.
    pub compression_params: Ignored<Anything>,
    /// Has no effect: platforms are asked directly.
    pub max_idle_conns: Ignored<Anything>,
    /// Has no effect: platforms are asked directly.
    pub max_idle_conns_per_host: Ignored<Anything>,
    /// Has no effect: platforms are asked directly.
    pub max_conns_per_host: Ignored<Anything>,
    /// Has no effect: platforms are asked directly.
    pub idle_conn_timeout: Ignored<Anything>,
    /// Has no effect: platforms are asked directly.
    pub disable_keep_alives: Ignored<Anything>,
    /// Has no effect: platforms are asked directly.
    pub http2_read_idle_timeout: Ignored<Anything>,
    /// Has no effect: platforms are asked directly.
    pub http2_ping_timeout: Ignored<Anything>,
    /// Has no effect: platforms are asked directly.
    pub cookies: Ignored<Anything>,
    /// Has no effect: platforms are asked directly.
    pub force_attempt_http2: Ignored<Anything>,
    /// Has no effect: platforms are asked directly.
    pub middlewares: Ignored<Anything>,
    /// Asking a detector again that fails; it is not asked again without this section.
    pub retry: Option<Retry>,
}

/// Which attributes are wanted, by name: those not named are as in the Collector.
pub type Switches = BTreeMap<String, Switch>;

/// One attribute.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Switch {
    /// Whether it is added; as in the Collector where it is not said.
    pub enabled: Option<bool>,
}

/// Settings of a detector that has no others.
#[derive(Debug, Clone, PartialEq, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Choice {
    /// Which attributes are wanted: `{name: {enabled: true}}`.
    pub resource_attributes: Switches,
}

/// The keys of `openshift`, of which the token is a secret.
#[derive(Debug, Clone, PartialEq, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Openshift {
    pub address: Anything,
    pub token: Secret,
    pub tls: Anything,
    pub resource_attributes: Anything,
}

/// `system`.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct System {
    /// Where `host.name` comes from, the first that knows it: `dns` is the name with a dot that
    /// is beside the host's in `/etc/hosts`, `os` the name that the kernel has.
    pub hostname_sources: Vec<String>,
    /// Which attributes are wanted: `{name: {enabled: true}}`.
    pub resource_attributes: Switches,
}

impl Default for System {
    fn default() -> Self {
        let hostname_sources = vec!["dns".to_owned(), "os".to_owned()];
        System { hostname_sources, resource_attributes: Switches::new() }
    }
}

/// `ec2`.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Ec2 {
    /// Regular expressions; tags of the instance whose key matches one are added as
    /// `ec2.tag.<key>`. Needs `tags_from_imds: true`.
    pub tags: Vec<String>,
    /// Read tags from the instance metadata, where the instance allows that.
    pub tags_from_imds: bool,
    /// How often each question is asked before it counts as failed.
    pub max_attempts: u32,
    /// Longest pause between two attempts.
    pub max_backoff: Interval,
    /// Has no effect: start-up does not wait for detection, and a detector that fails is logged.
    pub fail_on_missing_metadata: Fixed<false>,
    /// Which attributes are wanted: `{name: {enabled: true}}`.
    pub resource_attributes: Switches,
}

impl Default for Ec2 {
    fn default() -> Self {
        Ec2 {
            tags: Vec::new(),
            tags_from_imds: false,
            max_attempts: 3,
            max_backoff: Interval(Duration::from_secs(20)),
            fail_on_missing_metadata: Fixed,
            resource_attributes: Switches::new(),
        }
    }
}

/// `eks`.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Eks {
    /// Has no effect: skep does not use the EC2 API, which would need the name of the node.
    pub node_from_env_var: Ignored<String>,
    /// How often each question to the instance metadata is asked before it counts as failed.
    pub max_attempts: u32,
    /// Longest pause between two attempts.
    pub max_backoff: Interval,
    /// Which attributes are wanted: `{name: {enabled: true}}`.
    pub resource_attributes: Switches,
}

impl Default for Eks {
    fn default() -> Self {
        Eks {
            node_from_env_var: Ignored::default(),
            max_attempts: 3,
            max_backoff: Interval(Duration::from_secs(20)),
            resource_attributes: Switches::new(),
        }
    }
}

impl Default for Config {
    fn default() -> Self {
        Config {
            detectors: vec!["env".to_owned()],
            r#override: true,
            timeout: Interval(Duration::from_secs(5)),
            attributes: Vec::new(),
            fail_on_missing_metadata: Fixed,
            refresh_interval: Ignored::default(),
            system: System::default(),
            docker: Choice::default(),
            lambda: Choice::default(),
            elasticbeanstalk: Choice::default(),
            eks: Eks::default(),
            ecs: Choice::default(),
            ec2: Ec2::default(),
            akamai: Ignored::default(),
            aks: Ignored::default(),
            alibaba_ecs: Ignored::default(),
            azure: Ignored::default(),
            azurecontainerapps: Ignored::default(),
            consul: Ignored::default(),
            digitalocean: Ignored::default(),
            gcp: Ignored::default(),
            heroku: Ignored::default(),
            hetzner: Ignored::default(),
            ibmcloud_classic: Ignored::default(),
            ibmcloud_vpc: Ignored::default(),
            k8s_api: Ignored::default(),
            k8snode: Ignored::default(),
            kubeadm: Ignored::default(),
            nova: Ignored::default(),
            openshift: Ignored::default(),
            oraclecloud: Ignored::default(),
            scaleway: Ignored::default(),
            tencent_cvm: Ignored::default(),
            upcloud: Ignored::default(),
            vultr: Ignored::default(),
            endpoint: Ignored::default(),
            proxy_url: Ignored::default(),
            tls: Ignored::default(),
            read_buffer_size: Ignored::default(),
            write_buffer_size: Ignored::default(),
            headers: Ignored::default(),
            auth: Ignored::default(),
            compression: Ignored::default(),
            compression_params: Ignored::default(),
            max_idle_conns: Ignored::default(),
            max_idle_conns_per_host: Ignored::default(),
            max_conns_per_host: Ignored::default(),
            idle_conn_timeout: Ignored::default(),
            disable_keep_alives: Ignored::default(),
            http2_read_idle_timeout: Ignored::default(),
            http2_ping_timeout: Ignored::default(),
            cookies: Ignored::default(),
            force_attempt_http2: Ignored::default(),
            middlewares: Ignored::default(),
            retry: None,
        }
    }
}

impl Config {
    /// The switches of a detector; `env` has none.
    fn switches(&self, detector: Detector) -> Option<&Switches> {
        Some(match detector {
            Detector::Env => return None,
            Detector::System => &self.system.resource_attributes,
            Detector::Docker => &self.docker.resource_attributes,
            Detector::Lambda => &self.lambda.resource_attributes,
            Detector::ElasticBeanstalk => &self.elasticbeanstalk.resource_attributes,
            Detector::Eks => &self.eks.resource_attributes,
            Detector::Ecs => &self.ecs.resource_attributes,
            Detector::Ec2 => &self.ec2.resource_attributes,
        })
    }

    /// Whether the section of a detector says nothing that is not so without it.
    fn has_defaults(&self, detector: Detector) -> bool {
        let default = Config::default();
        match detector {
            Detector::Env => true,
            Detector::System => self.system == default.system,
            Detector::Docker => self.docker == default.docker,
            Detector::Lambda => self.lambda == default.lambda,
            Detector::ElasticBeanstalk => self.elasticbeanstalk == default.elasticbeanstalk,
            Detector::Eks => self.eks == default.eks,
            Detector::Ecs => self.ecs == default.ecs,
            Detector::Ec2 => self.ec2 == default.ec2,
        }
    }

    /// Whether an attribute is to be added where `detector` finds it.
    pub(super) fn wants(&self, detector: Detector, name: &str) -> bool {
        if !self.attributes.is_empty() && !self.attributes.iter().any(|wanted| wanted == name) {
            return false;
        }
        let switch = self.switches(detector).and_then(|switches| switches.get(name));
        switch
            .and_then(|switch| switch.enabled)
            .unwrap_or_else(|| detector.gives(name).unwrap_or(true))
    }

    /// Checks everything.
    pub(super) fn validate(&self, at: &Node, problems: &mut Problems) {
        self.validate_detectors(at, problems);
        self.validate_switches(at, problems);
        self.validate_sources(at, problems);
        self.validate_tags(at, problems);
        if let Some(retry) = &self.retry {
            retry.validate(at, problems);
        }
        if self.timeout.0.is_zero() {
            problems
                .error(at.at("timeout"), "`timeout` must be greater than zero")
                .help("remove it: 5s is the default, and data waits no longer than that");
        }
    }

    fn validate_detectors(&self, at: &Node, problems: &mut Problems) {
        if self.detectors.is_empty() {
            problems
                .error(at.at("detectors"), "`detectors` must name at least one detector")
                .help("write for instance `detectors: [env, ecs, system]`");
        }
        for (i, name) in self.detectors.iter().enumerate() {
            if Detector::named(name).is_some() {
                continue;
            }
            let place = at.at(&format!("detectors::{i}"));
            if detectors::FOREIGN.contains(&name.trim()) {
                problems
                    .warning(
                        place,
                        format!("skep does not have the detector `{name}`: it finds nothing"),
                    )
                    .help(ELSEWHERE);
                continue;
            }
            let valid = detectors::ALL.map(Detector::name);
            let near = diagnostics::closest(name, valid)
                .map(|near| format!("did you mean `{near}`? "))
                .unwrap_or_default();
            problems
                .error(place, format!("unknown detector `{name}`"))
                .help(format!("{near}there are {}; {ELSEWHERE}", valid.join(", ")));
        }
        for detector in detectors::ALL {
            let is_used = self.detectors.iter().any(|name| Detector::named(name) == Some(detector))
                || self.has_defaults(detector);
            if let (Some(node), false) = (at.get(detector.name()), is_used) {
                let name = detector.name();
                problems
                    .warning(node, format!("`{name}` has settings and is not among `detectors`"))
                    .help(format!("add `{name}` to `detectors`, or remove its settings"));
            }
        }
    }

    fn validate_switches(&self, at: &Node, problems: &mut Problems) {
        for detector in detectors::ALL {
            for name in self.switches(detector).into_iter().flat_map(BTreeMap::keys) {
                if detector.gives(name).is_some() {
                    continue;
                }
                let section = detector.name();
                let known = detector.attributes().iter().map(|(name, _)| *name);
                let help = match diagnostics::closest(name, known.clone()) {
                    Some(near) => format!("did you mean `{near}`?"),
                    None => format!("valid: {}", known.collect::<Vec<_>>().join(", ")),
                };
                problems
                    .error(
                        at.at(&format!("{section}::resource_attributes::{name}")),
                        format!("`{section}` does not detect an attribute `{name}`"),
                    )
                    .help(help);
            }
        }
    }

    fn validate_sources(&self, at: &Node, problems: &mut Problems) {
        for (i, source) in self.system.hostname_sources.iter().enumerate() {
            let node = at.at(&format!("system::hostname_sources::{i}"));
            match source.as_str() {
                "dns" | "os" => {}
                "cname" | "lookup" => {
                    problems
                        .error(
                            node,
                            format!(
                                "`{source}` asks name servers for the name of this host, which \
                                 skep does not do"
                            ),
                        )
                        .help("write `hostname_sources: [dns, os]`, or give `host.name` by `env`");
                }
                _ => {
                    problems
                        .error(node, format!("unknown source `{source}` of the host name"))
                        .help("valid: dns, os");
                }
            }
        }
        if self.system.hostname_sources.is_empty() {
            problems
                .error(at.at("system::hostname_sources"), "there is no source of the host name")
                .help("write `hostname_sources: [dns, os]`, or remove the key");
        }
    }

    fn validate_tags(&self, at: &Node, problems: &mut Problems) {
        for (i, tag) in self.ec2.tags.iter().enumerate() {
            if let Err(error) = regex::Regex::new(tag) {
                problems.error(at.at(&format!("ec2::tags::{i}")), broken(&error));
            }
        }
        if !self.ec2.tags.is_empty() && !self.ec2.tags_from_imds {
            problems
                .error(
                    at.at("ec2::tags"),
                    "tags come from the EC2 API `DescribeTags` by default, which skep does not call",
                )
                .help(
                    "add `tags_from_imds: true`, and allow tags in the metadata of the instance: \
                     `aws ec2 modify-instance-metadata-options --instance-metadata-tags enabled`",
                );
        }
    }
}
