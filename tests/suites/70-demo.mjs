// The demo page in Chromium: registers, calls by clicking, hears itself, is called; screenshots are kept.

import assert from 'node:assert/strict';
import { readFileSync, readdirSync } from 'node:fs';
import path from 'node:path';
import { after, before, describe, test } from 'node:test';
import { launch, serve } from '../e2e/browser.mjs';
import { Program, freePort, outputDir, until } from '../e2e/process.mjs';
import { relay } from '../e2e/relay.mjs';
import { binary, cannotRun, root, serverKind, startServer } from '../e2e/server.mjs';
import { secretOf, startKamailio } from '../e2e/sip/kamailio.mjs';
import { answer, audioSdp, outgoing, pause, recv, recvCode, recvInvite, sipp } from '../e2e/sip/sipp.mjs';

const skip = cannotRun('chromium', 'sipp', 'kamailio');
const own = serverKind === 'bifrons';

/**
 * `bifrons demo`: the page, the registrar and the echo phone are its own. `DEMO=ci/demo` starts that in its place, as a
 * newcomer does; else it is the newest binary, so a release build of `ci/demo` where no source has changed since.
 */
async function startDemo(...options) {
  const script = process.env.DEMO;
  const [command, first] = script ? [path.resolve(root, script), []] : [binary('bifrons'), ['demo']];
  const port = await freePort('127.0.0.1');
  let program;
  const start = async () => {
    program = new Program(command, [...first, '--port', String(port), ...options], { name: 'bifrons-demo' });
    // A script may have to build first.
    const timeoutMs = script ? 900_000 : 20_000;
    return program.ready('prints the address of the page', () => /https?:\/\/\S*demo\S*/.exec(program.output())?.[0], { timeoutMs });
  };
  const stop = () => program.stop({ signal: 'SIGINT' });
  return { url: await start(), stop, restart: async () => (await stop(), start()) };
}

/** The same page before another server, with Kamailio as registrar and sipp as echo phone. */
async function startPage() {
  const kamailio = await startKamailio();
  let server = await startServer({ reclaimTimeoutS: 30 });
  const mediaPort = 40_000;
  const sdp = audioSdp('[media_port]');
  const phone = await sipp(
    [recvInvite(), answer(180, 'Ringing', { first: true }), pause(300), answer(200, 'OK', { sdp, first: true }), recv('ACK'),
      recv('INFO', { has: 'Signal=5' }), answer(200, 'OK'),
      recv('INVITE', { has: 'a=sendonly' }), answer(200, 'OK', { sdp: audioSdp('[media_port]', { direction: 'recvonly', version: 2 }) }), recv('ACK'),
      recv('INVITE'), answer(200, 'OK', { sdp: audioSdp('[media_port]', { version: 3 }) }), recv('ACK'),
      recv('BYE'), answer(200, 'OK')],
    { calls: 100, args: ['-rtp_echo', '-mp', String(mediaPort)] });
  const web = path.join(root, 'control/server/web');
  const config = {
    http: server.http, ws: server.ws,
    sip: {
      registrar: kamailio.proxy, accounts: [{ user: 'demo', secret: secretOf('demo'), display: 'Demo' }],
      echo: phone.uri('echo'), callback: phone.uri('callback'),
    },
  };
  const files = await serve({ '/demo/config.json': () => ['application/json', JSON.stringify(config)] }, web);
  return {
    url: files.url, kamailio,
    async restart() {
      await server.stop();
      server = await startServer({ httpPort: server.httpPort, wsPort: server.wsPort, reclaimTimeoutS: 30 });
    },
    async stop() {
      await phone.stop();
      await files.close();
      await server.stop();
      await kamailio.stop();
    },
  };
}

/** A tab with the page. `ws` is where its WebSocket goes in place of what the demo says. */
async function openPage(browser, url, { query = '', ws, ...context } = {}) {
  const tab = await browser.newContext({ permissions: ['microphone', 'camera'], viewport: { width: 1100, height: 900 }, ...context });
  const page = await tab.newPage();
  page.errors = [];
  page.on('pageerror', (error) => page.errors.push(error.message));
  page.on('console', (message) => message.type() === 'error' && page.errors.push(message.text()));
  if (ws) {
    await page.route('**/config.json', async (route) => {
      const config = await (await route.fetch()).json();
      await route.fulfill({ json: { ...config, ws } });
    });
  }
  await page.goto(url + query);
  page.id = (id) => page.getByTestId(id);
  page.text = (id) => page.id(id).innerText();
  page.state = (id, state, timeoutMs = 15_000) =>
    until(`${id} to be ${state}`, async () => {
      const is = await page.id(id).getAttribute('data-state');
      if (is === state) return true;
      throw new Error(`it is ${is}; the page says: ${await page.text('trouble')}`);
    }, { timeoutMs });
  page.number = async (id, part = 0) => parseFloat((await page.text(id)).split('/')[part]);
  page.shot = (name) => page.screenshot({ path: path.join(outputDir, name), fullPage: true });
  page.done = async () => {
    assert.deepEqual(page.errors, []);
    await tab.close();
  };
  return page;
}

const registered = (page) => page.state('sip-registration', 'on');

/** The page counts packets both ways, more than `least` of each. */
const flows = (page, least) => until('packets both ways', async () =>
  (await page.number('sip-packets', 0)) > least && (await page.number('sip-packets', 1)) > least);

describe('demo page', { skip }, () => {
  const others = sipPrograms();
  let demo;
  let browser;
  before(async () => {
    demo = await (own ? startDemo() : startPage());
    browser = await launch();
  });
  after(async () => {
    await browser?.close();
    await demo?.stop();
  });

  const open = (options) => openPage(browser, demo.url, options);

  test('registers, calls the echo phone by clicking, hears itself', async () => {
    const page = await open();
    await registered(page);
    await page.id('sip-echo').click();
    await page.state('sip-state', 'connected');
    await flows(page, 100);
    assert.match(await page.text('sip-codec'), /PCMU|PCMA|opus/);
    assert.ok((await page.number('sip-loss')) < 5);
    await until('the echo of the beeps', () => page.id('sip-stats').locator('.level i').evaluate((bar) => !bar.style.transform.includes('scaleX(0)')), { timeoutMs: 15_000, everyMs: 100 });
    await until('a few seconds of charts', async () => /0:0[7-9]|0:[1-5]/.test(await page.text('sip-clock')));
    await page.shot('connected-call.png');

    await page.id('sip-keypad').click();
    await page.id('sip-key-5').click();
    await until('the digit sent', async () => (await page.id('log').innerText().catch(() => '')).includes('dtmfsent')
      || (await page.id('log').textContent()).includes('dtmfsent'));
    await page.id('sip-hold').click();
    await page.state('sip-state', 'held');
    await page.id('sip-hold').click();
    await page.state('sip-state', 'connected');
    await page.id('sip-hangup').click();
    await page.state('sip-state', 'idle');
    assert.equal(await page.text('sip-says'), 'The call is over.');
    await page.done();
  });

  test('is called, and answers by clicking', async () => {
    const page = await open();
    await registered(page);
    let peer;
    if (own) {
      await page.id('sip-callback').click();
    } else {
      peer = await sipp([outgoing('INVITE', 1, { sdp: audioSdp('[media_port]') }), recvCode(200, { optional: [100, 180] }),
        outgoing('ACK', 1), recv('BYE'), answer(200, 'OK')],
        { to: demo.kamailio.address, user: 'demo', args: ['-rtp_echo', '-mp', '41000'] });
    }
    await page.state('sip-state', 'incoming');
    await page.shot('incoming-call.png');
    await page.id('sip-answer').click();
    await page.state('sip-state', 'connected');
    await flows(page, 50);
    await page.id('sip-hangup').click();
    await page.state('sip-state', 'idle');
    await peer?.done();
    await page.done();
  });

  for (const transport of ['ws', 'http']) {
    test(`the echo test shows video over ${transport}`, async () => {
      const page = await open({ query: `?transport=${transport}` });
      await registered(page);
      await page.id('echo-start').click();
      await page.state('echo-state', 'on');
      await until('decoded video', () => page.id('echo-remote').evaluate((video) => video.videoWidth > 0 && video.currentTime > 1));
      await until('packets', async () => (await page.number('echo-packets', 0)) > 100);
      await page.shot(`echo-${transport}.png`);
      await page.id('echo-video').click();
      const stalled = async () => {
        const frames = () => page.id('echo-remote').evaluate((video) => video.getVideoPlaybackQuality().totalVideoFrames);
        const before = await frames();
        await new Promise((done) => setTimeout(done, 700));
        return (await frames()) === before;
      };
      await until('the video to stop', stalled);
      await page.id('echo-stop').click();
      await page.state('echo-state', 'off');
      await page.done();
    });
  }

  test('fits a phone, light and dark, and everything has a name', async () => {
    for (const colorScheme of ['light', 'dark']) {
      const page = await open({ viewport: { width: 360, height: 740 }, deviceScaleFactor: 2, isMobile: true, hasTouch: true, colorScheme });
      await registered(page);
      const { wide, small, nameless } = await page.evaluate(() => ({
        // A page that is too wide for a phone makes innerWidth grow with it; the screen stays.
        wide: document.documentElement.scrollWidth - screen.width,
        small: [...document.querySelectorAll('button')].filter((b) => b.offsetParent && b.offsetHeight < 40).map((b) => b.textContent),
        nameless: [...document.querySelectorAll('button, input, select')]
          .filter((e) => !e.textContent.trim() && !e.labels?.length && !e.getAttribute('aria-label')).map((e) => e.outerHTML),
      }));
      assert.ok(wide <= 0, `the page is ${wide} px too wide`);
      assert.deepEqual(small, []);
      assert.deepEqual(nameless, []);
      await page.shot(`phone-${colorScheme}.png`);
      await page.done();
    }
  });

  test('loses its WebSocket for five seconds in a call, and claims its session', async () => {
    const { ws } = await (await fetch(new URL('/demo/config.json', demo.url))).json();
    const cable = await relay(Number(new URL(ws).port));
    const page = await open({ ws: cable.url });
    await registered(page);
    let peer;
    if (own) {
      await page.id('sip-echo').click();
    } else {
      peer = await sipp([recvInvite(), answer(200, 'OK', { sdp: audioSdp('[media_port]'), first: true }), recv('ACK'), recv('BYE'), answer(200, 'OK')],
        { args: ['-rtp_echo', '-mp', '42000'] });
      await page.id('sip-uri').fill(peer.uri());
      await page.id('sip-call').click();
    }
    await page.state('sip-state', 'connected');
    await flows(page, 50);
    cable.pull();
    await page.state('connection', 'bad');
    for (let second = 0; second < 5; second++) {
      const before = [await page.number('sip-packets', 0), await page.number('sip-packets', 1)];
      await until('media without the WebSocket', async () =>
        (await page.number('sip-packets', 0)) > before[0] + 20 && (await page.number('sip-packets', 1)) > before[1] + 20);
      await new Promise((done) => setTimeout(done, 1000));
    }
    assert.equal(await page.id('connection').getAttribute('data-state'), 'bad');
    cable.plug();
    await page.state('connection', 'on');
    assert.equal(await page.id('sip-state').getAttribute('data-state'), 'connected', 'the call is the same one');
    await page.id('sip-hangup').click();
    await page.state('sip-state', 'idle');
    assert.equal(await page.text('sip-says'), 'The call is over.');
    await peer?.done();
    // What the browser says of refused connections is no error of the page.
    page.errors.length = 0;
    await page.done();
  });

  test('comes back by itself after the gateway was away', async () => {
    const page = await open();
    await registered(page);
    await demo.restart();
    await page.state('connection', 'off', 30_000);
    await page.state('sip-registration', 'on', 30_000);
    assert.equal(await page.id('connection').getAttribute('data-state'), 'on');
    // What the browser says of refused connections is no error of the page.
    page.errors.length = 0;
    await page.done();
  });

  test('says so when a call fails', async () => {
    const page = await open();
    await registered(page);
    await page.id('sip-uri').fill('sip:nobody@127.0.0.1:9');
    await page.id('sip-call').click();
    await page.state('sip-state', 'calling').catch(() => {});
    await until('the reason', async () => /ended: \d{3}|\d{3}/.test(await page.text('sip-says')), { timeoutMs: 40_000 });
    await page.state('sip-state', 'idle');
    await page.done();
  });

  test('Ctrl-C ends everything', { skip: own ? false : 'bifrons demo only' }, async () => {
    const { stop } = demo;
    demo = undefined;
    assert.deepEqual(await stop(), { code: 0, signal: null });
    // The SIP program is a child of the gateway and has to go with it.
    assert.deepEqual(sipPrograms().filter((pid) => !others.includes(pid)), []);
  });
});

const lan = process.env.E2E_ADDRESS;
const noLan = skip || (own ? !lan && 'needs a network namespace with a second address' : 'bifrons demo only');

describe('demo on the LAN', { skip: noLan }, () => {
  let browser;
  let demo;
  before(async () => {
    // The certificate is self-made; a person is asked whether to trust it.
    browser = await launch('--ignore-certificate-errors');
  });
  after(() => browser?.close());
  const start = async (...options) => {
    demo = await startDemo('--lan', '--lan-address', lan, ...options);
    assert.match(demo.url, new RegExp(`^https://${lan.replaceAll('.', '[.]')}:`));
    const page = await openPage(browser, demo.url, { ignoreHTTPSErrors: true });
    await registered(page);
    return page;
  };

  test('registers over HTTPS and WSS, and hears itself', async () => {
    const page = await start();
    assert.match(await page.evaluate(async () => (await (await fetch('/demo/config.json')).json()).ws), /^wss:/);
    await page.id('sip-echo').click();
    await page.state('sip-state', 'connected');
    await flows(page, 100);
    await page.id('sip-hangup').click();
    await page.state('sip-state', 'idle');
    await page.done();
    assert.deepEqual(await demo.stop(), { code: 0, signal: null });
  });

  test('with an account of its own: registers at Kamailio, calls and is called', async () => {
    const kamailio = await startKamailio(lan);
    const page = await start('--account', kamailio.aor('demo'), '--password', secretOf('demo'), '--registrar', kamailio.proxy);
    const echo = ['-rtp_echo', '-mp'];
    const callee = await sipp([recvInvite(), answer(180, 'Ringing', { first: true }), answer(200, 'OK', { sdp: audioSdp('[media_port]'), first: true }),
      recv('ACK'), recv('BYE'), answer(200, 'OK')], { args: [...echo, '43000'] });
    await page.id('sip-uri').fill(callee.uri());
    await page.id('sip-call').click();
    await page.state('sip-state', 'connected');
    await flows(page, 50);
    await page.id('sip-hangup').click();
    await page.state('sip-state', 'idle');
    await callee.done();
    const caller = await sipp([outgoing('INVITE', 1, { sdp: audioSdp('[media_port]') }), recvCode(200, { optional: [100, 180], target: true }),
      outgoing('ACK', 1, { target: true }), recv('BYE'), answer(200, 'OK')], { to: kamailio.address, user: 'demo', args: [...echo, '44000'] });
    await page.state('sip-state', 'incoming');
    await page.id('sip-answer').click();
    await page.state('sip-state', 'connected');
    await flows(page, 50);
    await page.id('sip-hangup').click();
    await page.state('sip-state', 'idle');
    await caller.done();
    await page.done();
    await demo.stop();
    await kamailio.stop();
  });
});

/** The process ids of all bifrons-sip programs that can be seen. */
function sipPrograms() {
  return readdirSync('/proc').filter((pid) => /^\d+$/.test(pid)).filter((pid) => {
    try {
      return readFileSync(`/proc/${pid}/comm`, 'utf8').trim() === 'bifrons-sip';
    } catch {
      return false;
    }
  });
}
