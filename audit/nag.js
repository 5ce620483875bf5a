// Runs every pack of cdk-nag on each template named; prints one JSON object a finding: file, rule, resource.
const path = require('path');
const { App, Stack } = require('aws-cdk-lib');
const { CfnInclude } = require('aws-cdk-lib/cloudformation-include');
const nag = require('cdk-nag');

const PACKS = [
  nag.AwsSolutionsChecks,
  nag.HIPAASecurityChecks,
  nag.NIST80053R4Checks,
  nag.NIST80053R5Checks,
  nag.PCIDSS321Checks,
  nag.ServerlessChecks,
];

for (const templateFile of process.argv.slice(2)) {
  const app = new App();
  const stack = new Stack(app, 'Stack');
  new CfnInclude(stack, 'Template', { templateFile });
  for (const Pack of PACKS) {
    for (const violation of new Pack(app).validateScope(stack).violations) {
      for (const { constructPath } of violation.violatingResources) {
        const resource = constructPath.split('/').pop();
        const rule = violation.ruleName.split('[')[0];
        console.log(JSON.stringify({ file: path.basename(templateFile), rule, resource }));
      }
    }
  }
}
