//! Component types that the Collector has and skep does not, and what to use instead.
//!
//! The names are those of `opentelemetry-collector-contrib` and its retired components. They are
//! written without underscores, because many were renamed (`filelog` is now `file_log`) and both
//! names are in use.

use crate::component::Kind;

/// Types by kind, with what skep offers instead.
const INSTEAD: &[(Kind, &str, &str)] = &[
    (Kind::Receiver, "jaeger", OTLP_IN),
    (Kind::Receiver, "zipkin", OTLP_IN),
    (Kind::Receiver, "opencensus", OTLP_IN),
    (Kind::Receiver, "skywalking", OTLP_IN),
    (Kind::Receiver, "libhoney", OTLP_IN),
    (Kind::Receiver, "otelarrow", OTLP_IN),
    (
        Kind::Receiver,
        "prometheus",
        "let the application send its metrics by OTLP, or let a Collector beside skep scrape and \
         send OTLP to skep",
    ),
    (
        Kind::Receiver,
        "statsd",
        "let the application send its metrics by OTLP, or let a Collector beside skep take statsd \
         and send OTLP to skep",
    ),
    (Kind::Receiver, "filelog", FILES_IN),
    (Kind::Receiver, "syslog", FILES_IN),
    (Kind::Receiver, "hostmetrics", COLLECTOR_IN),
    (Kind::Receiver, "kafka", COLLECTOR_IN),
    (
        Kind::Processor,
        "k8sattributes",
        "put the pod's names into OTEL_RESOURCE_ATTRIBUTES with the downward API, so that the \
         application sends them itself",
    ),
    (Kind::Processor, "logstransform", "`transform` with `log_statements`"),
    (Kind::Processor, "groupbytrace", "remove it: `tail_sampling` groups spans by trace itself"),
    (Kind::Processor, "routing", "the connector `routing`"),
    (Kind::Processor, "servicegraph", "the connector `servicegraph`"),
    (Kind::Processor, "spanmetrics", "the connector `span_metrics`"),
    (
        Kind::Processor,
        "queuedretry",
        "remove it: each exporter has `sending_queue` and `retry_on_failure`",
    ),
    (Kind::Exporter, "jaeger", "`otlp_grpc` with Jaeger's port 4317"),
    (Kind::Exporter, "jaegerthrift", "`otlp_http` with Jaeger's port 4318"),
    (Kind::Exporter, "loki", "`otlp_http` with `logs_endpoint: http://loki:3100/otlp/v1/logs`"),
    (
        Kind::Exporter,
        "prometheusremotewrite",
        "`otlp_http`: Prometheus takes OTLP at `/api/v1/otlp/v1/metrics`, Mimir at `/otlp/v1/metrics`",
    ),
    (
        Kind::Exporter,
        "prometheus",
        "`otlp_http`: Prometheus takes OTLP at `/api/v1/otlp/v1/metrics`",
    ),
    (Kind::Exporter, "opencensus", OTLP_OUT),
    (Kind::Exporter, "newrelic", OTLP_OUT),
    (Kind::Exporter, "dynatrace", OTLP_OUT),
    (Kind::Exporter, "lightstep", OTLP_OUT),
    (Kind::Exporter, "otelarrow", OTLP_OUT),
    (Kind::Exporter, "signalfx", OTLP_OUT),
    (Kind::Exporter, "sapm", OTLP_OUT),
    (Kind::Exporter, "coralogix", OTLP_OUT),
    (Kind::Exporter, "awss3", "`file` writes OTLP to disk"),
    (Kind::Exporter, "datadog", "`otlp_grpc` to a Datadog Agent that takes OTLP (port 4317)"),
    (Kind::Exporter, "elasticsearch", "`otlp_grpc` or `otlp_http` to Elastic's APM Server"),
    (Kind::Exporter, "kafka", COLLECTOR_OUT),
    (
        Kind::Exporter,
        "loadbalancing",
        "let skep send OTLP to a Collector that has it; one skep alone samples whole traces without it",
    ),
    (
        Kind::Connector,
        "failover",
        "send to one exporter: it keeps what it cannot send in `sending_queue`, on disk with `storage`, \
         and tries again",
    ),
    (
        Kind::Extension,
        "headerssetter",
        "`headers` of the exporter, if their values do not depend on the request",
    ),
    (
        Kind::Extension,
        "oauth2client",
        "`bearertokenauth` with a `filename` in which another program renews the token",
    ),
    (
        Kind::Extension,
        "opamp",
        "remove it: `skep reload` reads a new configuration, and the health probe says how skep is",
    ),
    (
        Kind::Extension,
        "memoryballast",
        "remove it: skep has no garbage collector; `memory_limiter` limits its memory",
    ),
];

const OTLP_IN: &str = "let the application send OTLP to the receiver `otlp`";
const FILES_IN: &str = "let the application send its logs by OTLP, or let a Collector or Fluent \
                        Bit beside skep read them and send OTLP to skep";
const COLLECTOR_IN: &str = "let a Collector beside skep receive it and send OTLP to skep";
const COLLECTOR_OUT: &str = "let skep send OTLP to a Collector that has it";
const OTLP_OUT: &str = "`otlp_grpc` or `otlp_http`, if the backend takes OTLP";

/// The other types of the Collector, by kind.
const OTHERS: &[(Kind, &str)] = &[
    (
        Kind::Receiver,
        "activedirectoryds aerospike apache apachespark awscloudwatch awscontainerinsightreceiver \
         awsecscontainermetrics awsfirehose awss3 azureblob azureeventhub azuremonitor bigip \
         carbon chrony ciscoos cloudflare cloudfoundry collectd couchdb datadog dockerstats \
         elasticsearch envoyals expvar faro filestats flinkmetrics fluentforward github \
         gitlab googlecloudmonitoring googlecloudpubsub googlecloudspanner haproxy \
         httpcheck icmpcheck iis influxdb jmx journald k8scluster k8sevents k8sobjects \
         kafkametrics kubeletstats loki macosunifiedlogging memcached mongodb mongodbatlas mysql \
         namedpipe netflow nginx nsxt ntp oracledb osquery otlpjsonfile podmanstats postgresql \
         pprof prometheusremotewrite prometheussimple pulsar purefa purefb rabbitmq \
         receivercreator redis redfish riak saphana signalfx snmp snowflake solace \
         splunkenterprise splunkhec sqlquery sqlserver sshcheck stef systemd \
         tcpcheck tcplog tlscheck udplog vcenter vcrwindows wavefront webhookevent \
         windowseventlog windowsperfcounters windowsservice yanggrpc zookeeper",
    ),
    (
        Kind::Processor,
        "coralogix datadog datadogsemantics deltatorate dnslookup drain \
         experimentalmetricsgeneration metricsgeneration geoip interval \
         isolationforest lookup metricstarttime remotetap \
         schema spanpruning starttimemetric sumologic unroll",
    ),
    (
        Kind::Exporter,
        "alertmanager alibabacloudlogservice awskinesis azureblob azuredataexplorer azuremonitor \
         bmchelix carbon cassandra clickhouse dataset doris faro googlecloud \
         googlecloudpubsub googlecloudstorage googlemanagedprometheus honeycombmarker influxdb \
         instana kinetica logicmonitor logzio mezmo opensearch parquet pulsar \
         rabbitmq sematext sentry skywalking splunkhec stackdriver stef sumologic syslog \
         tanzuobservability tencentcloudlogservice tinybird zipkin",
    ),
    (
        Kind::Connector,
        "datadog grafanacloud metricsaslogs otlpjson roundrobin signaltometrics slowsql",
    ),
    (
        Kind::Extension,
        "ack asapclient avrologencoding awscloudwatchmetricstreamsencoding awslogsencoding awsproxy \
         azureauth azureencoding basicauthenticator cfgardenobserver cgroupruntime datadog \
         dbstorage dockerobserver ecsobserver ecstaskobserver fluentbit googleclientauth \
         googlecloudlogentryencoding hostobserver httpforwarder jaegerencoding \
         jaegerremotesampling jsonlogencoding k8sleaderelector k8sobserver kafkatopicsobserver \
         otlpencoding redisstorage remotetap skywalkingencoding \
         solarwindsapmsettings sumologic textencoding zipkinencoding",
    ),
];

/// What is known of a type that skep does not have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Elsewhere {
    /// The Collector does not have it either.
    Nowhere,
    /// The Collector has it, and skep has nothing in its place.
    Collector,
    /// The Collector has it, and skep has something else.
    Instead(&'static str),
}

/// What to do about a component of the Collector that skep has nothing in place of.
pub(super) const fn remedy(kind: Kind) -> &'static str {
    match kind {
        Kind::Receiver => COLLECTOR_IN,
        Kind::Exporter => COLLECTOR_OUT,
        Kind::Processor | Kind::Connector => {
            "remove it, or run it in a Collector before or behind skep, connected by OTLP"
        }
        Kind::Extension => "remove it, also from `service: extensions:`",
    }
}

/// Looks up a type.
pub(super) fn find(kind: Kind, name: &str) -> Elsewhere {
    let plain = name.replace('_', "");
    let found = INSTEAD.iter().find(|(of, known, _)| *of == kind && *known == plain);
    if let Some((.., instead)) = found {
        return Elsewhere::Instead(instead);
    }
    let mut others = OTHERS.iter().filter(|(of, _)| *of == kind);
    let is_known = others.any(|(_, names)| names.split_whitespace().any(|known| known == plain));
    if is_known { Elsewhere::Collector } else { Elsewhere::Nowhere }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{connectors, exporters, extensions, processors, receivers};

    #[test]
    fn old_and_new_names_are_known() {
        assert_eq!(find(Kind::Receiver, "filestats"), Elsewhere::Collector);
        assert_eq!(find(Kind::Receiver, "file_stats"), Elsewhere::Collector);
        assert!(matches!(find(Kind::Receiver, "filelog"), Elsewhere::Instead(_)));
        assert!(matches!(find(Kind::Extension, "headers_setter"), Elsewhere::Instead(_)));
        assert!(matches!(find(Kind::Processor, "k8s_attributes"), Elsewhere::Instead(_)));
        assert_eq!(find(Kind::Processor, "filelog"), Elsewhere::Nowhere, "another kind");
        assert_eq!(find(Kind::Exporter, "honeycom"), Elsewhere::Nowhere);
    }

    /// A type that skep learns must leave this table.
    #[test]
    fn nothing_that_skep_has_is_in_the_tables() {
        let all = receivers::ALL.iter().map(|entry| (Kind::Receiver, entry.name, entry.aliases));
        let all = all
            .chain(processors::ALL.iter().map(|entry| (Kind::Processor, entry.name, entry.aliases)))
            .chain(exporters::ALL.iter().map(|entry| (Kind::Exporter, entry.name, entry.aliases)))
            .chain(connectors::ALL.iter().map(|entry| (Kind::Connector, entry.name, entry.aliases)))
            .chain(
                extensions::ALL.iter().map(|entry| (Kind::Extension, entry.name, entry.aliases)),
            );
        for (kind, name, aliases) in all {
            for name in [&[name], aliases].concat() {
                assert_eq!(find(kind, name), Elsewhere::Nowhere, "{} {name}", kind.name());
            }
        }
    }

    #[test]
    fn each_name_stands_once() {
        for (kind, names) in OTHERS {
            let mut all: Vec<&str> = names.split_whitespace().collect();
            let own = INSTEAD.iter().filter(|(of, ..)| of == kind);
            all.extend(own.map(|(_, name, _)| name));
            all.sort_unstable();
            let count = all.len();
            all.dedup();
            assert_eq!(all.len(), count, "{}", kind.name());
        }
    }
}
