// The SIP process dies during 20 calls, and strangers garble the SIP TLS port: no call and no packet is lost.

import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { copyFileSync, mkdirSync, readFileSync, readdirSync } from 'node:fs';
import net from 'node:net';
import path from 'node:path';
import { after, before, describe, test } from 'node:test';
import tls from 'node:tls';
import { Browser } from '../e2e/browser.mjs';
import { outputDir, sleep, tcpOpen, until } from '../e2e/process.mjs';
import { cannotRun, serverKind, startServer } from '../e2e/server.mjs';
import { secretOf, startKamailio } from '../e2e/sip/kamailio.mjs';
import { RtpPeer } from '../e2e/sip/rtp-peer.mjs';
import { answer, audioSdp, outgoing, pause, recv, recvCode, recvInvite, request, sipp } from '../e2e/sip/sipp.mjs';

const skip = cannotRun('chromium', 'sipp', 'kamailio');
// With Janus, which has no such process, the same calls prove the measurement: nothing happens and nothing is lost.
const own = serverKind === 'bifrons';
const callsEach = 10;
const microphone = [{ type: 'audio', capture: true, recv: true }];

/** A folder with the certificate of the SIP TLS port. */
function certificates() {
  const dir = path.join(outputDir, 'sip-tls');
  mkdirSync(dir, { recursive: true });
  const [key, cert, agent] = ['key.pem', 'cert.pem', 'agent.pem'].map((name) => path.join(dir, name));
  execFileSync('openssl', ['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-days', '2',
    '-subj', '/CN=localhost', '-keyout', key, '-out', cert], { stdio: 'pipe' });
  execFileSync('sh', ['-c', 'cat "$1" "$2" > "$3"', 'sh', cert, key, agent]);
  copyFileSync(cert, path.join(dir, 'cafile.pem'));
  return dir;
}

/** The process ids of the children with that name. */
function childrenOf(parent, name) {
  return readdirSync('/proc').filter((pid) => /^\d+$/.test(pid)).filter((pid) => {
    try {
      const stat = readFileSync(`/proc/${pid}/stat`, 'utf8').trimEnd();
      const [, comm, rest] = /^\d+ \((.*)\) (.*)$/.exec(stat);
      return comm === name.slice(0, 15) && Number(rest.split(' ')[1]) === parent;
    } catch {
      return false;
    }
  }).map(Number);
}

describe('faults', { skip }, () => {
  let server;
  let browser;
  let kamailio;
  before(async () => {
    kamailio = await startKamailio();
    server = await startServer({ sipCertsDir: own ? certificates() : undefined });
    browser = await Browser.start();
  });
  after(async () => {
    await browser?.stop();
    await server?.stop();
    await kamailio?.stop();
  });

  async function register(page, user) {
    const handle = await page.attach('janus.plugin.sip');
    await page.call('send', handle, { request: 'register', username: kamailio.aor(user), secret: secretOf(user), proxy: kamailio.proxy });
    await page.sip(handle, 'registered');
    return { handle, user };
  }

  const established = (sdp) => [recvInvite(), answer(180, 'Ringing', { first: true }), answer(200, 'OK', { sdp, first: true }), recv('ACK')];
  const lossAtPage = async (page, phones) => {
    let lost = 0;
    for (const { handle } of phones) lost += (await page.stats(handle)).in.audio.lost;
    return lost;
  };
  /** Every call has media both ways in the next second. */
  async function allFlow(page, media, phones) {
    const before = new Map([...media.sources].map(([port, source]) => [port, source.packets]));
    const grown = await Promise.all(phones.map(({ handle }) => page.growth(handle, 1000)));
    for (const [i, stats] of grown.entries()) assert.ok(stats.in.audio?.packets > 20, `call ${i}: ${JSON.stringify(stats.in.audio)}`);
    const still = [...before].filter(([port, packets]) => media.sources.get(port).packets > packets + 20);
    assert.equal(still.length, phones.length);
  }

  test('bifrons-sip dies by a fault during 20 calls', async () => {
    const media = await RtpPeer.open();
    media.tone();
    const sdp = audioSdp(media.port);
    // Ten calls are ended by the page, ten by the peer.
    const waits = await sipp([established(sdp), recv('BYE'), answer(200, 'OK')], { calls: callsEach });
    const ends = await sipp([established(sdp), pause(25_000), request('BYE', 2), recvCode(200)],
      { calls: callsEach, args: ['-timeout', '120s'] });
    const page = await browser.open(server.ws);
    const phones = [];
    for (let i = 0; i < 2 * callsEach; i++) {
      const phone = await register(page, `fault${i}`);
      await page.call('offer', phone.handle, { request: 'call', uri: (i < callsEach ? waits : ends).uri() }, { tracks: microphone });
      await page.sip(phone.handle, 'accepted');
      phones.push(phone);
    }
    await until('media in every call', async () => {
      await allFlow(page, media, phones);
      return true;
    }, { timeoutMs: 15_000 });
    const [lostHere, lostThere] = [await lossAtPage(page, phones), media.missing()];

    if (own) {
      const [pid] = childrenOf(server.program.pid, 'bifrons-sip');
      assert.ok(pid, 'no bifrons-sip among the children');
      // The end that a corrupted heap has. SIGSEGV would not do: Rust's handler for stack overflows looks whether
      // the address is below a stack, and returns with the default action restored, so that the faulting
      // instruction ends the program at its second try. A signal that was sent has no such instruction.
      process.kill(pid, 'SIGABRT');
      await until('a new bifrons-sip', () => childrenOf(server.program.pid, 'bifrons-sip').some((other) => other !== pid),
        { everyMs: 100 });
    }
    await allFlow(page, media, phones);
    await allFlow(page, media, phones);
    assert.equal(await lossAtPage(page, phones), lostHere, 'packets to the page were lost');
    assert.equal(media.missing(), lostThere, 'packets to the peer were lost');

    for (const { handle } of phones.slice(0, callsEach)) {
      await page.call('send', handle, { request: 'hangup' });
      const end = await page.sip(handle, 'hangup');
      assert.equal(end.data.result.code, 200);
    }
    await waits.done();
    for (const { handle } of phones.slice(callsEach)) {
      const end = await page.sip(handle, 'hangup', { timeoutMs: 40_000 });
      assert.equal(end.data.result.code, 200);
    }
    await ends.done();

    // Each account can be called: the new process has its address again.
    for (const { handle, user } of phones) {
      const caller = await sipp([outgoing('INVITE', 1, { sdp }), recvCode(480, { optional: [100, 180] }), outgoing('ACK', 1, { inDialog: false })],
        { to: kamailio.address, user });
      await page.sip(handle, 'incomingcall');
      await page.call('send', handle, { request: 'decline', code: 480 });
      await caller.done();
    }
    media.close();
    await page.close();
  });

  test('100 connections are opened, garbled and closed on the SIP TLS port during a call',
    { skip: own ? false : 'only bifrons listens for SIP over TLS here' }, async () => {
      const media = await RtpPeer.open();
      media.tone();
      const peer = await sipp([established(audioSdp(media.port)), recv('BYE'), answer(200, 'OK')]);
      const page = await browser.open(server.ws);
      const phone = await register(page, 'garbled');
      await page.call('offer', phone.handle, { request: 'call', uri: peer.uri() }, { tracks: microphone });
      await page.sip(phone.handle, 'accepted');
      await until('media', async () => (await allFlow(page, media, [phone]), true), { timeoutMs: 15_000 });
      const [lostHere, lostThere] = [await lossAtPage(page, [phone]), media.missing()];
      const { sipsPort } = server;
      const [before] = childrenOf(server.program.pid, 'bifrons-sip');
      assert.ok(await tcpOpen(sipsPort), 'nothing listens on the SIP TLS port');

      const garbage = (i) => Buffer.from(Array.from({ length: 300 }, (_, n) => (n * 31 + i * 7) & 0xff));
      for (let i = 0; i < 100; i++) {
        await new Promise((done) => {
          // A third each: no TLS at all, half a handshake, garbage inside TLS.
          const socket = i % 3 === 0 || i % 3 === 1
            ? net.connect(sipsPort, '127.0.0.1', () => {
                socket.write(i % 3 === 0 ? garbage(i) : Buffer.from([22, 3, 1, 1, 0, 1, 0, 0, 252, 3, 3]));
                setTimeout(() => socket.destroy(), 15);
              })
            : tls.connect({ port: sipsPort, host: '127.0.0.1', rejectUnauthorized: false }, () => {
                socket.write(i % 2 ? garbage(i) : 'INVITE sip:x SIP/2.0\r\nVia: \0\r\nContent-Length: 99999\r\n\r\n');
                setTimeout(() => socket.destroy(), 15);
              });
          socket.on('error', () => {});
          socket.on('close', done);
          setTimeout(done, 1000).unref();
        });
      }
      await allFlow(page, media, [phone]);
      assert.equal(await lossAtPage(page, [phone]), lostHere);
      assert.equal(media.missing(), lostThere);
      assert.deepEqual(childrenOf(server.program.pid, 'bifrons-sip'), [before], 'the SIP process died of it');
      // The port still takes a proper connection.
      await new Promise((resolve, reject) => {
        const socket = tls.connect({ port: sipsPort, host: '127.0.0.1', rejectUnauthorized: false }, () => {
          socket.destroy();
          resolve();
        });
        socket.on('error', reject);
      });
      await page.call('send', phone.handle, { request: 'hangup' });
      await page.sip(phone.handle, 'hangup');
      await peer.done();
      media.close();
      await sleep(50);
      await page.close();
    });

  test('random bytes on the media port of a call do it no harm', async () => {
    const { createSocket } = await import('node:dgram');
    const media = await RtpPeer.open();
    media.tone();
    const peer = await sipp([established(audioSdp(media.port)), recv('BYE'), answer(200, 'OK')]);
    const page = await browser.open(server.ws);
    const phone = await register(page, 'noisy');
    await page.call('offer', phone.handle, { request: 'call', uri: peer.uri() }, { tracks: microphone });
    await page.sip(phone.handle, 'accepted');
    await until('media', async () => (await allFlow(page, media, [phone]), true), { timeoutMs: 15_000 });
    const [port] = media.sources.keys();
    const webrtc = Number(/a=candidate:\S+ 1 udp \d+ \S+ (\d+)/i.exec(await page.call('remoteSdp', phone.handle))[1]);
    const address = /a=candidate:\S+ 1 udp \d+ (\S+)/i.exec(await page.call('remoteSdp', phone.handle))[1];
    const stranger = createSocket('udp4');
    for (let i = 0; i < 500; i++) {
      const noise = Buffer.from(Array.from({ length: 1 + (i % 200) }, (_, n) => (n * 73 + i * 151 + (i >> 3)) & 0xff));
      stranger.send(noise, port, '127.0.0.1');
      stranger.send(noise, webrtc, address);
      // The same noise from the peer itself, which passes every check of its address.
      media.rtp.send(noise, port, '127.0.0.1');
      if (i % 50 === 0) await sleep(5);
    }
    await allFlow(page, media, [phone]);
    await page.call('send', phone.handle, { request: 'hangup' });
    await page.sip(phone.handle, 'hangup');
    await peer.done();
    stranger.close();
    media.close();
    await page.close();
  });
});
