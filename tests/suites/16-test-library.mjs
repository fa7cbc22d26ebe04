// The tests' own tools are tested: normalising, comparing, explaining, reporting.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Explanations, differences, readDifferences } from '../api-compare/compare.mjs';
import { normalise, normaliseSdp, shapeOf } from '../api-compare/normalise.mjs';
import { requests } from '../api-compare/requests.mjs';
import { fill, mismatch, readExamples } from '../e2e/doc-examples.mjs';
import reporter from '../e2e/reporter.mjs';

test('ids of the exchange get names, other numbers stay', () => {
  const ids = new Map([[7123456789, '<session>'], [42, '<handle>']]);
  assert.deepEqual(
    normalise({ session_id: 7123456789, sender: 42, data: { id: 99 }, code: 458, reason: 'No such session 7123456789' }, ids),
    { session_id: '<session>', sender: '<handle>', data: { id: '<new id>' }, code: 458, reason: 'No such session <session>' });
});

test('an SDP becomes sections of lines without what is random', () => {
  const text = [
    'v=0', 'o=- 123 2 IN IP4 10.0.0.1', 's=-', 't=0 0', 'm=audio 40002 RTP/AVP 0', 'c=IN IP4 10.0.0.1',
    'a=ice-ufrag:abcd', 'a=candidate:1 1 udp 2 10.0.0.1 5000 typ host', 'a=candidate:2 1 UDP 1 10.0.0.2 5001 typ host',
    'a=sendrecv', 'm=video 0 RTP/AVP 96',
  ].join('\r\n');
  assert.deepEqual(normaliseSdp(text), {
    session: { 'v=0': 1, 'o=<origin> IN IP4 <address>': 1, 's=<name>': 1, 't=0 0': 1 },
    m0: { 'm=audio <port> RTP/AVP 0': 1, 'c=IN IP4 <address>': 1, 'a=ice-ufrag:<ufrag>': 1, 'a=candidate:<1 udp host>': 1, 'a=sendrecv': 1 },
    m1: { 'm=video 0 RTP/AVP 96': 1 },
  });
});

test('a shape keeps members and types only', () => {
  assert.deepEqual(shapeOf({ a: 1, b: 'x', c: { d: true }, e: [1], f: null }),
    { a: 'an integer', b: 'a string', c: { d: 'a boolean' }, e: 'an array', f: 'null' });
});

test('a difference names its path', () => {
  assert.deepEqual(differences({ a: [{ b: 1 }], c: 2 }, { a: [{ b: 2 }, 3], d: 4 }), [
    { path: 'a[0].b', reference: 1, tested: 2 },
    { path: 'a[1]', reference: undefined, tested: 3 },
    { path: 'c', reference: 2, tested: undefined },
    { path: 'd', reference: undefined, tested: 4 },
  ]);
  assert.deepEqual(differences({ a: { b: 1 } }, { a: { b: 1 } }), []);
});

test('the order of members is a difference of its own', () => {
  assert.deepEqual(differences({ x: { a: 1, b: 2 } }, { x: { b: 2, a: 1 } }), [{ path: 'x.{order}', reference: 'a,b', tested: 'b,a' }]);
});

test('a type and its text are different', () => {
  assert.equal(differences({ a: 1 }, { a: '1' }).length, 1);
  assert.equal(differences({ a: null }, {}).length, 1);
});

const row = (more) => ({ request: 'ws: x', path: 'a.*', reason: 'fix', reference: 'docs', ...more });

test('a row explains what it names and nothing else', () => {
  const explanations = new Explanations([row(), row({ request: 'http: *', path: 'b[0].c' })]);
  const found = [{ path: 'a.b' }, { path: 'b[0].c' }];
  assert.deepEqual(explanations.unexplained('ws: x', found), [{ path: 'b[0].c' }]);
  assert.deepEqual(explanations.unneeded().map((r) => r.path), ['b[0].c']);
  assert.deepEqual(explanations.unexplained('http: y', found), [{ path: 'a.b' }]);
  assert.deepEqual(explanations.unneeded(), []);
});

test('a row without reference or with another reason is refused', () => {
  const toml = (reason, reference) =>
    `[[difference]]\nrequest = "r"\npath = "p"\nreason = "${reason}"\nreference = "${reference}"\n`;
  assert.equal(readDifferences(toml('ours', 'docs/api.md')).length, 1);
  assert.throws(() => readDifferences(toml('because', 'docs/api.md')), /row 1 \(r\): reason is because/);
  assert.throws(() => readDifferences(toml('ours', '')), /reference is missing/);
  assert.deepEqual(readDifferences('# nothing\n'), []);
});

test('there are at least 60 requests, each with a name of its own', () => {
  assert.ok(requests.length >= 60);
  assert.equal(new Set(requests.map((request) => request.name)).size, requests.length);
});

test('the reporter writes a line a test, and one for a skipped suite', async () => {
  const events = [
    { type: 'test:pass', data: { name: 'a: b', details: { type: 'test' } } },
    { type: 'test:fail', data: { name: 'c', details: {} } },
    { type: 'test:pass', data: { name: 'd', details: {}, skip: 'no peer' } },
    { type: 'test:pass', data: { name: 'suite', details: { type: 'suite' } } },
    { type: 'test:pass', data: { name: 'all of it', details: { type: 'suite' }, skip: 'no server' } },
    { type: 'test:stdout', data: {} },
  ];
  const lines = [];
  for await (const line of reporter(events)) lines.push(line);
  assert.deepEqual(lines, ['pass a - b\n', 'fail c\n', 'skip d: no peer\n', 'skip all of it: no server\n']);
});

const document = [
  '## One', '```json request', '{"janus":"create","transaction":"a"}', '```', 'prose', '```json reply',
  '{"janus":"success","transaction":"a","data":{"id":"$session"}}', '```', '```sh', 'curl', '```', '```json example', '{}', '```',
  '## Two', '```json request GET /janus/info', '```', '```json reply', '{"...":"..."}', '```',
].join('\n');

test('the examples of a document are found', () => {
  const [one, two] = readExamples(document);
  assert.equal(one.title, 'One');
  assert.deepEqual(one.steps.map(({ kind, line }) => [kind, line]), [['request', 2], ['reply', 6]]);
  assert.deepEqual(two.steps.map(({ kind, method, path }) => [kind, method, path]),
    [['request', 'GET', '/janus/info'], ['reply', undefined, undefined]]);
  assert.throws(() => readExamples('```json reply\n{}\n```'), /before any request/);
  assert.throws(() => readExamples('```json request\n{\n```'), /line 1: the request is not JSON/);
  assert.throws(() => readExamples('```json answer\n{}\n```'), /no such kind of block/);
  assert.throws(() => readExamples('```json request\n{}'), /no end/);
});

test('a documented message matches what it describes and nothing else', () => {
  const names = new Map();
  assert.equal(mismatch({ id: '$s', list: [1, '...'] }, { id: 7, list: [1, 2] }, names), undefined);
  assert.equal(names.get('s'), 7);
  assert.equal(mismatch({ id: '$s' }, { id: 8 }, names), 'id is 8 and not 7');
  assert.equal(mismatch({ a: 1 }, { a: 1, b: 2 }, names), 'b is not in the document');
  assert.equal(mismatch({ a: 1, '...': '...' }, { a: 1, b: 2 }, names), undefined);
  assert.equal(mismatch({ a: { b: '...' } }, { a: {} }, names), 'a.b is missing');
  assert.deepEqual(fill({ a: '$s', b: ['/janus/$s'] }, names), { a: 7, b: ['/janus/7'] });
  assert.throws(() => fill('$unknown', names), /no value yet/);
});
