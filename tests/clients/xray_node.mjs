// The stock AWS X-Ray SDK for Node.js: rules from the daemon's address, a segment with a subsegment.
//
//   node xray_node.mjs HOST:PORT
import { createRequire } from 'node:module';

const require = createRequire(`${process.cwd()}/`);
const AWSXRay = require('aws-xray-sdk-core');

AWSXRay.setDaemonAddress(process.argv[2]);
AWSXRay.enableManualMode();
AWSXRay.setContextMissingStrategy('RUNTIME_ERROR');

const sampler = AWSXRay.middleware.sampler;
const decide = (path) =>
  sampler.shouldSample({ host: 'shop.test', httpMethod: 'GET', urlPath: path, serviceName: 'node' });
const deadline = Date.now() + 40000;
let rule = decide('/node/x');
while (typeof rule !== 'string') {
  if (Date.now() > deadline) throw new Error('no rules came');
  await new Promise((resolve) => setTimeout(resolve, 100));
  rule = decide('/node/x');
}
console.log('rule', rule);

const segment = new AWSXRay.Segment('node app');
segment.addAnnotation('user', 'andrew');
segment.addMetadata('cart', { items: [1, 2] }, 'shop');
const child = segment.addNewSubsegment('db');
child.namespace = 'remote';
child.addError(new Error('no rows'));
child.close();
segment.close();
console.log('trace', segment.trace_id);
console.log('root', segment.id);
console.log('child', child.id);
// The pollers of rules never end, and datagrams are sent beside.
setTimeout(() => process.exit(0), 500);
