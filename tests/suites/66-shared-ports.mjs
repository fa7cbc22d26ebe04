// Calls of a symmetric trunk on one RTP port: Chromium with the unmodified janus.js and sipp, audio measured both ways.

import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { Browser } from '../e2e/browser.mjs';
import { until } from '../e2e/process.mjs';
import { cannotRun, serverKind, startServer } from '../e2e/server.mjs';
import { RtpPeer } from '../e2e/sip/rtp-peer.mjs';
import { answer, audioSdp, outgoing, recv, recvCode, recvInvite, sipp } from '../e2e/sip/sipp.mjs';

const microphone = [{ type: 'audio', capture: true, recv: true }];
const skip = cannotRun('chromium', 'sipp') || (serverKind === 'janus' && 'Janus has a port pair a call');

let server;
let browser;
before(async () => {
  if (skip) return;
  server = await startServer({
    adjust: (config) => {
      config.media.workers = 1;
      config.sip.trunks = ['127.0.0.1'];
      config.sip.shared_rtp = [
        { name: 'trunk', media: ['127.0.0.0/8'], hops: ['127.0.0.1'], ports_per_worker: 1, rtcp_mux: false },
      ];
    },
  });
  browser = await Browser.start();
});
after(async () => {
  await browser?.stop();
  await server?.stop();
});

let users = 0;

/** A tab with an account of its own, which the trunk may call. */
async function phone() {
  const page = await browser.open(server.ws);
  const handle = await page.attach('janus.plugin.sip');
  const user = `guest${++users}`;
  await page.call('send', handle, { request: 'register', type: 'guest', username: `sip:${user}@127.0.0.1` });
  await page.sip(handle, 'registered');
  return { page, handle, user };
}

const dial = ({ page, handle }, uri) =>
  page.call('offer', handle, { request: 'call', uri }, { tracks: microphone });

async function hangUp({ page, handle }) {
  await page.call('send', handle, { request: 'hangup' });
  await page.sip(handle, 'hangup');
  await page.close();
}

const pageHears = ({ page, handle }) =>
  until('audio at the page', async () => {
    const grown = await page.growth(handle, 700);
    return grown.in.audio?.packets > 20 && grown.in.audio.energy > 0.001;
  }, { timeoutMs: 15_000 });

async function peerHears(media) {
  const { packets, energy } = media;
  await until('audio at the peer', () => media.packets > packets + 50 && media.energy > energy + 1, { timeoutMs: 15_000 });
}

const answered = (sdp) => [recvInvite(), answer(200, 'OK', { sdp, first: true }), recv('ACK')];
const byeFromThem = () => [recv('BYE'), answer(200, 'OK')];

/** A telephone of the trunk with a tone. */
async function telephone() {
  const media = await RtpPeer.open();
  media.tone();
  return media;
}

describe('a symmetric trunk', { skip }, () => {
  test('two calls out and one in have one port and hear each its own', async () => {
    const media = [await telephone(), await telephone(), await telephone()];
    const peers = [];
    const tabs = [];
    for (const { port } of media.slice(0, 2)) {
      const peer = await sipp([answered(audioSdp(port)), byeFromThem()]);
      const tab = await phone();
      await dial(tab, peer.uri());
      await tab.page.sip(tab.handle, 'accepted');
      peers.push(peer);
      tabs.push(tab);
    }
    const called = await phone();
    peers.push(await sipp([outgoing('INVITE', 1, { sdp: audioSdp(media[2].port) }),
      recvCode(200, { optional: [100, 180] }), outgoing('ACK', 1), byeFromThem()],
    { to: `127.0.0.1:${server.sipPort}`, user: called.user }));
    await called.page.sip(called.handle, 'incomingcall');
    await called.page.call('answer', called.handle, { request: 'accept' }, { tracks: microphone });
    await called.page.sip(called.handle, 'accepted');
    tabs.push(called);
    for (const tab of tabs) await pageHears(tab);
    for (const telephone of media) await peerHears(telephone);
    const sources = media.map(({ sources }) => [...sources.keys()]);
    assert.deepEqual(sources, Array(3).fill(sources[0]), 'all come from one port');
    assert.equal(sources[0].length, 1);
    // One ends, the others go on.
    await hangUp(tabs[0]);
    await peers[0].done();
    await peerHears(media[1]);
    await peerHears(media[2]);
    await hangUp(tabs[1]);
    await hangUp(tabs[2]);
    await peers[1].done();
    await peers[2].done();
    media.forEach((telephone) => telephone.close());
  });

  test('an answer with the media address of another call ends the new one, not the other', async () => {
    const media = await telephone();
    const first = await sipp([answered(audioSdp(media.port)), byeFromThem()]);
    const second = await sipp([answered(audioSdp(media.port)), byeFromThem()]);
    const [one, other] = [await phone(), await phone()];
    await dial(one, first.uri());
    await one.page.sip(one.handle, 'accepted');
    await peerHears(media);
    await dial(other, second.uri());
    const end = await other.page.sip(other.handle, 'hangup');
    assert.equal(end.data.result.reason_header_cause, '488');
    assert.match(end.data.result.reason_header, new RegExp(`127\\.0\\.0\\.1:${media.port} is another call's`));
    await second.done();
    await peerHears(media);
    await pageHears(one);
    await hangUp(one);
    await first.done();
    await other.page.close();
    media.close();
  });
});
