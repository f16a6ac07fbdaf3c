// Checks templates with cdk-nag's HIPAA pack. Prints one line of JSON for each finding, except those that the template
// explains in its Metadata. Arguments: the templates.
const path = require("path");
const { App, Aspects, Stack } = require("aws-cdk-lib");
const { CfnInclude } = require("aws-cdk-lib/cloudformation-include");
const { HIPAASecurityChecks } = require("cdk-nag");

const app = new App({ analyticsReporting: false });
process.argv.slice(2).forEach((file, index) => {
  // Each template becomes one stack. The stack has a number as its name, because a file's name may contain characters
  // that the name of a stack cannot.
  new CfnInclude(new Stack(app, `t${index}`), "T", { templateFile: file });
});
Aspects.of(app).add(new HIPAASecurityChecks({ reports: false }));
const names = process.argv.slice(2);
for (const stack of app.synth().stacks) {
  for (const { id, entry, level } of stack.messages) {
    if (level !== "error" && level !== "warning") continue;
    const [, rule, text] = /^(\S+?):? (.*)/s.exec(String(entry.data));
    const file = names[Number(stack.stackName.slice(1))];
    console.log(JSON.stringify({ file: path.basename(file), resource: id.split("/").slice(3).join("/"), rule, text: text.split("\n")[0] }));
  }
}
console.log("checked");
