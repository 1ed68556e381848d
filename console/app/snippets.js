// Lines to copy into a shell, so that an application sends to this skep. Pure.

/**
 * The address of a port as an application on this machine writes it.
 * @param {string} address
 */
export function local(address) {
  const at = address.lastIndexOf(":");
  const host = address.slice(0, at);
  return ["0.0.0.0", "[::]", "127.0.0.1", "[::1]"].includes(host) ? `localhost:${address.slice(at + 1)}` : address;
}

/**
 * The variables for the best OTLP port, or undefined if there is none.
 * @param {{component: string, protocol: string, address: string, tls: boolean}[]} ports
 */
export function target(ports) {
  const isOtlp = (port) => port.component.split("/")[0] === "otlp" && !port.address.startsWith("/");
  const found = ports.find((port) => isOtlp(port) && port.protocol === "http") ?? ports.find((port) => isOtlp(port) && port.protocol === "grpc");
  if (!found) return undefined;
  const url = `${found.tls ? "https" : "http"}://${local(found.address)}`;
  return { url, isHttp: found.protocol === "http", protocol: found.protocol === "http" ? "http/protobuf" : "grpc" };
}

/** @param {{url: string, protocol: string}} target @param {string} service */
function variables({ url, protocol }, service) {
  return [`export OTEL_EXPORTER_OTLP_ENDPOINT=${url}`, `export OTEL_EXPORTER_OTLP_PROTOCOL=${protocol}`, `export OTEL_SERVICE_NAME=${service}`];
}

/**
 * What to write for each language.
 * @param {{url: string, isHttp: boolean, protocol: string}} target
 * @returns {{id: string, name: string, lines: string[]}[]}
 */
export function languages(target) {
  const env = variables(target, "my-service");
  const kind = target.isHttp ? "otlptracehttp" : "otlptracegrpc";
  return [
    {
      id: "python",
      name: "Python",
      lines: ["pip install opentelemetry-distro opentelemetry-exporter-otlp", "opentelemetry-bootstrap -a install", ...env, "opentelemetry-instrument python app.py"],
    },
    {
      id: "node",
      name: "Node.js",
      lines: [
        "npm install @opentelemetry/api @opentelemetry/auto-instrumentations-node",
        ...env,
        'export NODE_OPTIONS="--require @opentelemetry/auto-instrumentations-node/register"',
        "node app.js",
      ],
    },
    { id: "java", name: "Java", lines: ["# opentelemetry-javaagent.jar is on the releases page of opentelemetry-java-instrumentation", ...env, "java -javaagent:opentelemetry-javaagent.jar -jar app.jar"] },
    {
      id: "go",
      name: "Go",
      lines: [
        `go get go.opentelemetry.io/otel/sdk go.opentelemetry.io/otel/exporters/otlp/otlptrace/${kind}`,
        ...env,
        `# exporter, err := ${kind}.New(ctx)   reads these variables`,
        "go run .",
      ],
    },
    {
      id: "dotnet",
      name: ".NET",
      lines: [
        "dotnet add package OpenTelemetry.Extensions.Hosting",
        "dotnet add package OpenTelemetry.Exporter.OpenTelemetryProtocol",
        ...env,
        "# builder.Services.AddOpenTelemetry().UseOtlpExporter();   reads these variables",
        "dotnet run",
      ],
    },
    {
      id: "ruby",
      name: "Ruby",
      lines: [
        "bundle add opentelemetry-sdk opentelemetry-exporter-otlp opentelemetry-instrumentation-all",
        ...env,
        "# OpenTelemetry::SDK.configure { |c| c.use_all }   reads these variables",
        "bundle exec ruby app.rb",
      ],
    },
  ];
}

/** One span without any SDK; undefined where only gRPC is there. @param {{url: string, isHttp: boolean}} target */
export function span({ url, isHttp }) {
  if (!isHttp) return undefined;
  return [
    `curl ${url}/v1/traces -H 'content-type: application/json' \\`,
    `  -d '{"resourceSpans":[{"scopeSpans":[{"spans":[{"name":"hello"}]}]}]}'`,
  ];
}
