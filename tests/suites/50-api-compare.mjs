// The same requests to Debian's janus and to the server under test get the same answers, or a row says why not.

import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { after, before, describe, test } from 'node:test';
import { Explanations, differences, readDifferences } from '../api-compare/compare.mjs';
import { overHttp, overWs } from '../api-compare/exchange.mjs';
import { requests } from '../api-compare/requests.mjs';
import { outputDir } from '../e2e/process.mjs';
import { cannotRun, missing, root, serverKind, startServer } from '../e2e/server.mjs';

const skip = cannotRun() || (missing('janus') ?? false);
// Janus against Janus proves the comparison itself: nothing may differ, so nothing needs a row.
const itself = serverKind === 'janus';
const rows = readDifferences(readFileSync(path.join(root, 'tests/differences.toml'), 'utf8'));
const explanations = new Explanations(itself ? [] : rows);
const record = [];

describe('the same answers', { skip }, () => {
  let reference;
  let tested;
  before(async () => {
    [reference, tested] = await Promise.all([startServer({ kind: 'janus' }), startServer()]);
  });
  after(async () => {
    await Promise.all([reference?.stop(), tested?.stop()]);
    writeFileSync(path.join(outputDir, 'answers.json'), JSON.stringify(record, null, 1));
  });

  for (const request of requests) {
    for (const over of (request.over ?? 'both') === 'both' ? ['http', 'ws'] : [request.over]) {
      const name = `${over}: ${request.name}`;
      test(name, async () => {
        const exchange = over === 'http' ? overHttp : overWs;
        const [expected, got] = await Promise.allSettled([exchange(reference, request), exchange(tested, request)]);
        if (expected.status === 'rejected') throw new Error(`the reference: ${expected.reason.message}`);
        if (got.status === 'rejected') throw new Error(`the server under test: ${got.reason.message}`);
        record.push({ name, reference: expected.value, tested: got.value });
        const open = explanations.unexplained(name, differences(expected.value, got.value));
        assert.equal(open.length, 0, `unexplained:\n${open.map((d) =>
          `  ${d.path}\n    janus:  ${JSON.stringify(d.reference)}\n    tested: ${JSON.stringify(d.tested)}`).join('\n')}`);
      });
    }
  }

  test('every row of differences.toml is needed', () => {
    const unneeded = explanations.unneeded().map((row) => `${row.request} ${row.path}`);
    assert.deepEqual(unneeded, []);
  });
});
