// Raw clients of the Janus API: what goes over the wire is exactly what the test wrote.

import http from 'node:http';
import WebSocket from 'ws';
import { atEnd } from './process.mjs';

let transactions = 0;
export const newTransaction = () => `t${++transactions}`;

/**
 * One HTTP request. Gives `{status, headers, body}`, the body parsed as JSON where it is JSON, or
 * `{closed: true}` when the server ended the connection without a response.
 */
export function httpRequest(server, { method = 'POST', path = '/janus', body, headers = {}, localAddress, timeoutMs = 40_000 }) {
  const payload = body === undefined ? undefined : typeof body === 'string' ? body : JSON.stringify(body);
  return new Promise((resolve, reject) => {
    const request = http.request(
      {
        host: '127.0.0.1',
        port: server.httpPort,
        method,
        path,
        localAddress,
        agent: false,
        headers: {
          ...(payload === undefined ? {} : { 'Content-Type': 'application/json' }),
          ...(payload === undefined && method !== 'POST' ? {} : { 'Content-Length': Buffer.byteLength(payload ?? '') }),
          ...headers,
        },
      },
      (response) => {
        const chunks = [];
        response.on('data', (chunk) => chunks.push(chunk));
        response.on('error', () => resolve({ closed: true }));
        response.on('end', () => {
          const text = Buffer.concat(chunks).toString('utf8');
          resolve({ status: response.statusCode, headers: response.headers, body: parsed(text) });
        });
      },
    );
    request.setTimeout(timeoutMs, () => request.destroy(new Error(`no answer in ${timeoutMs} ms`)));
    request.on('error', (error) => {
      if (['ECONNRESET', 'EPIPE'].includes(error.code) || /socket hang up/.test(error.message)) resolve({ closed: true });
      else reject(error);
    });
    request.end(payload);
  });
}

function parsed(text) {
  if (text === '') return null;
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}

/** A WebSocket client that keeps every message in order. */
export class WsClient {
  static async open(server, { protocol = 'janus-protocol', ...options } = {}) {
    const client = new WsClient();
    client.messages = [];
    client.waiting = new Set();
    client.socket = new WebSocket(server.ws, protocol ? [protocol] : [], options);
    await new Promise((resolve, reject) => {
      client.socket.once('open', resolve);
      client.socket.once('error', reject);
    });
    client.socket.on('error', () => {});
    client.socket.on('close', atEnd(() => client.socket.terminate()));
    client.closed = new Promise((resolve) => client.socket.once('close', (code) => resolve(code)));
    client.socket.on('message', (data) => {
      client.messages.push(parsed(data.toString('utf8')));
      for (const look of client.waiting) look();
    });
    return client;
  }

  sendText(text, options) {
    this.socket.send(text, options);
  }

  /** The first message from index `from` on that matches. */
  async next(matches, { from = 0, timeoutMs = 10_000, what = 'a message' } = {}) {
    return new Promise((resolve, reject) => {
      let seen = from;
      let timer;
      const look = () => {
        for (; seen < this.messages.length; seen++) {
          if (matches(this.messages[seen])) {
            clearTimeout(timer);
            this.waiting.delete(look);
            resolve(this.messages[seen]);
            return;
          }
        }
      };
      timer = setTimeout(() => {
        this.waiting.delete(look);
        const got = this.messages.slice(from).map((message) => JSON.stringify(message).slice(0, 200));
        reject(new Error(`waited ${timeoutMs} ms in vain for ${what}; got since then:\n  ${got.join('\n  ')}`));
      }, timeoutMs);
      this.waiting.add(look);
      look();
    });
  }

  /** Sends a request and gives its direct reply. */
  async request(request, options) {
    const transaction = request.transaction ?? newTransaction();
    const from = this.messages.length;
    this.sendText(JSON.stringify({ transaction, ...request }));
    return this.next((message) => message.transaction === transaction, {
      from, what: `the reply to ${JSON.stringify(request).slice(0, 200)}`, ...options,
    });
  }

  async createSession() {
    const reply = await this.request({ janus: 'create' });
    return reply.data.id;
  }

  async attach(session_id, plugin) {
    const reply = await this.request({ janus: 'attach', session_id, plugin });
    if (reply.janus !== 'success') throw new Error(`attach ${plugin}: ${JSON.stringify(reply)}`);
    return new Handle(this, session_id, reply.data.id);
  }

  close() {
    this.socket.close();
    return this.closed;
  }
}

/** A handle over a WebSocket client. */
export class Handle {
  constructor(client, session, id) {
    this.client = client;
    this.session = session;
    this.id = id;
    this.taken = new Set();
  }

  request(request, options) {
    return this.client.request({ session_id: this.session, handle_id: this.id, ...request }, options);
  }

  message(body, jsep) {
    return this.request({ janus: 'message', body, ...(jsep ? { jsep } : {}) });
  }

  /** The next message of this handle that matches, each message being given at most once. */
  async event(matches, options) {
    const found = await this.client.next(
      (message) => message?.sender === this.id && !this.taken.has(message) && matches(message),
      options,
    );
    this.taken.add(found);
    return found;
  }

  /** The next SIP plugin event of that name. */
  sip(name, options) {
    return this.event((message) => message.plugindata?.data?.result?.event === name, {
      what: `the SIP event ${name}`, ...options,
    });
  }
}
