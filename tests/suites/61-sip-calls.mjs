// SIP calls of Chromium with the unmodified janus.js: to and from sipp and baresip, audio measured both ways.

import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { Browser } from '../e2e/browser.mjs';
import { sleep, until } from '../e2e/process.mjs';
import { cannotRun, serverKind, startServer } from '../e2e/server.mjs';
import { startBaresip } from '../e2e/sip/baresip.mjs';
import { secretOf, startKamailio } from '../e2e/sip/kamailio.mjs';
import { RtpPeer } from '../e2e/sip/rtp-peer.mjs';
import { answer, audioSdp, outgoing, pause, recv, recvCode, recvInvite, request, sipp } from '../e2e/sip/sipp.mjs';

const plugin = 'janus.plugin.sip';
const microphone = [{ type: 'audio', capture: true, recv: true }];
const skip = cannotRun('chromium', 'sipp', 'baresip', 'kamailio');

let server;
let browser;
let kamailio;
before(async () => {
  if (skip) return;
  kamailio = await startKamailio();
  server = await startServer();
  browser = await Browser.start();
});
after(async () => {
  await browser?.stop();
  await server?.stop();
  await kamailio?.stop();
});

let users = 0;

/** A tab with an account registered at Kamailio. */
async function phone(transport = 'ws') {
  const page = await browser.open(server[transport]);
  const handle = await page.attach(plugin);
  const user = `page${++users}`;
  await page.call('send', handle, {
    request: 'register', username: kamailio.aor(user), secret: secretOf(user), proxy: kamailio.proxy,
  });
  await page.sip(handle, 'registered');
  return { page, handle, user };
}

const dial = ({ page, handle }, uri, more = {}) =>
  page.call('offer', handle, { request: 'call', uri, ...more }, { tracks: microphone });
const hangUp = async ({ page, handle }) => {
  await page.call('send', handle, { request: 'hangup' });
  return (await page.sip(handle, 'hangup')).data.result;
};
async function takeCall({ page, handle }) {
  await page.sip(handle, 'incomingcall');
  await page.call('answer', handle, { request: 'accept' }, { tracks: microphone });
  await page.sip(handle, 'accepted');
}

/** Chromium hears something: packets come and they are not silence. */
const pageHears = ({ page, handle }) =>
  until('audio at the page', async () => {
    const grown = await page.growth(handle, 700);
    return grown.in.audio?.packets > 20 && grown.in.audio.energy > 0.001;
  }, { timeoutMs: 15_000 });

/** The sipp side hears Chromium's beeps. */
async function peerHears(media) {
  const { packets, energy } = media;
  await until('audio at the peer', () => media.packets > packets + 50 && media.energy > energy + 1, { timeoutMs: 15_000 });
}

const answered = (sdp, code = 180) => [recvInvite(), answer(code, 'Ringing', { first: true }),
  answer(200, 'OK', { sdp, first: true }), recv('ACK')];
const byeFromThem = () => [recv('BYE'), answer(200, 'OK')];

/** A sipp phone whose media is measured; the scenario gets the SDP. */
async function measured(scenario, body, options) {
  const media = await RtpPeer.open();
  media.tone();
  const peer = await sipp(scenario(audioSdp(media.port)), options);
  try {
    await body(peer, media);
    await peer.done();
  } finally {
    media.close();
    await peer.stop();
  }
}

describe('sipp', { skip }, () => {
  for (const transport of ['http', 'ws']) {
    test(`a call to sipp over ${transport}, ended by the page`, () =>
      measured((sdp) => [answered(sdp), byeFromThem()], async (peer, media) => {
        const tab = await phone(transport);
        await dial(tab, peer.uri());
        await tab.page.sip(tab.handle, 'calling');
        await tab.page.sip(tab.handle, 'ringing');
        await tab.page.sip(tab.handle, 'accepted');
        await tab.page.seen('webrtcup', (e) => e.kind === 'webrtcup');
        await pageHears(tab);
        await peerHears(media);
        assert.equal((await tab.page.stats(tab.handle)).in.audio.codec, 'audio/PCMU');
        assert.ok(media.payloadTypes.has(0));
        assert.equal((await hangUp(tab)).code, 200);
        await tab.page.seen('the end', (e) => e.kind === 'webrtcdown' || e.kind === 'cleanup');
        await tab.page.close();
      }));
  }

  test('a call to sipp, ended by sipp', () =>
    measured((sdp) => [answered(sdp), pause(4000), request('BYE', 2), recvCode(200)], async (peer, media) => {
      const tab = await phone();
      await dial(tab, peer.uri());
      await tab.page.sip(tab.handle, 'accepted');
      await pageHears(tab);
      await peerHears(media);
      const end = await tab.page.sip(tab.handle, 'hangup');
      assert.equal(end.data.result.code, 200);
      await tab.page.seen('the end', (e) => e.kind === 'cleanup');
      await tab.page.close();
    }));

  test('a call from sipp, ended by the page', async () => {
    const tab = await phone();
    await measured((sdp) => [outgoing('INVITE', 1, { sdp }), recvCode(200, { optional: [100, 180] }), outgoing('ACK', 1), byeFromThem()],
      async (peer, media) => {
        await takeCall(tab);
        await peerHears(media);
        await pageHears(tab);
        assert.equal((await hangUp(tab)).code, 200);
      }, { to: kamailio.address, user: tab.user });
    await tab.page.close();
  });

  test('early media is heard before the answer', () =>
    measured((sdp) => [recvInvite(), answer(183, 'Session Progress', { sdp, first: true }), pause(5000),
      answer(200, 'OK', { sdp, first: true }), recv('ACK'), byeFromThem()],
      async (peer, media) => {
        const tab = await phone();
        await dial(tab, peer.uri());
        await tab.page.sip(tab.handle, 'progress');
        await peerHears(media);
        await pageHears(tab);
        const early = (await tab.page.log()).every((e) => e.data?.result?.event !== 'accepted');
        assert.ok(early, 'the call was answered before early media was measured');
        await tab.page.sip(tab.handle, 'accepted');
        await pageHears(tab);
        await hangUp(tab);
        await tab.page.close();
      }));

  test('hold silences both ways, unhold brings both back', async () => {
    const media = await RtpPeer.open();
    media.tone();
    const again = (direction, version) => [recv('INVITE'), answer(200, 'OK', { sdp: audioSdp(media.port, { direction, version }) }), recv('ACK')];
    const peer = await sipp([answered(audioSdp(media.port)), again('inactive', 2), again('sendrecv', 3), byeFromThem()]);
    const tab = await phone();
    await dial(tab, peer.uri());
    await tab.page.sip(tab.handle, 'accepted');
    await pageHears(tab);
    await peerHears(media);
    await tab.page.call('send', tab.handle, { request: 'hold', direction: 'inactive' });
    await tab.page.sip(tab.handle, 'holding');
    await until('silence at the page', async () => (await tab.page.growth(tab.handle, 500)).in.audio.packets === 0);
    await until('silence at the peer', async () => {
      const { packets } = media;
      await sleep(500);
      return media.packets === packets;
    });
    const { length } = await tab.page.log();
    await tab.page.call('send', tab.handle, { request: 'unhold' });
    await tab.page.sip(tab.handle, 'resuming', { from: length });
    await pageHears(tab);
    await peerHears(media);
    await hangUp(tab);
    await peer.done();
    media.close();
    await tab.page.close();
  });

  test('DTMF of the browser (RFC 4733) reaches the peer', () =>
    measured((sdp) => [answered(sdp), byeFromThem()], async (peer, media) => {
      const tab = await phone();
      await dial(tab, peer.uri());
      await tab.page.sip(tab.handle, 'accepted');
      await peerHears(media);
      await tab.page.call('dtmf', tab.handle, '159#');
      await until('the digits', () => media.events.join('') === '159#');
      await hangUp(tab);
      await tab.page.close();
    }));
});

describe('two pages', { skip }, () => {
  test('call each other through the registrar', async () => {
    const [caller, called] = [await phone(), await phone('http')];
    await dial(caller, kamailio.aor(called.user));
    await takeCall(called);
    await caller.page.sip(caller.handle, 'accepted');
    await pageHears(caller);
    await pageHears(called);
    assert.equal((await hangUp(caller)).code, 200);
    assert.equal((await called.page.sip(called.handle, 'hangup')).data.result.code, 200);
    await caller.page.close();
    await called.page.close();
  });
});

describe('an ICE restart in a SIP call', { skip: skip || (serverKind === 'janus' && 'Janus sends it on as a re-INVITE') }, () => {
  test('is answered by the gateway alone', () =>
    // A re-INVITE would be a message that sipp's scenario does not expect, and fail it.
    measured((sdp) => [answered(sdp), byeFromThem()], async (peer, media) => {
      const tab = await phone();
      await dial(tab, peer.uri());
      await tab.page.sip(tab.handle, 'accepted');
      await pageHears(tab);
      const ufrag = async () => /a=ice-ufrag:(\S+)/.exec(await tab.page.call('remoteSdp', tab.handle))[1];
      const before = await ufrag();
      const from = (await tab.page.log()).length;
      await tab.page.call('offer', tab.handle, { request: 'update' }, { iceRestart: true });
      await tab.page.seen('the second answer', (e) => e.jsep === 'answer', { from });
      await until('new credentials', async () => (await ufrag()) !== before);
      await pageHears(tab);
      await peerHears(media);
      await hangUp(tab);
      await tab.page.close();
    }));
});

describe('baresip', { skip }, () => {
  const heard = (peer) => until('audio at baresip', () => peer.heard() > 0.005, { timeoutMs: 20_000, everyMs: 250 });

  for (const [name, mediaenc, srtp] of [['plain RTP', undefined, undefined], ['SDES optional', 'srtp', 'sdes_optional'],
    ['SDES mandatory', 'srtp-mand', 'sdes_mandatory']]) {
    test(`a call to baresip, ${name}`, async () => {
      const peer = await startBaresip({ mediaenc });
      const tab = await phone();
      await dial(tab, peer.uri, srtp ? { srtp } : {});
      await tab.page.sip(tab.handle, 'accepted');
      await pageHears(tab);
      assert.equal((await hangUp(tab)).code, 200);
      await peer.event('CALL_CLOSED');
      // The recording is complete when the call is over.
      await heard(peer);
      await peer.stop();
      await tab.page.close();
    });
  }

  test('a call from baresip, held by it and ended by it', async () => {
    const tab = await phone();
    const peer = await startBaresip({ user: 'bert', registrar: kamailio, secret: secretOf('bert') });
    peer.command('dial', kamailio.aor(tab.user));
    await takeCall(tab);
    await peer.event('CALL_ESTABLISHED');
    await pageHears(tab);
    peer.command('hold');
    await until('silence on hold', async () => (await tab.page.growth(tab.handle, 500)).in.audio.packets === 0);
    peer.command('resume');
    await pageHears(tab);
    peer.command('hangup');
    assert.equal((await tab.page.sip(tab.handle, 'hangup')).data.result.code, 200);
    await heard(peer);
    await peer.stop();
    await tab.page.close();
  });
});
