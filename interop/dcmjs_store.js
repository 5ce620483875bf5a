// Send every file of a plan with dcmjs-dimse, an association each; what it cannot read is passed over.
const fs = require('fs');
// It takes half a minute over some RLE files of two kilobytes: hence the patience below.
const { Client, log, requests } = require('dcmjs-dimse');

log.level = 'error';
const plan = JSON.parse(fs.readFileSync(process.argv[2], 'utf8'));
const options = plan.tls
  ? {
      securityOptions: {
        key: fs.readFileSync(plan.tls.key),
        cert: fs.readFileSync(plan.tls.cert),
        ca: fs.readFileSync(plan.tls.ca),
        rejectUnauthorized: true,
      },
    }
  : {};

function store(path) {
  return new Promise((resolve) => {
    const client = new Client();
    for (const end of ['closed', 'networkError', 'associationRejected']) {
      client.on(end, () => resolve());
    }
    client.addRequest(new requests.CStoreRequest(path));
    // Not "127.0.0.1": Node checks the certificate's name, which is localhost.
    client.send('localhost', plan.port, plan.calling, plan.called, options);
  });
}

process.on('uncaughtException', () => {});

(async () => {
  for (const path of plan.files) {
    try {
      await Promise.race([store(path), new Promise((resolve) => setTimeout(resolve, 90000))]);
    } catch {
      continue;
    }
  }
  process.exit(0);
})();
