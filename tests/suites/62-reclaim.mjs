// A page that loses its WebSocket for five seconds during a call claims its session, and the call goes on.

import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { audioOffer } from '../api-compare/requests.mjs';
import { WsClient } from '../e2e/api.mjs';
import { Browser } from '../e2e/browser.mjs';
import { sleep, until } from '../e2e/process.mjs';
import { relay } from '../e2e/relay.mjs';
import { cannotRun, startServer } from '../e2e/server.mjs';
import { RtpPeer } from '../e2e/sip/rtp-peer.mjs';
import { answer, audioSdp, recv, recvInvite, sipp } from '../e2e/sip/sipp.mjs';

const skip = cannotRun('chromium', 'sipp');

describe('reclaim', { skip }, () => {
  let server;
  let browser;
  before(async () => {
    server = await startServer({ reclaimTimeoutS: 15 });
    browser = await Browser.start();
  });
  after(async () => {
    await browser?.stop();
    await server?.stop();
  });

  test('a call goes on while the page is away, and its end is told afterwards', async () => {
    const media = await RtpPeer.open();
    media.tone();
    const sdp = audioSdp(media.port);
    const peer = await sipp([recvInvite(), answer(180, 'Ringing', { first: true }), answer(200, 'OK', { sdp, first: true }), recv('ACK'),
      recv('BYE'), answer(200, 'OK')]);
    const cable = await relay(server.wsPort);
    const page = await browser.open(cable.url);
    const handle = await page.attach('janus.plugin.sip');
    await page.call('send', handle, { request: 'register', type: 'guest', username: 'sip:page@127.0.0.1' });
    await page.sip(handle, 'registered');
    await page.call('offer', handle, { request: 'call', uri: peer.uri() }, { tracks: [{ type: 'audio', capture: true, recv: true }] });
    await page.sip(handle, 'accepted');
    const hears = () => until('audio at the page', async () => (await page.growth(handle, 700)).in.audio?.packets > 20);
    await hears();

    cable.pull();
    await page.seen('the loss', (entry) => entry.kind === 'janus-error');
    for (let second = 0; second < 5; second++) {
      const { packets } = media;
      assert.ok((await page.growth(handle, 1000)).in.audio.packets > 20, 'media to the page stopped without the WebSocket');
      assert.ok(media.packets > packets + 20, 'media from the page stopped without the WebSocket');
    }
    cable.plug();
    await page.call('reconnect');
    assert.equal(await page.call('isConnected'), true);
    await hears();
    await page.call('send', handle, { request: 'hangup' });
    await page.sip(handle, 'hangup');
    await peer.done();
    media.close();
    await page.close();
  });

  test('events that come meanwhile are delivered in order after the claim', async () => {
    const peer = await sipp([recvInvite(), '<pause milliseconds="2000"/>', answer(180, 'Ringing', { first: true }),
      answer(486, 'Busy Here', { first: true }), recv('ACK')]);
    const first = await WsClient.open(server);
    const handle = await first.attach(await first.createSession(), 'janus.plugin.sip');
    await handle.message({ request: 'register', type: 'guest', username: 'sip:page@127.0.0.1' });
    await handle.sip('registered');
    await handle.message({ request: 'call', uri: peer.uri() }, { type: 'offer', sdp: audioOffer });
    await handle.sip('calling');
    await first.close();
    await peer.done();
    await sleep(300);
    const second = await WsClient.open(server);
    await second.request({ janus: 'claim', session_id: handle.session });
    const names = () => second.messages.map((message) => message.plugindata?.data?.result?.event).filter(Boolean);
    // Janus gives what it queued to nobody: there the claim only has to work.
    if (server.kind !== 'janus') {
      await until('the events', () => names().includes('hangup'));
      assert.deepEqual(names().filter((name) => ['ringing', 'hangup'].includes(name)), ['ringing', 'hangup']);
    }
    const reply = await second.request({ janus: 'keepalive', session_id: handle.session, handle_id: handle.id });
    assert.equal(reply.janus, 'ack');
    await second.close();
  });

  test('a session that nobody claims ends', async () => {
    const brief = await startServer({ reclaimTimeoutS: 3 });
    const client = await WsClient.open(brief);
    const session_id = await client.createSession();
    await client.close();
    await sleep(1000);
    const other = await WsClient.open(brief);
    // A request names it and so keeps it alive once; then nothing does.
    assert.equal((await other.request({ janus: 'keepalive', session_id })).janus, 'ack');
    await sleep(10_000);
    const late = await other.request({ janus: 'keepalive', session_id });
    assert.equal(late.error?.code, 458);
    await other.close();
    await brief.stop();
  });
});
