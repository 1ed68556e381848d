// rollbar.js in Node.js, and its build for browsers with a window that has what it asks for.
const Rollbar = require('rollbar');

const rollbar = new Rollbar({
  accessToken: 'fedcba9876543210fedcba9876543210',
  environment: 'production',
  codeVersion: '1.2.3',
  endpoint: process.argv[2],
  captureUncaught: false,
});

function fail() {
  throw new Error('inner');
}

try {
  fail();
} catch (error) {
  const request = { url: '/a?b=1', method: 'GET', headers: { host: 'x.test', 'user-agent': 'UA' } };
  rollbar.error(new TypeError('outer', { cause: error }), request, { order: 1 });
}
rollbar.warning('hello', { extra: { a: 1 } });
rollbar.wait(() => process.exit(0));
