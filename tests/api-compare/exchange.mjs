// Runs one request of the list against one server and gives everything that came back, normalised.

import { WsClient, httpRequest, newTransaction } from '../e2e/api.mjs';
import { sleep } from '../e2e/process.mjs';
import { normalise, shapeOf } from './normalise.mjs';

/** How long to listen for a message too many. */
const quietMs = 60;

const filled = (value, ids) => JSON.parse(
  JSON.stringify(value).replaceAll('"$session"', ids.session ?? 'null').replaceAll('"$handle"', ids.handle ?? 'null'));

function named(ids) {
  const names = new Map();
  if (ids.session) names.set(ids.session, '<session>');
  if (ids.handle) names.set(ids.handle, '<handle>');
  return names;
}

const counts = (request, message) => !request.only || request.only.includes(message?.janus);

function finished(request, messages, ids) {
  const normal = messages.filter((message) => counts(request, message)).map((message) => normalise(message, named(ids)));
  // Janus replies on one thread, and sends a plugin's events and `detached` on others, before or after the reply
  // as it happens; we compare the messages, not that race.
  const isEvent = (message) => ['event', 'detached'].includes(message?.janus);
  normal.sort((a, b) => isEvent(a) - isEvent(b));
  if (request.unordered) normal.sort((a, b) => (JSON.stringify(a) < JSON.stringify(b) ? -1 : 1));
  return request.shape ? normal.map(shapeOf) : normal;
}

/** Over a WebSocket: the messages in the order they came. */
export async function overWs(server, request) {
  const client = await WsClient.open(server);
  try {
    const ids = {};
    if (request.given && request.given !== 'nothing') ids.session = await client.createSession();
    if (request.given?.startsWith('handle:')) ids.handle = (await client.attach(ids.session, request.given.slice(7))).id;
    const envelope = { ...(ids.session && { session_id: ids.session }), ...(ids.handle && { handle_id: ids.handle }) };

    for (const [first, messages] of request.first ?? []) {
      const from = client.messages.length;
      client.sendText(JSON.stringify({ ...first, transaction: newTransaction(), ...envelope }));
      await count(client, from, messages, {});
      // Late companions of the step before (webrtc events) must not be counted as answers to this one.
      await sleep(quietMs);
    }
    const from = client.messages.length;
    const text = request.text ?? JSON.stringify(filled({ ...envelope, ...request.send }, ids));
    client.sendText(text, { binary: request.binary ?? false });
    await count(client, from, request.messages ?? 1, request);
    await sleep(quietMs);
    return { messages: finished(request, client.messages.slice(from), ids) };
  } finally {
    await client.close();
  }
}

async function count(client, from, messages, request) {
  let seen = 0;
  await client.next((message) => counts(request, message) && ++seen >= messages, { from, timeoutMs: 8_000, what: `${messages} messages` });
}

/** Over HTTP: the response, and the events by long poll. */
export async function overHttp(server, request) {
  const ids = {};
  const post = (body, path = '/janus') => httpRequest(server, { path, body });
  if (request.given && request.given !== 'nothing') {
    ids.session = (await post({ janus: 'create', transaction: newTransaction() })).body.data.id;
  }
  if (request.given?.startsWith('handle:')) {
    const attach = { janus: 'attach', transaction: newTransaction(), plugin: request.given.slice(7) };
    ids.handle = (await post(attach, `/janus/${ids.session}`)).body.data.id;
  }
  const base = ['/janus', ids.session, ids.handle].filter((part) => part !== undefined).join('/');
  for (const [first, messages] of request.first ?? []) {
    await post({ ...first, transaction: newTransaction() }, base);
    await poll(server, ids.session, messages - 1);
  }
  const send = request.send && filled(request.send, ids);
  const path = (request.path ?? basePath(base, send))
    .replace('$session', ids.session).replace('$handle', ids.handle);
  const response = await httpRequest(server, {
    method: request.method, path, headers: request.headers,
    body: request.text ?? send,
  });
  const events = await poll(server, ids.session, (request.messages ?? 1) - 1, request);
  if (ids.session) await post({ janus: 'destroy', transaction: newTransaction() }, `/janus/${ids.session}`);
  if (response.closed) return { closed: true };
  const header = (name) => response.headers[name];
  const location = header('location');
  return {
    status: response.status,
    ...(header('content-type') && { type: header('content-type').split(';')[0] }),
    ...(location && { location: location.replace(String(ids.session), '<session>') }),
    cors: Object.fromEntries(Object.entries(response.headers).filter(([k]) => k.startsWith('access-control-')).sort()),
    messages: finished(request, [response.body, ...events], ids),
  };
}

/** A request that names an id itself, or clears it, is sent to the path above. */
function basePath(base, send) {
  if (send && 'session_id' in send) return '/janus';
  if (send && 'handle_id' in send) return base.split('/').slice(0, 3).join('/');
  return base;
}

async function poll(server, session, wanted, request = {}) {
  const events = [];
  while (events.filter((event) => counts(request, event)).length < wanted) {
    const { status, body } = await httpRequest(server, { method: 'GET', path: `/janus/${session}?maxev=10`, timeoutMs: 8_000 });
    if (status !== 200) throw new Error(`the long poll gave ${status}`);
    events.push(...body);
  }
  return events;
}
