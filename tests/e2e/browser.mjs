// Chromium with fake devices, and the page that holds the unmodified janus.js.

import { readFile } from 'node:fs/promises';
import http from 'node:http';
import path from 'node:path';
import { chromium } from 'playwright-core';
import { atEnd, outputDir, sleep, until } from './process.mjs';

const here = import.meta.dirname ?? path.dirname(new URL(import.meta.url).pathname);
const packageDir = (name) => path.join(here, '../node_modules', name);

const types = {
  '.html': 'text/html', '.js': 'text/javascript', '.mjs': 'text/javascript', '.css': 'text/css',
  '.json': 'application/json', '.svg': 'image/svg+xml',
};

/** A static server on loopback: `routes` maps a path to a file or to `() => [type, text]`; `folder` is the rest. */
export async function serve(routes, folder) {
  const server = http.createServer(async (request, response) => {
    const url = new URL(request.url, 'http://x').pathname;
    try {
      const route = routes[url];
      if (typeof route === 'function') {
        const [type, text] = route();
        response.writeHead(200, { 'Content-Type': type }).end(text);
        return;
      }
      const file = route ?? (folder && path.join(folder, path.normalize(url === '/' ? '/index.html' : url)));
      if (!file) throw new Error('no such file');
      const text = await readFile(file);
      response.writeHead(200, { 'Content-Type': types[path.extname(file)] ?? 'application/octet-stream' }).end(text);
    } catch {
      response.writeHead(404).end();
    }
  });
  await new Promise((done) => server.listen(0, '127.0.0.1', done));
  server.on('close', atEnd(() => server.close()));
  return {
    url: `http://127.0.0.1:${server.address().port}`,
    close: () => (server.closeAllConnections?.(), new Promise((done) => server.close(done))),
  };
}

/** Chromium; `more` are further arguments of it. */
export const launch = (...more) =>
  chromium.launch({
    executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
    headless: true,
    args: [
      '--headless=new', '--no-sandbox', '--disable-gpu', '--use-fake-device-for-media-stream',
      '--use-fake-ui-for-media-stream', '--disable-background-networking', '--disable-component-update',
      '--disable-sync', '--disable-quic', '--no-first-run', '--autoplay-policy=no-user-gesture-required',
      '--disable-features=WebRtcHideLocalIpsWithMdns', ...more,
    ],
  });

/** Chromium and the harness; a `Page` is a browser tab with janus.js of its own. */
export class Browser {
  static async start() {
    const browser = new Browser();
    browser.files = await serve({
      '/': path.join(here, 'harness.html'),
      '/harness.js': path.join(here, 'harness.js'),
      '/janus.js': path.join(packageDir('janus-gateway'), 'npm/src/janus.js'),
      '/adapter.js': path.join(packageDir('webrtc-adapter'), 'out/adapter.js'),
    });
    browser.chromium = await launch();
    return browser;
  }

  /** A new tab, connected to the server at that URL. */
  async open(url, options) {
    const context = await this.chromium.newContext({ permissions: ['microphone', 'camera'] });
    const page = await context.newPage();
    const errors = [];
    page.on('pageerror', (error) => errors.push(error.message));
    await page.goto(this.files.url);
    const tab = new Page(page, errors);
    tab.session = await tab.call('connect', url, options);
    return tab;
  }

  async stop() {
    await this.chromium?.close();
    await this.files?.close();
  }
}

export class Page {
  constructor(page, errors) {
    this.page = page;
    this.errors = errors;
  }

  /** Calls a function of the harness. */
  call(name, ...args) {
    return this.page.evaluate(([name, args]) => peer[name](...args), [name, args]);
  }

  attach(plugin) {
    return this.call('attach', plugin);
  }

  log() {
    return this.page.evaluate(() => peer.log);
  }

  /** Waits for an entry of the log that matches, from position `from` on, and gives it with its position. */
  async seen(what, matches, { from = 0, timeoutMs = 15_000 } = {}) {
    let log = [];
    try {
      return await until(what, async () => {
        log = await this.log();
        const position = log.findIndex((entry, i) => i >= from && matches(entry));
        return position < 0 ? undefined : { ...log[position], position };
      }, { timeoutMs });
    } catch (error) {
      const lines = log.slice(from).map((entry) => JSON.stringify(entry).slice(0, 220));
      throw new Error(`${error.message}; the page saw:\n  ${lines.join('\n  ')}`);
    }
  }

  /** Waits for a SIP plugin event of that name. */
  sip(handle, name, options) {
    return this.seen(`the SIP event ${name}`,
      (entry) => entry.handle === handle && entry.kind === 'event' && entry.data?.result?.event === name, options);
  }

  stats(handle) {
    return this.call('stats', handle);
  }

  /** How much each counter of getStats grew in that time. */
  async growth(handle, ms = 2_000) {
    const before = await this.stats(handle);
    await sleep(ms);
    const after = await this.stats(handle);
    const minus = (now, then) =>
      Object.fromEntries(Object.entries(now).filter(([, v]) => typeof v === 'number')
        .map(([k, v]) => [k, v - (then?.[k] ?? 0)]));
    const each = (now, then) =>
      Object.fromEntries(Object.entries(now).map(([kind, v]) => [kind, minus(v, then?.[kind])]));
    return { in: each(after.in, before.in), out: each(after.out, before.out) };
  }

  screenshot(name) {
    return this.page.screenshot({ path: path.join(outputDir, name), fullPage: true });
  }

  close() {
    return this.page.context().close();
  }
}
