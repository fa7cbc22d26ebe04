// EchoTest in Chromium with the unmodified janus.js: media flows back, over HTTP and over WebSocket.

import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { Browser } from '../e2e/browser.mjs';
import { until } from '../e2e/process.mjs';
import { cannotRun, startServer } from '../e2e/server.mjs';

const plugin = 'janus.plugin.echotest';
const both = [{ type: 'audio', capture: true, recv: true }, { type: 'video', capture: true, recv: true }];
const skip = cannotRun('chromium');

let server;
let browser;
before(async () => {
  if (skip) return;
  server = await startServer();
  browser = await Browser.start();
});
after(async () => {
  await browser?.stop();
  await server?.stop();
});

/** A tab in which an EchoTest with these tracks runs. */
async function started(url, tracks = both, body = { audio: true, video: true }) {
  const page = await browser.open(url);
  const handle = await page.attach(plugin);
  await page.call('offer', handle, body, { tracks });
  await page.seen('webrtcup', (entry) => entry.kind === 'webrtcup');
  return { page, handle };
}

const result = (text) => (entry) => entry.kind === 'event' && entry.data?.result === text;

const audioFlows = (page, handle) =>
  until('audio from the server', async () => {
    const grown = await page.growth(handle, 1000);
    return grown.in.audio?.packets > 30 && grown.in.audio.energy > 0;
  }, { timeoutMs: 20_000 });
const videoFlows = (page, handle) =>
  until('video from the server', async () => {
    const grown = await page.growth(handle, 1000);
    return grown.in.video?.packets > 10 && grown.in.video.framesDecoded > 5;
  }, { timeoutMs: 20_000 });

for (const transport of ['http', 'ws']) {
  describe(`over ${transport}`, { skip }, () => {
    test(`${transport}: audio and video come back`, async () => {
      const { page, handle } = await started(server[transport]);
      await audioFlows(page, handle);
      await videoFlows(page, handle);
      const stats = await page.stats(handle);
      assert.equal(stats.connection, 'connected');
      assert.ok(stats.in.video.framesDecoded > 0);
      assert.equal(stats.in.audio.codec, 'audio/opus');
      // Nothing may be lost on one machine: what we sent half a second ago has come back.
      assert.ok(stats.in.audio.packets > 0.5 * stats.out.audio.packets);
      assert.deepEqual(page.errors, []);
      await page.close();
    });

    test(`${transport}: events come in the documented order`, async () => {
      const { page, handle } = await started(server[transport]);
      await page.seen('audio media event', (e) => e.kind === 'media' && e.media === 'audio' && e.on);
      await page.seen('video media event', (e) => e.kind === 'media' && e.media === 'video' && e.on);
      await page.call('hangup', handle);
      await page.seen('hangup', (e) => e.kind === 'webrtcdown');
      await page.seen('done', result('done'));
      const log = await page.log();
      const at = (what, matches) => {
        const position = log.findIndex(matches);
        assert.notEqual(position, -1, `${what} is missing`);
        return position;
      };
      const answer = at('the answer', (e) => e.jsep === 'answer');
      const up = at('webrtcup', (e) => e.kind === 'webrtcup');
      const media = at('media', (e) => e.kind === 'media');
      const down = at('webrtcdown', (e) => e.kind === 'webrtcdown');
      assert.deepEqual(log[answer].data, { echotest: 'event', result: 'ok' });
      assert.ok(answer < up && up < media && media < down, JSON.stringify(log));
      assert.equal(log.filter((e) => e.kind === 'webrtcup').length, 1);
      await page.close();
    });

    test(`${transport}: a handle negotiates again after a hangup`, async () => {
      const { page, handle } = await started(server[transport]);
      await page.call('hangup', handle);
      const { position } = await page.seen('done', result('done'));
      await page.call('offer', handle, { audio: true, video: true }, { tracks: both });
      await page.seen('webrtcup again', (e) => e.kind === 'webrtcup', { from: position });
      await audioFlows(page, handle);
      await page.call('destroy');
      await page.close();
    });
  });
}

describe('in the call', { skip }, () => {
  for (const media of ['audio', 'video']) {
    test(`${media} stops when muted and comes back`, async () => {
      const { page, handle } = await started(server.ws);
      const flows = media === 'audio' ? audioFlows : videoFlows;
      await flows(page, handle);
      let from = (await page.log()).length;
      await page.call('send', handle, { [media]: false });
      await page.seen('ok', result('ok'), { from });
      await until(`no more ${media}`, async () => (await page.growth(handle, 500)).in[media].packets === 0);
      const other = media === 'audio' ? 'video' : 'audio';
      assert.ok((await page.growth(handle, 1000)).in[other].packets > 5, `${other} goes on`);
      from = (await page.log()).length;
      await page.call('send', handle, { [media]: true });
      await page.seen('ok', result('ok'), { from });
      await flows(page, handle);
      await page.close();
    });
  }

  test('a bitrate cap holds the sender down, and its end lets it up', async () => {
    const { page, handle } = await started(server.ws);
    await videoFlows(page, handle);
    // Chromium's own estimate starts at 300 kbit/s and has to pass the cap first.
    await until('the sender over 300 kbit/s', async () => (await page.stats(handle)).out.video.targetBitrate > 300_000,
      { timeoutMs: 30_000, everyMs: 500 });
    await page.call('send', handle, { bitrate: 128_000 });
    await until('the sender under 128 kbit/s', async () => (await page.stats(handle)).out.video.targetBitrate <= 128_000,
      { timeoutMs: 15_000, everyMs: 250 });
    await videoFlows(page, handle);
    await page.call('send', handle, { bitrate: 0 });
    await until('the sender up again', async () => (await page.stats(handle)).out.video.targetBitrate > 160_000,
      { timeoutMs: 30_000, everyMs: 500 });
    await page.close();
  });

  test('a renegotiation adds video to an audio call', async () => {
    const { page, handle } = await started(server.ws, [both[0]], { audio: true, video: false });
    await audioFlows(page, handle);
    assert.equal((await page.stats(handle)).in.video, undefined);
    const from = (await page.log()).length;
    await page.call('offer', handle, { audio: true, video: true }, { tracks: [{ ...both[1], add: true }] });
    await page.seen('the second answer', (e) => e.jsep === 'answer', { from });
    await videoFlows(page, handle);
    await audioFlows(page, handle);
    await page.close();
  });

  test('an ICE restart changes the credentials and loses no media', async () => {
    const { page, handle } = await started(server.ws);
    await audioFlows(page, handle);
    const ufrag = (sdp) => /a=ice-ufrag:(\S+)/.exec(sdp)[1];
    const fingerprint = (sdp) => /a=fingerprint:(\S+ \S+)/.exec(sdp)[1];
    const before = await page.call('remoteSdp', handle);
    const from = (await page.log()).length;
    await page.call('offer', handle, { audio: true, video: true }, { iceRestart: true });
    await page.seen('the second answer', (e) => e.jsep === 'answer', { from });
    await until('a new ufrag', async () => ufrag(await page.call('remoteSdp', handle)) !== ufrag(before));
    assert.equal(fingerprint(await page.call('remoteSdp', handle)), fingerprint(before));
    await audioFlows(page, handle);
    await videoFlows(page, handle);
    assert.equal((await page.log()).filter((e) => e.kind === 'webrtcdown').length, 0);
    await page.close();
  });

  test('closing the page ends the session', async () => {
    const { page, handle } = await started(server.http);
    const { session } = page;
    await audioFlows(page, handle);
    // janus.js sends a destroy by sendBeacon when the page unloads.
    await page.page.goto('about:blank');
    const { httpRequest } = await import('../e2e/api.mjs');
    await until('the session gone', async () => {
      const reply = await httpRequest(server, {
        path: `/janus/${session}`, body: { janus: 'keepalive', transaction: 'k' },
      });
      return reply.body?.error?.code === 458;
    });
    await page.close();
  });
});
