// Calls of CloudWatch Logs by the AWS SDK for JavaScript; endpoint and credentials are in the environment.
import {
  CloudWatchLogsClient,
  CreateLogGroupCommand,
  CreateLogStreamCommand,
  DescribeLogStreamsCommand,
  PutLogEventsCommand,
} from "@aws-sdk/client-cloudwatch-logs";

const client = new CloudWatchLogsClient({});
const names = { logGroupName: "/app/node", logStreamName: "n" };
await client.send(new CreateLogGroupCommand({ logGroupName: names.logGroupName }));
await client.send(new CreateLogStreamCommand(names));
try {
  await client.send(new CreateLogStreamCommand(names));
  throw new Error("the stream was made twice");
} catch (error) {
  if (error.name !== "ResourceAlreadyExistsException") throw error;
}
const logEvents = [];
for (let number = 0; number < 1000; number++) {
  const message = JSON.stringify({ level: 50, msg: `failed ${number}`, text: "\u00e9\u{1f600}" });
  logEvents.push({ timestamp: Date.now(), message });
}
const put = await client.send(new PutLogEventsCommand({ ...names, logEvents }));
if (put.rejectedLogEventsInfo) throw new Error("events were refused");
const { logStreams } = await client.send(new DescribeLogStreamsCommand({ logGroupName: names.logGroupName }));
if (logStreams[0].logStreamName !== "n" || !logStreams[0].lastEventTimestamp) throw new Error("no such stream");
