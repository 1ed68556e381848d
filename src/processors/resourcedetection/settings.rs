//! What can be configured, with the Collector's keys and defaults.

use std::{borrow::Cow, collections::BTreeMap, time::Duration};

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Deserializer, Serialize, de::IgnoredAny};

use super::{
    super::editing::action::broken,
    detectors::{self, Detector},
    retry::Retry,
};
use crate::config::{Ignored, Interval, Node, Problems, Secret, diagnostics};

/// What to do about a platform that no detector is for.
const ELSEWHERE: &str =
    "give attributes of other platforms in OTEL_RESOURCE_ATTRIBUTES and detect `env`";

/// Keys of the Collector's HTTP client.
const WITHOUT_EFFECT: [&str; 19] = [
    "endpoint",
    "proxy_url",
    "tls",
    "read_buffer_size",
    "write_buffer_size",
    "headers",
    "auth",
    "compression",
    "compression_params",
    "max_idle_conns",
    "max_idle_conns_per_host",
    "max_conns_per_host",
    "idle_conn_timeout",
    "disable_keep_alives",
    "http2_read_idle_timeout",
    "http2_ping_timeout",
    "cookies",
    "force_attempt_http2",
    "middlewares",
];

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
    /// The Collector's refusal to start where a platform does not answer; has no effect: start-up
    /// does not wait.
    pub fail_on_missing_metadata: Ignored<bool>,
    /// The Collector's repeated detection; has no effect: detection runs once.
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
    /// Settings of a detector that skep does not have.
    pub akamai: Untaken,
    /// Settings of a detector that skep does not have.
    pub aks: Untaken,
    /// Settings of a detector that skep does not have.
    pub alibaba_ecs: Untaken,
    /// Settings of a detector that skep does not have.
    pub azure: Untaken,
    /// Settings of a detector that skep does not have.
    pub azurecontainerapps: Untaken,
    /// Settings of a detector that skep does not have.
    pub consul: Untaken,
    /// Settings of a detector that skep does not have.
    pub digitalocean: Untaken,
    /// Settings of a detector that skep does not have.
    pub gcp: Untaken,
    /// Settings of a detector that skep does not have.
    pub heroku: Untaken,
    /// Settings of a detector that skep does not have.
    pub hetzner: Untaken,
    /// Settings of a detector that skep does not have.
    pub ibmcloud_classic: Untaken,
    /// Settings of a detector that skep does not have.
    pub ibmcloud_vpc: Untaken,
    /// Settings of a detector that skep does not have.
    pub k8s_api: Untaken,
    /// Settings of a detector that skep does not have.
    pub k8snode: Untaken,
    /// Settings of a detector that skep does not have.
    pub kubeadm: Untaken,
    /// Settings of a detector that skep does not have.
    pub nova: Untaken,
    /// Settings of a detector that skep does not have.
    #[schemars(extend("deprecated" = true))]
    pub openshift: Openshift,
    /// Settings of a detector that skep does not have.
    pub oraclecloud: Untaken,
    /// Settings of a detector that skep does not have.
    pub scaleway: Untaken,
    /// Settings of a detector that skep does not have.
    pub tencent_cvm: Untaken,
    /// Settings of a detector that skep does not have.
    pub upcloud: Untaken,
    /// Settings of a detector that skep does not have.
    pub vultr: Untaken,
    /// A key of the Collector's HTTP client; has no effect.
    pub endpoint: Untaken,
    /// A key of the Collector's HTTP client; has no effect.
    #[schemars(extend("deprecated" = true))]
    pub proxy_url: Secret,
    /// A key of the Collector's HTTP client; has no effect.
    pub tls: Untaken,
    /// A key of the Collector's HTTP client; has no effect.
    pub read_buffer_size: Untaken,
    /// A key of the Collector's HTTP client; has no effect.
    pub write_buffer_size: Untaken,
    /// A key of the Collector's HTTP client; has no effect.
    #[schemars(extend("deprecated" = true))]
    pub headers: BTreeMap<String, Secret>,
    /// A key of the Collector's HTTP client; has no effect.
    pub auth: Untaken,
    /// A key of the Collector's HTTP client; has no effect.
    pub compression: Untaken,
    /// A key of the Collector's HTTP client; has no effect.
    pub compression_params: Untaken,
    /// A key of the Collector's HTTP client; has no effect.
    pub max_idle_conns: Untaken,
    /// A key of the Collector's HTTP client; has no effect.
    pub max_idle_conns_per_host: Untaken,
    /// A key of the Collector's HTTP client; has no effect.
    pub max_conns_per_host: Untaken,
    /// A key of the Collector's HTTP client; has no effect.
    pub idle_conn_timeout: Untaken,
    /// A key of the Collector's HTTP client; has no effect.
    pub disable_keep_alives: Untaken,
    /// A key of the Collector's HTTP client; has no effect.
    pub http2_read_idle_timeout: Untaken,
    /// A key of the Collector's HTTP client; has no effect.
    pub http2_ping_timeout: Untaken,
    /// A key of the Collector's HTTP client; has no effect.
    pub cookies: Untaken,
    /// A key of the Collector's HTTP client; has no effect.
    pub force_attempt_http2: Untaken,
    /// A key of the Collector's HTTP client; has no effect.
    pub middlewares: Untaken,
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

/// A key of the Collector that skep takes and does not look at. The reference does not list it.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Untaken(Option<IgnoredAny>);

impl<'de> Deserialize<'de> for Untaken {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        IgnoredAny::deserialize(deserializer).map(|any| Untaken(Some(any)))
    }
}

impl JsonSchema for Untaken {
    fn schema_name() -> Cow<'static, str> {
        "anything".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        schemars::json_schema!({ "deprecated": true })
    }
}

/// `openshift`, of which the token is a secret.
#[derive(Debug, Clone, PartialEq, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Openshift {
    /// Has no effect.
    pub address: Untaken,
    /// Has no effect.
    pub token: Secret,
    /// Has no effect.
    pub tls: Untaken,
    /// Has no effect.
    pub resource_attributes: Untaken,
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
    /// Has no effect: start-up does not wait.
    pub fail_on_missing_metadata: Ignored<bool>,
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
            fail_on_missing_metadata: Ignored::default(),
            resource_attributes: Switches::new(),
        }
    }
}

/// `eks`.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Eks {
    /// Variable with the name of the node. Has no effect: skep does not use the EC2 API.
    pub node_from_env_var: String,
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
            node_from_env_var: "K8S_NODE_NAME".to_owned(),
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
            fail_on_missing_metadata: Ignored::default(),
            refresh_interval: Ignored::default(),
            system: System::default(),
            docker: Choice::default(),
            lambda: Choice::default(),
            elasticbeanstalk: Choice::default(),
            eks: Eks::default(),
            ecs: Choice::default(),
            ec2: Ec2::default(),
            akamai: Untaken::default(),
            aks: Untaken::default(),
            alibaba_ecs: Untaken::default(),
            azure: Untaken::default(),
            azurecontainerapps: Untaken::default(),
            consul: Untaken::default(),
            digitalocean: Untaken::default(),
            gcp: Untaken::default(),
            heroku: Untaken::default(),
            hetzner: Untaken::default(),
            ibmcloud_classic: Untaken::default(),
            ibmcloud_vpc: Untaken::default(),
            k8s_api: Untaken::default(),
            k8snode: Untaken::default(),
            kubeadm: Untaken::default(),
            nova: Untaken::default(),
            openshift: Openshift::default(),
            oraclecloud: Untaken::default(),
            scaleway: Untaken::default(),
            tencent_cvm: Untaken::default(),
            upcloud: Untaken::default(),
            vultr: Untaken::default(),
            endpoint: Untaken::default(),
            proxy_url: Secret::default(),
            tls: Untaken::default(),
            read_buffer_size: Untaken::default(),
            write_buffer_size: Untaken::default(),
            headers: BTreeMap::new(),
            auth: Untaken::default(),
            compression: Untaken::default(),
            compression_params: Untaken::default(),
            max_idle_conns: Untaken::default(),
            max_idle_conns_per_host: Untaken::default(),
            max_conns_per_host: Untaken::default(),
            idle_conn_timeout: Untaken::default(),
            disable_keep_alives: Untaken::default(),
            http2_read_idle_timeout: Untaken::default(),
            http2_ping_timeout: Untaken::default(),
            cookies: Untaken::default(),
            force_attempt_http2: Untaken::default(),
            middlewares: Untaken::default(),
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
        let waits = "start-up does not wait for detection, and a detector that fails is logged";
        self.fail_on_missing_metadata.warn("fail_on_missing_metadata", waits, at, problems);
        let ec2 = at.at("ec2");
        self.ec2.fail_on_missing_metadata.warn("fail_on_missing_metadata", waits, ec2, problems);
        let once = "detection runs once, when skep starts";
        self.refresh_interval.warn("refresh_interval", once, at, problems);
        for key in WITHOUT_EFFECT {
            if at.get(key).is_some() {
                let message = format!("`{key}` has no effect: the platform is asked directly");
                problems.warning(at.at(key), message).help("remove the key");
            }
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
        if self.eks.node_from_env_var != Eks::default().node_from_env_var {
            let message = "`node_from_env_var` has no effect: skep does not use the EC2 API";
            problems.warning(at.at("eks::node_from_env_var"), message).help("remove the key");
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
