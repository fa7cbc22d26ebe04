// Attacks that gateways have fallen to, from other loopback addresses, while a call or another client goes on.
// docs/security.md says which row each test belongs to.

import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import net from 'node:net';
import { after, before, describe, test } from 'node:test';
import { audioOffer } from '../api-compare/requests.mjs';
import { WsClient, httpRequest } from '../e2e/api.mjs';
import { binding, childrenOf, memory, sum, udp, udpPorts } from '../e2e/attacker.mjs';
import { Browser } from '../e2e/browser.mjs';
import { sleep, until } from '../e2e/process.mjs';
import { cannotRun, serverKind, startServer } from '../e2e/server.mjs';
import { secretOf, startKamailio } from '../e2e/sip/kamailio.mjs';
import { RtpPeer } from '../e2e/sip/rtp-peer.mjs';
import { answer, audioSdp, recv, recvCode, recvInvite, request, sipp } from '../e2e/sip/sipp.mjs';
import { srtpSender } from '../e2e/sip/srtp.mjs';

const own = serverKind === 'bifrons' ? false : 'these are limits of bifrons';
const skip = own || cannotRun();
const skipCalls = own || cannotRun('chromium', 'sipp', 'kamailio');
const apisecret = 'an-api-secret-to-find';
const microphone = [{ type: 'audio', capture: true, recv: true }];
const MiB = 1024;

describe('a call under attack', { skip: skipCalls }, () => {
  let server;
  let browser;
  let kamailio;
  // What must never be seen in the log; the calls add theirs.
  const secrets = new Set([apisecret]);
  before(async () => {
    kamailio = await startKamailio();
    server = await startServer({ apiSecret: apisecret, adjust: (config) => (config.server.log = 'trace') });
    browser = await Browser.start();
  });
  after(async () => {
    await browser?.stop();
    await server?.stop();
    await kamailio?.stop();
  });

  const established = (sdp) => [recvInvite(), answer(180, 'Ringing', { first: true }), answer(200, 'OK', { sdp, first: true }), recv('ACK')];
  const ended = [recv('BYE'), answer(200, 'OK')];
  let users = 0;

  /** A page in a call to sipp; with `key` the media towards the page are SRTP. */
  async function call({ key, steps = [] } = {}) {
    const media = await RtpPeer.open();
    if (key) {
      const [send, protect] = [media.rtp.send.bind(media.rtp), srtpSender(key)];
      media.rtp.send = (packet, ...rest) => send((media.last = protect(packet)), ...rest);
      media.raw = send;
      secrets.add(key.toString('base64'));
    }
    media.tone();
    const crypto = key ? { proto: 'RTP/SAVP', extra: [`a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:${key.toString('base64')}`] } : {};
    const peer = await sipp([established(audioSdp(media.port, crypto)), steps, ended]);
    const page = await browser.open(server.ws, { apisecret });
    const handle = await page.attach('janus.plugin.sip');
    const user = `attacked${++users}`;
    secrets.add(secretOf(user));
    await page.call('send', handle, { request: 'register', username: kamailio.aor(user), secret: secretOf(user), proxy: kamailio.proxy });
    await page.sip(handle, 'registered');
    await page.call('offer', handle, { request: 'call', uri: peer.uri(), ...(key ? { srtp: 'sdes_mandatory' } : {}) }, { tracks: microphone });
    await page.sip(handle, 'accepted');
    const self = { page, handle, media, peer };
    await until('media both ways', async () => (await flows(self), true), { timeoutMs: 15_000 });
    for (const sdp of [await page.call('remoteSdp', handle), await page.call('localSdp', handle)]) {
      secrets.add(/a=ice-pwd:(\S+)/.exec(sdp)[1]);
    }
    return self;
  }
  async function flows({ page, handle, media }) {
    const { packets } = media;
    const grown = await page.growth(handle, 500);
    assert.ok(grown.in.audio?.packets > 5, `at the page: ${JSON.stringify(grown.in.audio)}`);
    assert.ok(media.packets > packets, 'nothing comes at the peer');
  }
  const losses = async ({ page, handle, media }) => ({ page: (await page.stats(handle)).in.audio.lost, peer: media.missing() });
  async function hangUp({ page, handle, media, peer }) {
    await page.call('send', handle, { request: 'hangup' });
    await page.sip(handle, 'hangup');
    await peer.done();
    media.close();
    await page.close();
  }
  /** How many packets the page has once no more come. */
  const settled = ({ page, handle }) => {
    let last = -1;
    return until('silence', async () => {
      const { packets } = (await page.stats(handle)).in.audio;
      const same = packets === last;
      last = packets;
      return same && packets;
    }, { everyMs: 400 });
  };
  const silence = (media) => clearInterval(media.timer);

  test('a flood of SIP requests from 8 addresses reaches no page and costs the call nothing', async () => {
    const busy = await call();
    const before = await losses(busy);
    const programs = childrenOf(server.program.pid);
    const attackers = await Promise.all(Array.from({ length: 8 }, (_, i) => udp(`127.0.0.${i + 2}`)));
    const flood = async (rounds, from) => {
      for (let round = 0; round < rounds; round++) {
        for (const [i, attacker] of attackers.entries()) {
          for (const method of ['INVITE', 'REGISTER', 'OPTIONS', 'MESSAGE', 'SUBSCRIBE', 'NOTIFY']) {
            const [id, me] = [`${from + round}-${i}-${method}`, `127.0.0.${i + 2}:${attacker.port}`];
            const body = method === 'INVITE' ? `${audioSdp(40_000).join('\r\n')}\r\n` : '';
            await attacker.send([`${method} sip:attacked1@127.0.0.1:${server.sipPort} SIP/2.0`, `Via: SIP/2.0/UDP ${me};branch=z9hG4bK${id}`,
              `From: <sip:x@${me}>;tag=${id}`, `To: <sip:attacked1@127.0.0.1>`, `Call-ID: ${id}`, `CSeq: 1 ${method}`, 'Max-Forwards: 9',
              `Contact: <sip:x@${me}>`, ...(/SUB|NOT/.test(method) ? ['Event: presence', 'Subscription-State: active'] : []),
              ...(body ? ['Content-Type: application/sdp'] : []), `Content-Length: ${body.length}`, '', body].join('\r\n'), server.sipPort);
          }
        }
        await sleep(20);
      }
    };
    await flood(10, 0);
    const memoryBefore = memory(server.program.pid);
    await flood(60, 1000);
    const grown = memory(server.program.pid) - memoryBefore;
    const answers = attackers.flatMap((attacker) => attacker.received).map(String);
    const final = answers.map((text) => Number(/^SIP\/2\.0 (\d+)/.exec(text)?.[1])).filter((code) => code !== 100);
    assert.ok(final.length > 0);
    assert.deepEqual([...new Set(final)].filter((code) => ![403, 405, 481, 489, 503].includes(code)), [], 'codes');
    assert.ok(grown < 64 * MiB, `grown by ${grown} KiB`);
    assert.ok(!(await busy.page.log()).some((entry) => /incomingcall|missed_call|"message"|notify/.test(entry.data?.result?.event)));
    await flows(busy);
    assert.deepEqual(await losses(busy), before);
    assert.deepEqual(childrenOf(server.program.pid), programs);
    await hangUp(busy);
    attackers.forEach((attacker) => attacker.close());
  });

  test('malformed SIP, multipart and STUN at the SIP port do not touch a call', async () => {
    const busy = await call();
    const before = await losses(busy);
    const programs = childrenOf(server.program.pid);
    const stranger = await udp('127.0.0.2');
    const head = (type, length, more = []) => [`INVITE sip:x@127.0.0.1 SIP/2.0`, `Via: SIP/2.0/UDP 127.0.0.2:${stranger.port};branch=z9hG4bK${randomBytes(6).toString('hex')}`,
      'From: <sip:a@b>;tag=1', 'To: <sip:x@y>', `Call-ID: ${randomBytes(6).toString('hex')}`, 'CSeq: 1 INVITE', 'Max-Forwards: 5', 'Contact: <sip:a@127.0.0.2>',
      ...more, `Content-Type: ${type}`, `Content-Length: ${length}`, '', ''].join('\r\n');
    const boundary = 'b'.repeat(70);
    const shots = [
      binding(), binding({ username: 'x'.repeat(512) }), Buffer.from([1, 1, 0xff, 0xff, 0x21, 0x12, 0xa4, 0x42]), Buffer.alloc(0), Buffer.alloc(1), Buffer.alloc(4096),
      `${head(`multipart/mixed;boundary=${boundary}`, 4)}--b\r\n`, `${head('multipart/mixed;boundary=""', 4)}----`,
      `${head(`multipart/mixed;boundary=${'x'.repeat(4000)}`, 2)}--`, `${head('multipart/mixed', 2)}--`,
      `${head('application/sdp', 2 ** 31)}v=0`, `${head('application/sdp', -5)}v=0`, head('application/sdp', 0, ['X: '.padEnd(60_000, 'y')]),
      `${head('application/sdp', 9)}v=0\r\nb=:::`, 'INVITE\r\n\r\n', 'SIP/2.0 200 OK\r\n\r\n', 'SIP/2.0 99999999999 x\r\nVia: \0\r\n\r\n',
    ];
    for (let round = 0; round < 40; round++) {
      for (const shot of shots) await stranger.send(shot, server.sipPort);
      await sleep(5);
    }
    await flows(busy);
    assert.deepEqual(await losses(busy), before);
    assert.deepEqual(childrenOf(server.program.pid), programs, 'the SIP process died of it');
    assert.ok(!stranger.received.some((message) => message[0] < 4), 'STUN is answered at the SIP port');
    await hangUp(busy);
    stranger.close();
  });

  test('a stranger gets no RTP and brings none in', async () => {
    const busy = await call();
    const [port] = busy.media.sources.keys();
    silence(busy.media);
    const had = await settled(busy);
    const strangers = [await udp('127.0.0.2'), await udp('127.0.0.1')];
    const packet = (sequence) => {
      const bytes = Buffer.alloc(172, 0x55);
      bytes.writeUInt16BE(0x8000);
      bytes.writeUInt16BE(sequence, 2);
      bytes.writeUInt32BE(160 * sequence, 4);
      return bytes;
    };
    for (let i = 0; i < 2000; i++) {
      for (const stranger of strangers) await stranger.send(packet(i), port);
      for (const stranger of strangers) await stranger.send(packet(i), port + 1);
    }
    assert.equal(await settled(busy), had, 'media of a stranger reached the page');
    assert.deepEqual(strangers.map(({ received }) => received.length), [0, 0], 'media went to a stranger');
    busy.media.tone();
    await until('media again', async () => (await flows(busy), true));
    await hangUp(busy);
    strangers.forEach((stranger) => stranger.close());
  });

  test('100,000 packets that do not authenticate, and replayed ones, leave an SRTP call alone', async () => {
    const busy = await call({ key: randomBytes(30) });
    const { media } = busy;
    const [port] = media.sources.keys();
    const replayed = media.last;
    const lost = await losses(busy);
    // From the peer's own socket, so that only the tag tells them from what is right.
    const bad = Buffer.from(replayed);
    for (let i = 0; i < 100_000; i++) {
      bad.writeUInt32BE(i, 12);
      bad.writeUInt16BE((replayed.readUInt16BE(2) + i) & 0xffff, 2);
      if (i % 3 === 0) bad.writeUInt32BE(i, 8);
      else replayed.copy(bad, 8, 8, 12);
      const sent = new Promise((done) => media.raw(bad, port, '127.0.0.1', done));
      if (i % 64 === 0) await sent;
    }
    await flows(busy);
    assert.equal((await busy.page.stats(busy.handle)).connection, 'connected');
    silence(media);
    const had = await settled(busy);
    for (let i = 0; i < 2000; i++) await new Promise((done) => media.raw(media.last, port, '127.0.0.1', done));
    assert.equal(await settled(busy), had, 'a replayed packet reached the page');
    assert.equal(media.missing(), lost.peer);
    for (const [, salt] of readFileSync(busy.peer.messages, 'utf8').matchAll(/inline:([A-Za-z0-9+/=]+)/g)) secrets.add(salt);
    await hangUp(busy);
  });

  test('a re-INVITE that drops a=crypto is refused, and the call goes on', async () => {
    const downgrade = [
      recv('INFO'), answer(200, 'OK'),
      request('INVITE', 2, { sdp: audioSdp(40_000, { version: 2 }) }), recvCode(488, { optional: [100] }), request('ACK', 2)];
    const busy = await call({ key: randomBytes(30), steps: downgrade });
    await busy.page.call('send', busy.handle, { request: 'info', type: 'text/plain', content: 'now' });
    await until('the refusal', () => /SIP\/2\.0 488/.test(readFileSync(busy.peer.messages, 'utf8')));
    await flows(busy);
    await hangUp(busy);
  });

  test('strangers at the WebRTC port: checks, hellos and fragments get no more than they sent', async () => {
    const busy = await call();
    const before = await losses(busy);
    const sdp = await busy.page.call('remoteSdp', busy.handle);
    const [, address, port] = /a=candidate:\S+ 1 udp \d+ (\S+) (\d+)/i.exec(sdp);
    const [, ufrag] = /a=ice-ufrag:(\S+)/.exec(sdp);
    const [, theirs] = /a=ice-ufrag:(\S+)/.exec(await busy.page.call('localSdp', busy.handle));
    const stranger = await udp('0.0.0.0');
    const memoryBefore = memory(server.program.pid);
    const hello = (i) => {
      // A ClientHello of 300 bytes of which each datagram has 50, in any order, overlapping, never all.
      const bytes = Buffer.alloc(13 + 12 + 50, i);
      Buffer.from([22, 0xfe, 0xff, 0, 0]).copy(bytes);
      bytes.writeUIntBE(i, 5, 6);
      bytes.writeUInt16BE(62, 11);
      bytes[13] = 1;
      bytes.writeUIntBE(300, 14, 3);
      bytes.writeUInt16BE(i & 3, 17);
      bytes.writeUIntBE((i * 37) % 250, 19, 3);
      bytes.writeUIntBE(50, 22, 3);
      return bytes;
    };
    const checks = [{}, { username: `${ufrag}:${theirs}` }, { username: `${ufrag}:${theirs}`, password: 'wrong' }, { username: `${ufrag}:` , password: '' },
      { username: ufrag, password: 'wrong' }, { username: `${'u'.repeat(256)}:${theirs}`, password: 'wrong' }, { username: `x:${'y'.repeat(500)}` }];
    let sent = 0;
    for (let i = 0; i < 3000; i++) {
      for (const shot of [binding(checks[i % checks.length]), hello(i)]) {
        sent += shot.length;
        await stranger.send(shot, Number(port), address);
      }
    }
    await flows(busy);
    assert.deepEqual(await losses(busy), before);
    assert.ok(!stranger.received.some((message) => message.readUInt16BE(0) === 0x0101), 'a check without the password succeeded');
    assert.ok(!stranger.received.some((message) => message[0] >= 20), 'DTLS or media went to a stranger');
    assert.ok(sum(stranger.received) <= sent, 'more came back than was sent');
    assert.ok(memory(server.program.pid) - memoryBefore < 32 * MiB);
    await hangUp(busy);
    stranger.close();
  });

  test('ClientHellos sprayed at every media port while a call is set up neither end nor enter its handshake', async () => {
    const stranger = await udp('127.0.0.2');
    // TLS_RSA_WITH_NULL_SHA only, as in the attack that made gateways send a fatal alert.
    const body = Buffer.concat([Buffer.from([0xfe, 0xfd]), randomBytes(32), Buffer.from([0, 0, 0, 2, 0, 2, 1, 0])]);
    const head = Buffer.from([22, 0xfe, 0xff, 0, 0, 0, 0, 0, 0, 0, 0, 0, body.length + 12, 1, 0, 0, body.length, 0, 0, 0, 0, 0, 0, 0, body.length]);
    const hello = Buffer.concat([head, body]);
    const sprayed = new Set();
    let over = false;
    const spray = (async () => {
      while (!over) {
        for (const port of udpPorts(server.program.pid)) {
          sprayed.add(port);
          await stranger.send(hello, port);
        }
        await sleep(1);
      }
    })();
    const busy = await call().finally(() => (over = true));
    await spray;
    const [, port] = /a=candidate:\S+ 1 udp \d+ \S+ (\d+)/i.exec(await busy.page.call('remoteSdp', busy.handle));
    assert.ok(sprayed.has(Number(port)), 'the port of the call was not sprayed');
    await flows(busy);
    assert.deepEqual(stranger.received, [], 'a stranger was answered');
    await hangUp(busy);
    stranger.close();
  });

  test('no secret, key or digest stands in the log at its highest level', () => {
    const log = server.program.output();
    assert.match(log, /\b(TRACE|DEBUG)\b/, 'the log is not at its highest level');
    assert.ok(secrets.size > 10, 'the tests above did not run');
    for (const secret of secrets) {
      const at = log.indexOf(secret);
      assert.ok(at < 0, `${secret} is in the log: ${log.slice(Math.max(0, log.lastIndexOf('\n', at)), at + 80)}`);
    }
    assert.doesNotMatch(log, /inline:|response="[0-9a-f]{32}"/);
  });
});

describe('the API under attack', { skip }, () => {
  let server;
  const perSource = 300;
  before(async () => {
    server = await startServer({ adjust: (config) => (config.limits = { ...config.limits, connections_per_source_max: perSource }) });
  });
  after(() => server?.stop());
  const ping = { janus: 'ping', transaction: 'T' };
  const served = async () => assert.equal((await httpRequest(server, { body: ping })).body.janus, 'pong');

  test('JSON and WebSocket bombs are refused; memory stays and others are served', async () => {
    const other = await WsClient.open(server);
    const session_id = await other.createSession();
    await served();
    const memoryBefore = memory(server.program.pid);
    const keys = `{"janus":"ping","transaction":"T",${Array.from({ length: 1_000_000 }, (_, i) => `"k${i}":0`).join(',')}}`;
    const long = `{"janus":"ping","transaction":"${'x'.repeat(64 * 1024 * 1024)}"}`;
    const deep = `{"janus":"ping","transaction":"T","x":${'['.repeat(100_000)}${']'.repeat(100_000)}}`;
    for (const [what, body] of [['a string of 64 MiB', long], ['a million keys', keys]]) {
      const reply = await httpRequest(server, { body });
      assert.ok(reply.closed || reply.status === 413, `${what}: ${reply.status}`);
      const client = await WsClient.open(server);
      client.sendText(body);
      await client.closed;
      assert.deepEqual(client.messages, [], what);
    }
    assert.equal((await httpRequest(server, { body: deep })).body.error.code, 454);
    const client = await WsClient.open(server);
    client.sendText(deep);
    assert.equal((await client.next((message) => message.janus === 'error')).error.code, 454);
    for (const odd of ['{"janus":"ping","transaction":1e400}', '{"janus":"\\ud800","transaction":"T"}', '{"janus":"ping","janus":1,"transaction":"T"}', '\0', '{']) {
      const from = client.messages.length;
      client.sendText(odd);
      assert.equal((await client.next(() => true, { from })).janus, 'error', odd);
    }
    await client.close();

    const frame = (first, length, payload = Buffer.alloc(0)) => {
      const head = Buffer.alloc(14);
      head[0] = first;
      head[1] = 0xff;
      head.writeBigUInt64BE(BigInt(length), 2);
      return Buffer.concat([head, payload]);
    };
    const part = Buffer.alloc(60_000, 'x');
    for (const frames of [
      [frame(0x81, 2n ** 63n)], [frame(0x81, 2n ** 63n - 1n)], [frame(0x81, 2n ** 32n)],
      [frame(0x01, part.length, part), ...Array.from({ length: 100 }, () => frame(0x00, part.length, part))],
      [frame(0x89, part.length, part)], // a ping may have 125 bytes
      [frame(0x80, 4, Buffer.from('more'))], // a continuation of nothing
    ]) {
      const bomb = await WsClient.open(server);
      for (const bytes of frames) bomb.socket._socket.write(bytes);
      await bomb.closed;
    }
    assert.equal((await other.request({ janus: 'keepalive', session_id })).janus, 'ack');
    await served();
    const grown = memory(server.program.pid) - memoryBefore;
    assert.ok(grown < 32 * MiB, `grown by ${grown} KiB`);
    await other.close();
  });

  test('lies about the length of a request end its connection only', async () => {
    for (const lie of [
      'Content-Length: 18446744073709551616', 'Content-Length: -1', 'Content-Length: 99999999999', 'Content-Length: 5\r\nContent-Length: 6',
      'Content-Length: 5\r\nTransfer-Encoding: chunked', 'Transfer-Encoding: chunked\r\nX: y\r\n\r\nffffffffffffffff\r\n',
    ]) {
      const socket = net.connect(server.httpPort, '127.0.0.1');
      const text = new Promise((done) => {
        let all = '';
        socket.on('data', (data) => (all += data)).on('error', () => {}).on('close', () => done(all));
      });
      socket.end(`POST /janus HTTP/1.1\r\nHost: x\r\n${lie}\r\n\r\n{}`);
      const reply = await text;
      assert.ok(reply === '' || /^HTTP\/1\.1 4/.test(reply), `${lie}: ${reply.slice(0, 60)}`);
    }
    await served();
  });

  test('thousands of idle connections from one address keep nobody else out', async () => {
    let closed = 0;
    let opened = 0;
    const idle = Array.from({ length: 2000 }, (_, i) => {
      const socket = net.connect({ port: i % 2 ? server.httpPort : server.wsPort, host: '127.0.0.1', localAddress: '127.0.0.3' });
      socket.on('connect', () => (opened++, i % 3 && socket.write('POST /janus HTTP/1.1\r\nHos')));
      socket.on('error', () => {}).on('close', () => closed++);
      return socket;
    });
    await until('the connections', () => opened + closed >= idle.length);
    await until('the refusals', () => closed >= idle.length - 2 * perSource);
    await served();
    const client = await WsClient.open(server);
    assert.equal((await client.request({ janus: 'ping' })).janus, 'pong');
    await client.close();
    idle.forEach((socket) => socket.destroy());
  });

  test('guessed session ids hit nothing, and who guesses loses the right to know one', async () => {
    const owner = await WsClient.open(server);
    const session_id = await owner.createSession();
    const stranger = await WsClient.open(server, { localAddress: '127.0.0.4' });
    const janus = ['keepalive', 'claim', 'attach', 'destroy'];
    for (let i = 0; i < 400; i++) {
      const reply = await stranger.request({ janus: janus[i % 4], session_id: session_id + 1 + i, plugin: 'janus.plugin.echotest' });
      assert.equal(reply.janus, 'error', JSON.stringify(reply));
    }
    assert.equal((await stranger.request({ janus: 'claim', session_id })).janus, 'error');
    assert.equal((await owner.request({ janus: 'keepalive', session_id })).janus, 'ack');
    await Promise.all([owner.close(), stranger.close()]);
  });

  test('guesses from many addresses hit nothing either, and cost the owner nothing', async () => {
    const owner = await WsClient.open(server);
    const session_id = await owner.createSession();
    const sources = await Promise.all(Array.from({ length: 40 }, (_, i) => WsClient.open(server, { localAddress: `127.0.1.${i + 1}` })));
    await Promise.all(sources.map(async (source, number) => {
      for (let i = 0; i < 50; i++) {
        const guess = Math.floor(Math.random() * 2 ** 53);
        const near = session_id + 1 + number * 50 + i;
        const reply = await source.request({ janus: i % 2 ? 'claim' : 'keepalive', session_id: i % 3 ? guess : near });
        assert.equal(reply.error?.code, 458, JSON.stringify(reply));
      }
    }));
    assert.equal((await owner.request({ janus: 'keepalive', session_id })).janus, 'ack');
    await Promise.all([owner, ...sources].map((client) => client.close()));
  });

  test('a flood of WebSocket pings takes no memory and delays nobody for good', async () => {
    const [client, other] = [await WsClient.open(server), await WsClient.open(server)];
    const memoryBefore = memory(server.program.pid);
    let [pongs, last] = [0, ''];
    client.socket.on('pong', (data) => (pongs++, (last = String(data))));
    for (let i = 0; i < 50_000; i++) client.socket.ping(Buffer.alloc(125, i), true);
    client.socket.ping('the last one', true);
    assert.equal((await other.request({ janus: 'ping' })).janus, 'pong');
    await served();
    // Of pings that came together the last one is answered (RFC 6455 §5.5.3).
    await until('the last pong', () => last === 'the last one', { timeoutMs: 20_000 });
    assert.ok(pongs <= 50_001);
    const grown = memory(server.program.pid) - memoryBefore;
    assert.ok(grown < 32 * MiB, `grown by ${grown} KiB`);
    await Promise.all([client.close(), other.close()]);
  });

  test('no admin request is served', async () => {
    for (const janus of ['list_sessions', 'handle_info', 'set_log_level', 'add_token', 'get_status']) {
      const { error } = (await httpRequest(server, { body: { janus, transaction: 'T', admin_secret: 'janusoverlord' } })).body;
      assert.ok(error, janus);
    }
    assert.equal((await httpRequest(server, { path: '/admin', body: { janus: 'list_sessions', transaction: 'T', admin_secret: 'janusoverlord' } })).status, 404);
    await assert.rejects(WsClient.open(server, { protocol: 'janus-admin-protocol' }));
  });
});

describe('who may ask', { skip }, () => {
  test('neither a foreign Origin nor a claimed X-Forwarded-For opens the API', async () => {
    const server = await startServer({ adjust: (config) => {
      config.access = { ...config.access, allow_origin: 'https://good.example', enforce_origin: true, allow: ['127.0.0.1'] };
    } });
    const ask = (headers, localAddress) => httpRequest(server, { body: { janus: 'create', transaction: 'T' }, headers, localAddress });
    const good = { Origin: 'https://good.example' };
    assert.equal((await ask(good)).body.janus, 'success');
    for (const Origin of ['https://evil.example', 'https://good.example.evil', 'http://good.example', 'null', '']) {
      // What a page may send without asking first.
      for (const type of ['text/plain', 'application/json']) {
        const reply = await ask({ Origin, 'Content-Type': type });
        assert.ok(reply.closed || reply.status === 403, `${Origin}: ${reply.status}`);
      }
      await assert.rejects(WsClient.open(server, { headers: { Origin } }), `${Origin} was taken`);
    }
    for (const claim of ['127.0.0.1', '127.0.0.1, 127.0.0.1', '::1']) {
      for (const name of ['X-Forwarded-For', 'Forwarded', 'X-Real-IP']) {
        const reply = await ask({ ...good, [name]: name === 'Forwarded' ? `for=${claim}` : claim }, '127.0.0.2');
        assert.ok(reply.closed || reply.status === 403, `${name} ${claim}: ${reply.status}`);
      }
    }
    await assert.rejects(WsClient.open(server, { localAddress: '127.0.0.2', headers: { ...good, 'X-Forwarded-For': '127.0.0.1' } }));
    await server.stop();
  });
});

describe('what an application can make a SIP message say', { skip }, () => {
  let server;
  before(async () => (server = await startServer({ sipTimerT1x64Ms: 2000 })));
  after(() => server?.stop());

  /** A phone that says 200 to everything and keeps it. */
  async function anyPhone(address = '127.0.0.1') {
    const phone = await udp(address);
    phone.on((message, from) => {
      const text = String(message);
      const header = (name) => text.split('\r\n').filter((line) => line.toLowerCase().startsWith(`${name}:`));
      if (/^(ACK|SIP)/.test(text)) return;
      const sdp = text.startsWith('INVITE') ? `${audioSdp(40_000).join('\r\n')}\r\n` : '';
      const to = header('to').map((line) => (/;tag=/.test(line) ? line : `${line};tag=any`));
      phone.send(['SIP/2.0 200 OK', ...header('via'), ...header('from'), ...to, ...header('call-id'), ...header('cseq'),
        `Contact: <sip:any@${address}:${phone.port}>`, ...(sdp ? ['Content-Type: application/sdp'] : []), `Content-Length: ${sdp.length}`, '', sdp].join('\r\n'), from.port);
    });
    phone.uri = `sip:any@${address}:${phone.port}`;
    return phone;
  }
  async function handle() {
    const client = await WsClient.open(server);
    return client.attach(await client.createSession(), 'janus.plugin.sip');
  }
  const offer = { type: 'offer', sdp: audioOffer };
  const evils = ['\r\nEvil: 1', '\nEvil: 1', '\rEvil: 1', '\r\n\r\nEvil: 1', '%0d%0aEvil: 1'];

  test('a page without an account calls nobody', async () => {
    const phone = await anyPhone();
    const page = await handle();
    for (const request of ['call', 'message', 'subscribe']) {
      await page.message({ request, uri: phone.uri, to: phone.uri, event: 'presence', content: 'x', content_type: 'text/plain' }, request === 'call' ? offer : undefined);
      const refusal = await page.event((event) => event.plugindata?.data?.error_code !== undefined);
      assert.ok(refusal.plugindata.data.error_code >= 440, JSON.stringify(refusal));
    }
    assert.deepEqual(phone.received.map(String), []);
    phone.close();
    await page.client.close();
  });

  test('a page under a policy calls, registers and adds headers only as it is allowed', async () => {
    const [office, elsewhere] = [await anyPhone(), await anyPhone('127.0.0.9')];
    const strict = await startServer({ adjust: (config) => {
      config.sip = { ...config.sip, allowed_targets: ['any@127.0.0.1'], allowed_proxies: ['127.0.0.1'], allowed_headers: ['X-*'] };
    } });
    const client = await WsClient.open(strict);
    const page = await client.attach(await client.createSession(), 'janus.plugin.sip');
    const refused = async (body, what, jsep) => {
      const from = client.messages.length;
      await page.message(body, jsep);
      const { error_code: code, error } = (await client.next((message) => message.plugindata, { from })).plugindata.data;
      assert.deepEqual([code, error], [403, `Forbidden ${what}`]);
    };
    const username = 'sip:guest@127.0.0.1';
    const evil = elsewhere.uri;
    await refused({ request: 'register', type: 'guest', username, outbound_proxy: evil }, `outbound_proxy (${evil})`);
    await refused({ request: 'register', username, secret: 'x', proxy: evil }, `proxy (${evil})`);
    await refused({ request: 'register', username: 'sip:guest@127.0.0.9', secret: 'x' }, 'username (sip:guest@127.0.0.9)');
    await page.message({ request: 'register', type: 'guest', username });
    await page.sip('registered');
    await refused({ request: 'call', uri: evil }, `target (${evil})`, offer);
    await refused({ request: 'message', uri: evil, content: 'x' }, `target (${evil})`);
    const detours = [`${office.uri};maddr=127.0.0.9`, `${office.uri}?Route=%3Csip:127.0.0.9%3E`, office.uri.replace('any@', '1900555@')];
    for (const uri of detours) await refused({ request: 'call', uri }, `target (${uri})`, offer);
    for (const name of ['P-Asserted-Identity', 'Privacy', 'Diversion', 'Remote-Party-ID']) {
      await refused({ request: 'call', uri: office.uri, headers: { [name]: '<sip:ceo@example.com>' } }, `header (${name})`, offer);
    }
    assert.deepEqual([...office.received, ...elsewhere.received].map(String), [], 'something left');
    await page.message({ request: 'call', uri: office.uri, headers: { 'x-good': 'yes' } }, offer);
    await page.sip('accepted');
    assert.match(String(office.received[0]), /^INVITE [^]*\r\nx-good: yes\r\n/);
    await refused({ request: 'transfer', uri: evil }, `target (${evil})`);
    await refused({ request: 'hangup', headers: { Route: evil } }, 'header (Route)');
    await page.message({ request: 'hangup' });
    await page.sip('hangup');
    assert.deepEqual(elsewhere.received.map(String), []);
    await client.close();
    await strict.stop();
    office.close();
    elsewhere.close();
  });

  test('the gate slows a source down and blocks another before the parser, and spares what it is told to', async () => {
    const gated = await startServer({ adjust: (config) => {
      config.sip = { ...config.sip, gate_rate_per_s: 10, gate_burst: 20, gate_allowed: ['127.0.0.4'], gate_blocked: ['127.0.0.8/30'], trunks: ['127.0.0.0/8'] };
    } });
    const ask = async (address) => {
      const socket = await udp(address);
      for (let i = 0; i < 400; i++) {
        const me = `${address}:${socket.port}`;
        const id = randomBytes(8).toString('hex');
        await socket.send([`OPTIONS sip:127.0.0.1:${gated.sipPort} SIP/2.0`, `Via: SIP/2.0/UDP ${me};branch=z9hG4bK${id}`, `From: <sip:x@${me}>;tag=1`,
          `To: <sip:127.0.0.1>`, `Call-ID: ${id}`, 'CSeq: 1 OPTIONS', 'Max-Forwards: 5', 'Content-Length: 0', '', ''].join('\r\n'), gated.sipPort);
        if (i % 20 === 0) await sleep(2);
      }
      return socket;
    };
    const began = Date.now();
    const [slowed, blocked, spared] = [await ask('127.0.0.2'), await ask('127.0.0.9'), await ask('127.0.0.4')];
    await until('all answers to the spared source', () => spared.received.length === 400);
    const allowed = 20 + (10 * (Date.now() - began)) / 1000 + 1;
    assert.ok(slowed.received.length >= 20 && slowed.received.length <= allowed, `${slowed.received.length} answers, ${allowed} are allowed`);
    assert.deepEqual(blocked.received, []);
    [slowed, blocked, spared].forEach((socket) => socket.close());
    await gated.stop();
  });

  test('CR and LF in any member add no line to a SIP message', async () => {
    // NUL does not even pass the JSON reader.
    assert.equal((await httpRequest(server, { body: { janus: 'ping', transaction: 'a\0b' } })).body.error.code, 454);
    const phone = await anyPhone();
    for (const evil of evils) {
      const page = await handle();
      const say = async (body, jsep) => {
        await page.message(body, jsep);
        return page.event((event) => event.plugindata);
      };
      for (const member of ['username', 'display_name', 'authuser', 'proxy', 'outbound_proxy', 'user_agent', 'contact_params']) {
        const other = await handle();
        const username = 'sip:guest@127.0.0.1';
        await other.message({ request: 'register', type: 'guest', username, [member]: `${member === 'username' ? username : 'x'}${evil}`,
          ...(member === 'contact_params' ? { contact_params: { [`a${evil}`]: `b${evil}` } } : {}), headers: { [`X${evil}`]: evil } });
        const reply = await other.event((event) => event.plugindata);
        if (reply.plugindata.data.result?.event === 'registered') {
          await other.message({ request: 'call', uri: phone.uri }, offer);
          await other.event((event) => /accepted|hangup/.test(event.plugindata?.data?.result?.event) || event.plugindata?.data?.error_code);
        }
        await other.client.close();
      }
      await say({ request: 'register', type: 'guest', username: 'sip:guest@127.0.0.1' });
      const refused = await say({ request: 'call', uri: `${phone.uri}${evil}`, call_id: `id${evil}` }, offer);
      assert.ok(refused.plugindata.data.error_code || evil.startsWith('%'), `as a URI: ${JSON.stringify(refused.plugindata.data)}`);
      await page.client.close();

      const caller = await handle();
      await caller.message({ request: 'register', type: 'guest', username: 'sip:guest@127.0.0.1' });
      await caller.sip('registered');
      await caller.message({ request: 'call', uri: phone.uri,
        headers: { 'X-Good': 'yes', 'X-A': `1${evil}`, [`X-B${evil}`]: '2', [`X-C: 1${evil}`]: '3' } }, offer);
      const reply = await caller.event((event) => event.plugindata?.data?.error_code || event.plugindata?.data?.result?.event === 'accepted');
      if (!reply.plugindata.data.error_code) {
        for (const body of [
          { request: 'info', type: `text/plain${evil}`, content: 'x' }, { request: 'info', type: 'text/plain', content: 'x', headers: { A: evil } },
          { request: 'message', content_type: `text/plain${evil}`, content: 'x' }, { request: 'dtmf_info', digit: `1${evil}` },
          { request: 'transfer', uri: `${phone.uri}${evil}` }, { request: 'hangup', headers: { [`R${evil}`]: evil } },
        ]) await caller.message(body);
        await caller.sip('hangup');
      }
      await caller.client.close();
    }
    const heads = phone.received.map((message) => String(message).split('\r\n\r\n')[0]);
    assert.ok(heads.some((text) => text.startsWith('INVITE') && /^X-Good: yes$/m.test(text)), 'the phone was called');
    for (const text of heads) assert.doesNotMatch(text, /(^|[\r\n])\s*Evil/i);
    phone.close();
  });
});
