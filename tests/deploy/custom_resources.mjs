// Checks resources of the Prometheus Operator and KEDA against their schemas, from npm packages.
//   node custom_resources.mjs FOLDER < RESOURCES.json
// FOLDER holds node_modules. Prints what is wrong, a line each, and ends with status 1 if anything is.
import { readFileSync } from "node:fs";
import { resolve } from "node:path";
import { pathToFileURL } from "node:url";

const models = resolve(process.argv[2], "node_modules", "@kubernetes-models");
const load = (path) => import(pathToFileURL(resolve(models, path)).href);
const kinds = {
  ...(await load("prometheus-operator/monitoring.coreos.com/v1/index.js")),
  ...(await load("keda/keda.sh/v1alpha1/index.js")),
};

let wrong = 0;
for (const resource of JSON.parse(readFileSync(0, "utf8"))) {
  try {
    new kinds[resource.kind](resource).validate();
  } catch (error) {
    wrong += 1;
    console.log(`${resource.kind} ${resource.metadata.name}: ${error.message}`);
  }
}
process.exit(wrong ? 1 : 0);
