// The examples of docs/api.md, run as they stand. A fenced block says by its info string what it is:
//
//   ```json request                 sent over a WebSocket
//   ```json request POST /janus/$s  sent over HTTP (GET has an empty block)
//   ```json reply                   the direct reply to the request above
//   ```json event                   a message that comes besides; in any order, before or after the reply
//   ```json example                 only has to be JSON: an example that needs a SIP peer or a browser
//
// A heading of level 2 or 3 starts a new conversation. In a reply or an event, a text "$name" stands for any value
// and gives it that name; in what follows it is that value, also inside texts and paths. "..." stands for any
// value, and a member "..." for any other members.

import { WsClient, httpRequest } from './api.mjs';

/** The conversations of a document: `{title, line, steps}`, a step being `{kind, line, json, method, path}`. */
export function readExamples(markdown) {
  const conversations = [];
  let title = 'the beginning';
  let open;
  let block;
  markdown.split('\n').forEach((text, i) => {
    const line = i + 1;
    if (block) {
      if (text.trimEnd() !== '```') {
        block.text.push(text);
        return;
      }
      const { kind, method, path } = block;
      let json;
      if (block.text.join('').trim() !== '') {
        try {
          json = JSON.parse(block.text.join('\n'));
        } catch (error) {
          throw new Error(`line ${block.line}: the ${kind} is not JSON: ${error.message}`);
        }
      } else if (method !== 'GET') throw new Error(`line ${block.line}: the ${kind} is empty`);
      if (kind !== 'example') {
        if (!open) conversations.push((open = { title, line: block.line, steps: [] }));
        if (kind !== 'request' && open.steps.length === 0) throw new Error(`line ${block.line}: a ${kind} before any request`);
        open.steps.push({ kind, line: block.line, json, method, path });
      }
      block = undefined;
      return;
    }
    const heading = /^#{1,3} (.*)$/.exec(text);
    if (heading) {
      title = heading[1];
      open = undefined;
    }
    const fence = /^```json(?: (\w+))?(?: (GET|POST) (\S+))?\s*$/.exec(text);
    if (fence) {
      const kind = fence[1] ?? 'example';
      if (!['request', 'reply', 'event', 'example'].includes(kind)) throw new Error(`line ${line}: no such kind of block: ${kind}`);
      block = { kind, line, method: fence[2], path: fence[3], text: [] };
    } else if (/^```json/.test(text)) throw new Error(`line ${line}: not understood: ${text}`);
    else if (/^```\S/.test(text)) block = undefined;
  });
  if (block) throw new Error(`line ${block.line}: the block has no end`);
  return conversations;
}

/** Puts the known names into a request. */
export function fill(value, names) {
  if (Array.isArray(value)) return value.map((item) => fill(item, names));
  if (value !== null && typeof value === 'object') {
    return Object.fromEntries(Object.entries(value).map(([k, v]) => [k, fill(v, names)]));
  }
  if (typeof value !== 'string') return value;
  const whole = /^\$(\w+)$/.exec(value);
  if (whole) {
    if (!names.has(whole[1])) throw new Error(`$${whole[1]} has no value yet`);
    return names.get(whole[1]);
  }
  return value.replace(/\$(\w+)/g, (text, name) => (names.has(name) ? names.get(name) : text));
}

/** Why `got` is not what `wanted` describes; undefined when it is. New names are put into `names`. */
export function mismatch(wanted, got, names, path = '') {
  if (wanted === '...') return got === undefined ? `${path} is missing` : undefined;
  if (typeof wanted === 'string' && /^\$\w+$/.test(wanted)) {
    if (got === undefined) return `${path} is missing`;
    const name = wanted.slice(1);
    if (!names.has(name)) names.set(name, got);
    wanted = names.get(name);
  }
  if (Array.isArray(wanted)) {
    if (!Array.isArray(got) || got.length !== wanted.length) return `${path} is ${JSON.stringify(got)}`;
    for (let i = 0; i < wanted.length; i++) {
      const why = mismatch(wanted[i], got[i], names, `${path}[${i}]`);
      if (why) return why;
    }
    return undefined;
  }
  if (wanted !== null && typeof wanted === 'object') {
    if (got === null || typeof got !== 'object' || Array.isArray(got)) return `${path || 'it'} is ${JSON.stringify(got)}`;
    for (const [key, value] of Object.entries(wanted)) {
      if (key === '...') continue;
      const why = mismatch(value, got[key], names, path ? `${path}.${key}` : key);
      if (why) return why;
    }
    const extra = Object.keys(got).find((key) => !(key in wanted) && !('...' in wanted));
    return extra === undefined ? undefined : `${path ? `${path}.` : ''}${extra} is not in the document`;
  }
  return Object.is(wanted, got) ? undefined : `${path || 'it'} is ${JSON.stringify(got)} and not ${JSON.stringify(wanted)}`;
}

/** Runs a conversation; a disagreement is an error that names the document's line. */
export async function runConversation(server, conversation) {
  const names = new Map();
  const client = await WsClient.open(server);
  let reply;
  const taken = new Set();
  try {
    for (const { kind, line, json, method, path } of conversation.steps) {
      try {
        if (kind === 'request' && method) {
          const response = await httpRequest(server, {
            method, path: fill(path, names), body: json === undefined ? undefined : fill(json, names),
          });
          reply = response.body;
        } else if (kind === 'request') {
          reply = await client.request(fill(json, names), { timeoutMs: 5_000 });
          taken.add(reply);
        } else if (kind === 'reply') {
          const why = mismatch(json, reply, names);
          if (why) throw new Error(`${why}\n  the reply was ${JSON.stringify(reply)}`);
        } else {
          let last;
          const event = await client.next((message) => {
            if (taken.has(message)) return false;
            const trial = new Map(names);
            last = mismatch(json, message, trial);
            return last === undefined;
          }, { timeoutMs: 5_000, what: 'the event' }).catch((error) => {
            throw new Error(`${error.message}\n  ${last ?? ''}`);
          });
          taken.add(event);
          mismatch(json, event, names);
        }
      } catch (error) {
        throw new Error(`line ${line} (${kind}): ${error.message}`);
      }
    }
  } finally {
    await client.close();
  }
}
