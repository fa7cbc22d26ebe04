// A small client of the JSON API: one session, over a WebSocket or over HTTP with long polls.

const newTransaction = () => Math.random().toString(36).slice(2, 14);

/** An error reply of the gateway. */
export class ApiError extends Error {
  constructor({ code, reason }) {
    super(reason);
    this.code = code;
  }
}

/**
 * A session. `onstate` hears 'on', 'lost' (trying again) and 'off'; `onmessage` hears everything that comes, for a
 * log. A lost WebSocket is opened again and the session claimed, so that calls survive it.
 */
export class Session {
  constructor(config, transport) {
    this.link = transport === 'http' ? new HttpLink(config.http) : new WsLink(config.ws);
    this.handles = new Map();
    this.onstate = () => {};
    this.onmessage = () => {};
    this.link.onmessage = (message) => this.take(message);
    this.link.onlost = () => this.recover();
  }

  async open() {
    await this.link.open();
    this.id = (await this.request({ janus: 'create' })).data.id;
    this.link.listen?.(this.id);
    this.timer = setInterval(() => this.request({ janus: 'keepalive' }).catch(() => {}), 25_000);
    this.onstate('on');
  }

  async request(request) {
    const reply = await this.link.request({ transaction: newTransaction(), ...(this.id && { session_id: this.id }), ...request });
    if (reply.janus === 'error') throw new ApiError(reply.error);
    return reply;
  }

  async attach(plugin, onevent) {
    const reply = await this.request({ janus: 'attach', plugin });
    const handle = new Handle(this, reply.data.id, onevent);
    this.handles.set(handle.id, handle);
    return handle;
  }

  take(message) {
    this.onmessage(message);
    if (message.janus === 'timeout') this.end();
    else this.handles.get(message.sender)?.onevent(message);
  }

  async recover() {
    if (this.ended) return;
    this.onstate('lost');
    for (let waitMs = 500; !this.ended; waitMs = Math.min(waitMs * 2, 5_000)) {
      await new Promise((resolve) => setTimeout(resolve, waitMs));
      try {
        await this.link.open();
        await this.request({ janus: 'claim' });
        this.onstate('on');
        return;
      } catch (error) {
        // The session did not wait for us: whoever uses it starts anew.
        if (error instanceof ApiError) return this.end();
      }
    }
  }

  end() {
    if (this.ended) return;
    this.ended = true;
    clearInterval(this.timer);
    this.link.close();
    this.onstate('off');
  }

  async destroy() {
    await this.request({ janus: 'destroy' }).catch(() => {});
    this.end();
  }
}

export class Handle {
  constructor(session, id, onevent) {
    this.session = session;
    this.id = id;
    this.onevent = onevent;
  }

  request(request) {
    return this.session.request({ handle_id: this.id, ...request });
  }

  message(body, jsep) {
    return this.request({ janus: 'message', body, ...(jsep && { jsep: { type: jsep.type, sdp: jsep.sdp } }) });
  }

  trickle(candidate) {
    return this.request({ janus: 'trickle', candidate: candidate ?? { completed: true } }).catch(() => {});
  }
}

class WsLink {
  constructor(url) {
    this.url = url;
    this.waiting = new Map();
  }

  open() {
    return new Promise((resolve, reject) => {
      const socket = new WebSocket(this.url, 'janus-protocol');
      let opened = false;
      socket.onopen = () => {
        opened = true;
        this.socket = socket;
        resolve();
      };
      socket.onmessage = ({ data }) => {
        const message = JSON.parse(data);
        const waiting = this.waiting.get(message.transaction);
        // An event may carry the transaction of its request; the direct reply is what has no plugin data or is no event.
        if (waiting && message.janus !== 'event') {
          this.waiting.delete(message.transaction);
          waiting.resolve(message);
        } else this.onmessage(message);
      };
      socket.onclose = () => {
        for (const { reject } of this.waiting.values()) reject(new Error('the connection was lost'));
        this.waiting.clear();
        if (!opened) reject(new Error(`no WebSocket at ${this.url}`));
        else if (!this.closed) this.onlost();
      };
    });
  }

  request(request) {
    return new Promise((resolve, reject) => {
      if (this.socket?.readyState !== WebSocket.OPEN) {
        reject(new Error('not connected'));
        return;
      }
      this.waiting.set(request.transaction, { resolve, reject });
      this.socket.send(JSON.stringify(request));
    });
  }

  close() {
    this.closed = true;
    this.socket?.close();
  }
}

class HttpLink {
  constructor(base) {
    this.base = base;
  }

  async open() {
    const response = await fetch(`${this.base}/info`);
    if (!response.ok) throw new Error(`no gateway at ${this.base}`);
  }

  async request({ session_id, handle_id, ...request }) {
    const path = [this.base, session_id, handle_id].filter(Boolean).join('/');
    const response = await fetch(path, {
      method: 'POST', body: JSON.stringify(request),
      // The last word has to get out while the page goes away.
      keepalive: request.janus === 'destroy',
    });
    return response.json();
  }

  async listen(session) {
    let failures = 0;
    while (!this.closed) {
      try {
        const response = await fetch(`${this.base}/${session}?maxev=10&rid=${Date.now()}`);
        if (response.status === 404) {
          this.onmessage({ janus: 'timeout', session_id: session });
          return;
        }
        const events = await response.json();
        failures = 0;
        for (const event of [events].flat()) if (event.janus !== 'keepalive') this.onmessage(event);
      } catch {
        failures += 1;
        if (failures > 20) {
          this.onmessage({ janus: 'timeout', session_id: session });
          return;
        }
        await new Promise((resolve) => setTimeout(resolve, Math.min(250 * failures, 2_000)));
      }
    }
  }

  close() {
    this.closed = true;
  }
}
