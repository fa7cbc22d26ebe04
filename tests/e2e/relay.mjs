// A cable between a page and a server, which a test can pull.

import net from 'node:net';
import { atEnd } from './process.mjs';

/** A TCP relay in front of the server's WebSocket port: `pull()` breaks it, `plug()` mends it. */
export async function relay(port) {
  const pairs = new Set();
  let pulled = false;
  const server = net.createServer((client) => {
    if (pulled) {
      client.destroy();
      return;
    }
    const upstream = net.connect(port, '127.0.0.1');
    pairs.add([client, upstream]);
    for (const [a, b] of [[client, upstream], [upstream, client]]) {
      a.pipe(b);
      a.on('error', () => b.destroy());
      a.on('close', () => b.destroy());
    }
  });
  await new Promise((done) => server.listen(0, '127.0.0.1', done));
  atEnd(() => server.close());
  return {
    url: `ws://127.0.0.1:${server.address().port}/`,
    pull() {
      pulled = true;
      for (const pair of pairs) for (const socket of pair) socket.resetAndDestroy?.() ?? socket.destroy();
      pairs.clear();
    },
    plug: () => (pulled = false),
  };
}
