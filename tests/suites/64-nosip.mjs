// The NoSIP plugin in Chromium: a WebRTC call to plain RTP in both roles, audio measured both ways.

import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { Browser } from '../e2e/browser.mjs';
import { until } from '../e2e/process.mjs';
import { cannotRun, startServer } from '../e2e/server.mjs';
import { RtpPeer } from '../e2e/sip/rtp-peer.mjs';
import { audioSdp } from '../e2e/sip/sipp.mjs';

const skip = cannotRun('chromium');
const microphone = [{ type: 'audio', capture: true, recv: true }];

describe('nosip', { skip }, () => {
  let server;
  let browser;
  before(async () => {
    server = await startServer();
    browser = await Browser.start();
  });
  after(async () => {
    await browser?.stop();
    await server?.stop();
  });

  async function phone() {
    const page = await browser.open(server.ws);
    const handle = await page.attach('janus.plugin.nosip');
    const media = await RtpPeer.open();
    media.tone();
    const plain = `${audioSdp(media.port).join('\r\n')}\r\n`;
    const result = (name) => page.seen(name, (e) => e.kind === 'event' && e.data?.result?.event === name)
      .then((entry) => entry.data.result);
    return { page, handle, media, plain, result };
  }

  async function bothHear({ page, handle, media }) {
    await until('audio at the page', async () => {
      const grown = await page.growth(handle, 700);
      return grown.in.audio?.packets > 20 && grown.in.audio.energy > 0.001;
    }, { timeoutMs: 15_000 });
    await until('audio at the peer', () => media.packets > 50 && media.energy > 1, { timeoutMs: 15_000 });
  }

  async function hangUp({ page, handle, media, result }) {
    await page.call('send', handle, { request: 'hangup' });
    await result('hangingup');
    await page.seen('the end', (e) => e.kind === 'cleanup');
    media.close();
    await page.close();
  }

  test('the browser offers', async () => {
    const call = await phone();
    const { page, handle, plain, result } = call;
    await page.call('offer', handle, { request: 'generate' }, { tracks: microphone });
    const generated = await result('generated');
    assert.equal(generated.type, 'offer');
    assert.match(generated.sdp, /m=audio \d{4,5} RTP\/AVP /);
    assert.doesNotMatch(generated.sdp, /ice-ufrag|fingerprint|candidate/);
    await page.call('send', handle, { request: 'process', type: 'answer', sdp: plain });
    await result('processed');
    await bothHear(call);
    await hangUp(call);
  });

  test('the peer offers', async () => {
    const call = await phone();
    const { page, handle, plain, result } = call;
    await page.call('send', handle, { request: 'process', type: 'offer', sdp: plain });
    await result('processed');
    await page.call('answer', handle, { request: 'generate' }, { tracks: microphone });
    const generated = await result('generated');
    assert.equal(generated.type, 'answer');
    assert.match(generated.sdp, /m=audio \d{4,5} RTP\/AVP .*\b0\b/);
    await bothHear(call);
    await hangUp(call);
  });
});
