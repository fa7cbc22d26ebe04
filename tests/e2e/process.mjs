// Child processes: started with a log file, waited for, stopped by their own id.

import { spawn } from 'node:child_process';
import { closeSync, mkdirSync, mkdtempSync, openSync, readFileSync } from 'node:fs';
import net from 'node:net';
import dgram from 'node:dgram';
import os from 'node:os';
import path from 'node:path';
import { after } from 'node:test';

/** Where a run leaves its logs, screenshots and generated files. */
export const outputDir = (() => {
  const dir = process.env.SUITE_OUTPUT ?? mkdtempSync(path.join(os.tmpdir(), 'bifrons-e2e-'));
  mkdirSync(dir, { recursive: true });
  return dir;
})();

export const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

/**
 * Waits until `probe()` gives something truthy and gives that back. `what` names it in the error; the last
 * error of the probe is kept, because it says why.
 */
export async function until(what, probe, { timeoutMs = 10_000, everyMs = 50 } = {}) {
  const end = Date.now() + timeoutMs;
  let last;
  for (;;) {
    try {
      const value = await probe();
      if (value) return value;
      last = undefined;
    } catch (error) {
      last = error;
    }
    if (Date.now() >= end) {
      throw new Error(`waited ${timeoutMs} ms in vain for ${what}${last ? `: ${last.message}` : ''}`);
    }
    await sleep(everyMs);
  }
}

const canBind = (server, bind) =>
  new Promise((resolve) => {
    server.once('error', () => resolve(false));
    bind(() => server.close(() => resolve(true)));
  });

/** Whether TCP and UDP of a port are free. */
async function isFree(port, host) {
  const server = net.createServer();
  const socket = dgram.createSocket('udp4');
  return (await canBind(server, (done) => server.listen(port, host, done)))
    && (await canBind(socket, (done) => socket.bind(port, host, done)));
}

/** The first of `count` ports in a row that are free, both TCP and UDP. */
export async function freePort(host = '127.0.0.1', count = 1) {
  for (let attempt = 0; attempt < 50; attempt++) {
    const port = await new Promise((resolve, reject) => {
      const server = net.createServer();
      server.once('error', reject);
      server.listen(0, host, () => {
        const { port } = server.address();
        server.close(() => resolve(port));
      });
    });
    let free = 0;
    while (free < count && port + free < 65536 && (await isFree(port + free, host))) free += 1;
    if (free === count) return port;
  }
  throw new Error('no free port found');
}

/** Resolves once something accepts TCP connections there. */
export const tcpOpen = (port, host = '127.0.0.1') =>
  new Promise((resolve) => {
    const socket = net.connect(port, host);
    socket.once('connect', () => socket.destroy() && resolve(true));
    socket.once('error', () => resolve(false));
  });

// What a failed test leaves open would keep this process alive for ever.
const open = new Set();
/** `close` is called at the end of the run; calling what this gives takes that back. */
export function atEnd(close) {
  open.add(close);
  return () => open.delete(close);
}
after(() => Promise.allSettled([...open].map((close) => close())));

let names = 0;

/** A started program. Its standard output and error go to `log`, and stay readable as `output()`. */
export class Program {
  constructor(command, args, { name = path.basename(command), cwd, env, stdin = 'ignore' } = {}) {
    this.name = name;
    this.log = path.join(outputDir, `${name}-${++names}.log`);
    const log = openSync(this.log, 'w');
    this.child = spawn(command, args, { cwd, env: { ...process.env, ...env }, stdio: [stdin, log, log] });
    closeSync(log);
    const forget = atEnd(() => this.stop({ signal: 'SIGKILL' }));
    this.exit = new Promise((resolve) => {
      this.child.once('error', (error) => resolve({ code: null, signal: null, error }));
      this.child.once('exit', (code, signal) => resolve({ code, signal }));
    }).then((exit) => {
      forget();
      this.ended = exit;
      return exit;
    });
  }

  get pid() {
    return this.child.pid;
  }

  output() {
    return readFileSync(this.log, 'utf8');
  }

  /** Waits for a condition while the program lives; its end is an error that shows its last lines. */
  async ready(what, probe, options) {
    return until(`${this.name}: ${what}`, async () => probe(), options).catch((error) => {
      throw new Error(`${error.message}\n${this.tail()}`);
    });
  }

  tail(lines = 15) {
    return this.output().trimEnd().split('\n').slice(-lines).map((line) => `  ${this.name}| ${line}`).join('\n');
  }

  async stop({ signal = 'SIGTERM', timeoutMs = 5_000 } = {}) {
    if (this.ended) return this.ended;
    this.child.kill(signal);
    const timer = setTimeout(() => this.child.kill('SIGKILL'), timeoutMs);
    const exit = await this.exit;
    clearTimeout(timer);
    return exit;
  }
}
