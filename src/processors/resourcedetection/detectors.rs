//! The detectors: their names, what each can find, and which of that is on by default. Names and
//! defaults are those of the Collector; where it has more than one name for a detector, both are
//! read.

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Detector {
    Env,
    System,
    Docker,
    Lambda,
    ElasticBeanstalk,
    Eks,
    Ecs,
    Ec2,
}

pub(super) const ALL: [Detector; 8] = [
    Detector::Env,
    Detector::System,
    Detector::Docker,
    Detector::Lambda,
    Detector::ElasticBeanstalk,
    Detector::Eks,
    Detector::Ecs,
    Detector::Ec2,
];

/// The Collector's detectors that are not here.
pub(super) const FOREIGN: [&str; 23] = [
    "akamai",
    "aks",
    "alibaba_ecs",
    "azure",
    "azurecontainerapps",
    "consul",
    "digitalocean",
    "dynatrace",
    "gcp",
    "heroku",
    "hetzner",
    "ibmcloud_classic",
    "ibmcloud_vpc",
    "k8s_api",
    "k8snode",
    "kubeadm",
    "nova",
    "openshift",
    "oraclecloud",
    "scaleway",
    "tencent_cvm",
    "upcloud",
    "vultr",
];

/// An attribute that a detector may find, and whether it is added by default.
type Found = (&'static str, bool);

const SYSTEM: &[Found] = &[
    ("host.name", true),
    ("os.type", true),
    ("host.arch", false),
    ("host.id", false),
    ("host.interface", false),
    ("host.ip", false),
    ("host.mac", false),
    ("host.cpu.vendor.id", false),
    ("host.cpu.family", false),
    ("host.cpu.model.id", false),
    ("host.cpu.model.name", false),
    ("host.cpu.stepping", false),
    ("host.cpu.cache.l2.size", false),
    ("os.build.id", false),
    ("os.description", false),
    ("os.name", false),
    ("os.version", false),
];

const DOCKER: &[Found] = &[
    ("host.name", true),
    ("os.type", true),
    ("container.name", false),
    ("container.image.id", false),
    ("container.image.name", false),
    ("container.image.tags", false),
];

const LAMBDA: &[Found] = &[
    ("cloud.provider", true),
    ("cloud.platform", true),
    ("cloud.region", true),
    ("faas.name", true),
    ("faas.version", true),
    ("faas.instance", true),
    ("faas.max_memory", true),
    ("aws.log.group.names", true),
    ("aws.log.stream.names", true),
];

const ELASTIC_BEANSTALK: &[Found] = &[
    ("cloud.provider", true),
    ("cloud.platform", true),
    ("deployment.environment", true),
    ("service.instance.id", true),
    ("service.version", true),
];

const EKS: &[Found] = &[
    ("cloud.provider", true),
    ("cloud.platform", true),
    ("cloud.account.id", false),
    ("cloud.availability_zone", false),
    ("cloud.region", false),
    ("host.id", false),
    ("host.image.id", false),
    ("host.name", false),
    ("host.type", false),
    ("k8s.cluster.name", false),
];

/// The container is off by default, and not in the Collector's list: it is skep's own, and skep is
/// a sidecar of those whose data it carries.
const ECS: &[Found] = &[
    ("cloud.provider", true),
    ("cloud.platform", true),
    ("cloud.account.id", true),
    ("cloud.region", true),
    ("cloud.availability_zone", true),
    ("aws.ecs.cluster.arn", true),
    ("aws.ecs.launchtype", true),
    ("aws.ecs.task.arn", true),
    ("aws.ecs.task.family", true),
    ("aws.ecs.task.id", true),
    ("aws.ecs.task.revision", true),
    ("aws.log.group.names", true),
    ("aws.log.group.arns", true),
    ("aws.log.stream.names", true),
    ("aws.log.stream.arns", true),
    ("aws.ecs.container.arn", false),
    ("container.id", false),
    ("container.image.name", false),
    ("container.name", false),
];

const EC2: &[Found] = &[
    ("cloud.provider", true),
    ("cloud.platform", true),
    ("cloud.account.id", true),
    ("cloud.availability_zone", true),
    ("cloud.region", true),
    ("host.id", true),
    ("host.image.id", true),
    ("host.name", true),
    ("host.type", true),
];

impl Detector {
    /// The detector of a name in the configuration.
    pub(super) fn named(name: &str) -> Option<Detector> {
        let name = name.trim();
        let name = if name == "elastic_beanstalk" { "elasticbeanstalk" } else { name };
        ALL.into_iter().find(|detector| detector.name() == name)
    }

    /// Its name in the configuration, which is also that of its settings.
    pub(super) fn name(self) -> &'static str {
        match self {
            Detector::Env => "env",
            Detector::System => "system",
            Detector::Docker => "docker",
            Detector::Lambda => "lambda",
            Detector::ElasticBeanstalk => "elasticbeanstalk",
            Detector::Eks => "eks",
            Detector::Ecs => "ecs",
            Detector::Ec2 => "ec2",
        }
    }

    /// The attributes that it may find.
    pub(super) fn attributes(self) -> &'static [Found] {
        match self {
            Detector::Env => &[],
            Detector::System => SYSTEM,
            Detector::Docker => DOCKER,
            Detector::Lambda => LAMBDA,
            Detector::ElasticBeanstalk => ELASTIC_BEANSTALK,
            Detector::Eks => EKS,
            Detector::Ecs => ECS,
            Detector::Ec2 => EC2,
        }
    }

    /// Whether an attribute is added by default; `None` if the detector cannot find it.
    pub(super) fn gives(self, name: &str) -> Option<bool> {
        self.attributes().iter().find(|(known, _)| *known == name).map(|(_, is_on)| *is_on)
    }
}
