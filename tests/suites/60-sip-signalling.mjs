// The SIP plugin towards Kamailio and sipp: accounts, calls both ways, their ends, hold, DTMF, headers.

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { after, before, describe, test } from 'node:test';
import { audioOffer } from '../api-compare/requests.mjs';
import { WsClient } from '../e2e/api.mjs';
import { cannotRun, serverKind, startServer } from '../e2e/server.mjs';
import { secretOf, startKamailio } from '../e2e/sip/kamailio.mjs';
import {
  answer, audioSdp, outgoing, pause, recv, recvCode, recvInvite, refuse, request, sipp,
} from '../e2e/sip/sipp.mjs';

const skip = cannotRun('sipp', 'kamailio');
const offer = { type: 'offer', sdp: audioOffer };
const sdp = audioSdp(40_000);
// Debian's janus 1.1.2 differs from the contract (Janus 1.4) in three things that these tests meet.
const old = serverKind === 'janus';

let server;
let kamailio;
before(async () => {
  if (skip) return;
  kamailio = await startKamailio();
  server = await startServer({ sipTimerT1x64Ms: 4000 });
});
after(async () => {
  await server?.stop();
  await kamailio?.stop();
});

let users = 0;

/** A handle with an account registered at Kamailio, and its user name. */
async function account(more = {}) {
  const client = await WsClient.open(server);
  const handle = await client.attach(await client.createSession(), 'janus.plugin.sip');
  const user = `user${++users}`;
  await handle.message({
    request: 'register', username: kamailio.aor(user), secret: secretOf(user), proxy: kamailio.proxy, ...more,
  });
  await handle.sip('registered');
  return { handle, user, client };
}

/** A handle that calls without registering. */
async function guest(more = {}) {
  const client = await WsClient.open(server);
  const handle = await client.attach(await client.createSession(), 'janus.plugin.sip');
  await handle.message({ request: 'register', type: 'guest', username: 'sip:guest@127.0.0.1', ...more });
  await handle.sip('registered');
  return { handle, client };
}

const call = (handle, uri, more = {}) => handle.message({ request: 'call', uri, autoaccept_reinvites: true, ...more }, offer);
const data = (event) => event.plugindata.data;
const hangup = (handle) => handle.sip('hangup').then((event) => data(event).result);

/** An answer to what the peer offered, as a browser would give it. */
const browserAnswer = () => ({
  type: 'answer',
  sdp: audioOffer.replace(/m=audio 9 \S+ .*/, 'm=audio 9 UDP/TLS/RTP/SAVPF 0 101').replace('a=setup:actpass', 'a=setup:active')
    .split('\r\n').filter((line) => !/^a=(rtpmap|fmtp|rtcp-fb|extmap|group|msid)/.test(line)).join('\r\n')
    .replace('a=sendrecv\r\n', 'a=sendrecv\r\na=rtpmap:0 PCMU/8000\r\na=rtpmap:101 telephone-event/8000\r\n'),
});

/** The handle takes the call that comes in. */
async function accept(handle) {
  const event = await handle.sip('incomingcall');
  const reply = browserAnswer();
  const mid = /a=mid:(\S+)/.exec(event.jsep.sdp)?.[1];
  if (mid) reply.sdp = reply.sdp.replace(/a=mid:\S+/, `a=mid:${mid}`);
  await handle.message({ request: 'accept' }, reply);
  await handle.sip('accepted');
  return data(event).result;
}

const caller = (user, steps) => sipp(steps, { to: kamailio.address, user });
const invite = (more) => outgoing('INVITE', 1, { sdp, ...more });
const established = (more) => [invite(more), recvCode(200, { optional: [100, 180, 183] }), outgoing('ACK', 1)];
const answered = (more = {}) => [recvInvite(), answer(180, 'Ringing', { first: true }),
  answer(200, 'OK', { sdp, first: true, ...more }), recv('ACK')];
const byeFromUs = (cseq = 2, headers) => [request('BYE', cseq, { headers }), recvCode(200)];
const byeFromThem = () => [recv('BYE'), answer(200, 'OK')];

describe('accounts', { skip }, () => {
  test('an account registers with digest and unregisters', async () => {
    const { handle, user } = await account();
    await handle.message({ request: 'unregister' });
    const event = await handle.sip('unregistered');
    assert.equal(data(event).result.username, user);
  });

  test('a wrong password is told', async () => {
    const client = await WsClient.open(server);
    const handle = await client.attach(await client.createSession(), 'janus.plugin.sip');
    await handle.message({ request: 'register', username: kamailio.aor('anna'), secret: 'wrong', proxy: kamailio.proxy });
    await handle.sip('registering');
    const { result } = data(await handle.sip('registration_failed'));
    assert.ok(result.code >= 400, JSON.stringify(result));
    // The handle is as new: the right password works.
    await handle.message({ request: 'register', username: kamailio.aor('anna'), secret: secretOf('anna'), proxy: kamailio.proxy });
    await handle.sip('registered');
  });

  test('a registrar sees the right digest', async () => {
    const registrar = await sipp([
      recv('REGISTER'),
      answer(401, 'Unauthorized', { first: true, headers: ['WWW-Authenticate: Digest realm="house", nonce="47ebe028cda119c35d4877b383027d28da013815", algorithm=MD5'] }),
      `<recv request="REGISTER" crlf="true"><action>
         <verifyauth assign_to="valid" username="anna" password="open sesame"/>
       </action></recv>`,
      '<nop next="good" test="valid"/>',
      answer(403, 'Forbidden'),
      '<label id="good"/>',
      answer(200, 'OK', { first: true, headers: ['Expires: 3600'] }),
    ]);
    const client = await WsClient.open(server);
    const handle = await client.attach(await client.createSession(), 'janus.plugin.sip');
    await handle.message({
      request: 'register', username: `sip:anna@127.0.0.1:${registrar.port}`, secret: 'open sesame',
      proxy: `sip:127.0.0.1:${registrar.port}`,
    });
    const { result } = data(await handle.sip('registered'));
    assert.equal(result.username, 'anna');
    assert.equal(result.register_sent, true);
    await registrar.done();
    await client.close();
  });

  test('an account registers over TCP and is called there', async () => {
    const { handle, user } = await account({ proxy: `${kamailio.proxy};transport=tcp`, force_tcp: true });
    const peer = await caller(user, [invite(), recvCode(480, { optional: [100, 180] }), outgoing('ACK', 1, { inDialog: false })]);
    await handle.sip('incomingcall');
    await handle.message({ request: 'decline', code: 480 });
    await hangup(handle);
    await peer.done();
  });

  test('an HA1 in place of the password registers too', async () => {
    const { createHash } = await import('node:crypto');
    const client = await WsClient.open(server);
    const handle = await client.attach(await client.createSession(), 'janus.plugin.sip');
    const ha1_secret = createHash('md5').update(`hanna:127.0.0.1:${secretOf('hanna')}`).digest('hex');
    await handle.message({ request: 'register', username: kamailio.aor('hanna'), ha1_secret, proxy: kamailio.proxy });
    await handle.sip('registered');
  });

  test('two accounts with the same name at two registrars each get their own call', async () => {
    const other = await startKamailio();
    try {
      const handles = [];
      for (const registrar of [kamailio, other]) {
        const client = await WsClient.open(server);
        const handle = await client.attach(await client.createSession(), 'janus.plugin.sip');
        await handle.message({ request: 'register', username: registrar.aor('100'), secret: secretOf('100'), proxy: registrar.proxy });
        await handle.sip('registered');
        handles.push(handle);
      }
      for (const [i, registrar] of [kamailio, other].entries()) {
        const peer = await sipp([invite(), recvCode(480, { optional: [100, 180] }), outgoing('ACK', 1, { inDialog: false })],
          { to: registrar.address, user: '100' });
        const event = await handles[i].sip('incomingcall');
        await handles[i].message({ request: 'decline', code: 480 });
        assert.ok(event);
        await handles[i].sip('hangup');
        await peer.done();
      }
      const strays = handles.map((handle) => handle.client.messages.filter((m) => m.plugindata?.data?.result?.event === 'incomingcall').length);
      assert.deepEqual(strays, [1, 1]);
    } finally {
      await other.stop();
    }
  });
});

describe('outgoing calls', { skip }, () => {
  test('rings, is answered, and the peer ends it', async () => {
    const peer = await sipp([answered(), pause(200), byeFromUs(2, ['Reason: Q.850;cause=16;text="Normal call clearing"'])]);
    const { handle } = await guest();
    await call(handle, peer.uri());
    await handle.sip('calling');
    await handle.sip('ringing');
    const accepted = await handle.sip('accepted');
    assert.equal(accepted.jsep.type, 'answer');
    assert.match(accepted.jsep.sdp, /a=fingerprint:sha-256/);
    const end = await hangup(handle);
    assert.equal(end.code, 200);
    assert.equal(end.reason_header_cause, '16');
    await peer.done();
  });

  test('is ended by us', async () => {
    const peer = await sipp([answered(), byeFromThem()]);
    const { handle } = await guest();
    await call(handle, peer.uri());
    await handle.sip('accepted');
    await handle.message({ request: 'hangup' });
    await handle.sip('hangingup');
    assert.equal((await hangup(handle)).code, 200);
    await peer.done();
  });

  test('goes through a proxy that asks for credentials', async () => {
    const peer = await sipp([answered(), byeFromThem()]);
    const { handle } = await account();
    await call(handle, peer.uri(), {});
    await handle.sip('accepted');
    await handle.message({ request: 'hangup' });
    assert.equal((await hangup(handle)).code, 200);
    await peer.done();
  });

  test('is cancelled while it rings', async () => {
    const peer = await sipp([recvInvite(), answer(180, 'Ringing', { first: true }), recv('CANCEL'), answer(200, 'OK'),
      // The 487 answers the INVITE, whose CSeq is 1 less in method only.
      cancelled(), recv('ACK')]);
    const { handle } = await guest();
    await call(handle, peer.uri());
    await handle.sip('ringing');
    await handle.message({ request: 'hangup' });
    await handle.sip('hangingup');
    assert.equal((await hangup(handle)).code, 487);
    await peer.done();
  });

  for (const [code, phrase] of [[486, 'Busy Here'], [404, 'Not Found'], [480, 'Temporarily Unavailable'],
    [488, 'Not Acceptable Here'], [503, 'Service Unavailable'], [603, 'Decline']]) {
    test(`is refused with ${code}, and the handle can call again`, async () => {
      const peer = await sipp(refuse(code, phrase, ['Reason: Q.850;cause=17;text="User busy"']));
      const { handle } = await guest();
      await call(handle, peer.uri());
      const end = await hangup(handle);
      assert.equal(end.code, code);
      assert.equal(end.reason, phrase);
      assert.equal(end.reason_header_cause, old ? undefined : '17');
      await peer.done();
      await handle.request({ janus: 'hangup' });
      const next = await sipp([answered(), byeFromThem()]);
      await call(handle, next.uri());
      await handle.sip('accepted');
      await handle.message({ request: 'hangup' });
      await next.done();
    });
  }

  test('early media comes with its SDP, once', async () => {
    const peer = await sipp([recvInvite(), answer(183, 'Session Progress', { sdp, first: true }), pause(150),
      answer(183, 'Session Progress', { sdp, first: true }), pause(150), answer(200, 'OK', { sdp, first: true }), recv('ACK'), byeFromThem()]);
    const { handle } = await guest();
    await call(handle, peer.uri());
    const progress = await handle.sip('progress');
    assert.equal(progress.jsep.type, 'answer');
    assert.equal((await handle.sip('progress')).jsep, undefined);
    assert.equal((await handle.sip('accepted')).jsep, undefined);
    await handle.message({ request: 'hangup' });
    await hangup(handle);
    await peer.done();
  });

  test('headers go out, and come in where a prefix asks for them', async () => {
    const peer = await sipp([
      recvInvite(), answer(180, 'Ringing', { first: true, headers: ['X-Queue: 7', 'Y-Other: no'] }),
      answer(200, 'OK', { sdp, first: true }), recv('ACK'), recv('BYE', { has: 'X-Goodbye: yes' }), answer(200, 'OK'),
    ]);
    const { handle } = await guest({ incoming_header_prefixes: ['X-'] });
    await call(handle, peer.uri(), { headers: { 'X-Account': 'gold' } });
    const ringing = data(await handle.sip('ringing')).result;
    assert.deepEqual(ringing.headers, { 'X-Queue': '7' });
    await handle.sip('accepted');
    await handle.message({ request: 'hangup', headers: { 'X-Goodbye': 'yes' } });
    await hangup(handle);
    await peer.done();
    assert.match(readFileSync(peer.messages, 'utf8'), /X-Account: gold/);
  });

  test('DTMF goes out as INFO', async () => {
    const peer = await sipp([answered(), recv('INFO', { has: 'Signal=5' }), answer(200, 'OK'),
      recv('INFO', { has: 'Signal=#' }), answer(200, 'OK'), byeFromThem()]);
    const { handle } = await guest();
    await call(handle, peer.uri());
    await handle.sip('accepted');
    for (const digit of ['5', '#']) {
      await handle.message({ request: 'dtmf_info', digit });
      await handle.sip('dtmfsent');
    }
    await handle.message({ request: 'hangup' });
    await hangup(handle);
    await peer.done();
  });

  test('an INFO of the peer arrives with type and content', async () => {
    const text = { type: 'application/dtmf-relay', lines: ['Signal=7', 'Duration=160'] };
    const peer = await sipp([answered(), pause(100), request('INFO', 2, { text }), recvCode(200), byeFromThem()]);
    const { handle } = await guest();
    await call(handle, peer.uri());
    await handle.sip('accepted');
    const info = data(await handle.sip('info')).result;
    assert.equal(info.type, 'application/dtmf-relay');
    assert.match(info.content, /Signal=7/);
    await handle.message({ request: 'hangup' });
    await hangup(handle);
    await peer.done();
  });

  test('a MESSAGE goes both ways in a call', async () => {
    const peer = await sipp([answered(), recv('MESSAGE', { has: 'good morning' }), answer(200, 'OK'),
      request('MESSAGE', 2, { text: { type: 'text/plain', lines: ['good evening'] } }), recvCode(200), byeFromThem()]);
    const { handle } = await guest();
    await call(handle, peer.uri());
    await handle.sip('accepted');
    await handle.message({ request: 'message', content: 'good morning' });
    await handle.sip('messagesent');
    assert.match(data(await handle.sip('message')).result.content, /good evening/);
    await handle.message({ request: 'hangup' });
    await hangup(handle);
    await peer.done();
  });

  test('hold and unhold are re-INVITEs with a direction', async () => {
    const reInvite = (has, direction) => [recv('INVITE', { has }),
      answer(200, 'OK', { sdp: audioSdp(40_000, { direction, version: 2 }) }), recv('ACK')];
    const peer = await sipp([answered(), reInvite('a=sendonly', 'recvonly'), reInvite('m=audio [1-9]', 'sendrecv'), byeFromThem()]);
    const { handle } = await guest();
    await call(handle, peer.uri());
    await handle.sip('accepted');
    await handle.message({ request: 'hold' });
    await handle.sip('holding');
    await new Promise((done) => setTimeout(done, 400));
    await handle.message({ request: 'unhold' });
    await handle.sip('resuming');
    await new Promise((done) => setTimeout(done, 400));
    await handle.message({ request: 'hangup' });
    await hangup(handle);
    await peer.done();
  });

  test('the peer puts us on hold and takes us back', async () => {
    const reInvite = (cseq, direction, wanted) => [
      request('INVITE', cseq, { sdp: audioSdp(40_000, { direction, version: cseq }) }), recvCode(200, { has: wanted, optional: [100] }),
      request('ACK', cseq)];
    const peer = await sipp([answered(), pause(200), reInvite(2, 'sendonly', 'a=recvonly'), pause(200),
      reInvite(3, 'sendrecv', 'm=audio [1-9]'), pause(100), byeFromUs(4)]);
    const { handle } = await guest();
    await call(handle, peer.uri());
    await handle.sip('accepted');
    assert.equal((await hangup(handle)).code, 200);
    await peer.done();
  });

  test('SDES is offered when it may and must be', async () => {
    for (const [srtp, proto] of [['sdes_optional', 'RTP/AVP'], ['sdes_mandatory', 'RTP/SAVP']]) {
      const key = 'a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:WVNfX19zZW1jdGwgKCkgewkyMjA7fQp9CnVubGVz';
      const crypto = audioSdp(40_000, { proto, extra: [key] });
      const peer = await sipp([recvInvite(), answer(200, 'OK', { sdp: crypto, first: true }), recv('ACK'), byeFromThem()]);
      const { handle } = await guest();
      await call(handle, peer.uri(), { srtp });
      await handle.sip('accepted');
      await handle.message({ request: 'hangup' });
      await hangup(handle);
      await peer.done();
      const sent = readFileSync(peer.messages, 'utf8');
      assert.match(sent, new RegExp(`m=audio \\d+ ${proto.replace('/', '\\/')} `));
      assert.match(sent, /a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:/);
    }
  });

  test('a plain answer where SDES is mandatory ends the call', async () => {
    const peer = await sipp([recvInvite(), answer(200, 'OK', { sdp, first: true }), recv('ACK'), byeFromThem()]);
    const { handle } = await guest();
    await call(handle, peer.uri(), { srtp: 'sdes_mandatory' });
    await hangup(handle);
    await peer.done();
  });

  test('an answer that is garbage ends the call, and the handle can call again', async () => {
    const peer = await sipp([recvInvite(), answer(200, 'OK', { sdp: ['v=0', 'this is no SDP'], first: true }),
      recv('ACK', { optional: true }), byeFromThem()]);
    const { handle } = await guest();
    await call(handle, peer.uri());
    await hangup(handle);
    await peer.stop();
    await handle.request({ janus: 'hangup' });
    const next = await sipp([answered(), byeFromThem()]);
    await call(handle, next.uri());
    await handle.sip('accepted');
    await handle.message({ request: 'hangup' });
    await next.done();
  });

  test('a peer that vanishes in the call leaves the handle idle again', async () => {
    const peer = await sipp([answered()]);
    const { handle } = await guest();
    await call(handle, peer.uri());
    await handle.sip('accepted');
    await peer.done();
    await handle.message({ request: 'hangup' });
    await handle.sip('hangup', { timeoutMs: 40_000 });
    await handle.request({ janus: 'hangup' });
    const next = await sipp([answered(), byeFromThem()]);
    await call(handle, next.uri());
    await handle.sip('accepted');
    await handle.message({ request: 'hangup' });
    await next.done();
  });
});

describe('incoming calls', { skip }, () => {
  test('are taken, and the peer ends them', async () => {
    const { handle, user } = await account();
    const peer = await caller(user, [established({ from: 'peer-anna' }), pause(200), outgoing('BYE', 2), recvCode(200)]);
    const call = await accept(handle);
    assert.match(call.username, /^sip:peer-anna@/);
    assert.equal(call.displayname, '"Peer"');
    assert.ok(call.callee);
    assert.equal((await hangup(handle)).code, 200);
    await peer.done();
  });

  test('are taken, and we end them', async () => {
    const { handle, user } = await account();
    const peer = await caller(user, [established(), byeFromThem()]);
    await accept(handle);
    await handle.message({ request: 'hangup' });
    assert.equal((await hangup(handle)).code, 200);
    await peer.done();
  });

  for (const code of [undefined, 480, 486]) {
    test(`are declined ${code ? `with ${code}` : 'with the default code'}`, async () => {
      const expected = code ?? (old ? 486 : 603);
      const { handle, user } = await account();
      const peer = await caller(user, [invite(), recvCode(expected, { optional: [100, 180] }), outgoing('ACK', 1, { inDialog: false })]);
      await handle.sip('incomingcall');
      await handle.message({ request: 'decline', ...(code && { code }) });
      await handle.sip('declining');
      assert.equal((await hangup(handle)).code, expected);
      await peer.done();
    });
  }

  test('are cancelled by the peer', async () => {
    const { handle, user } = await account();
    const branch = 'z9hG4bK-cancelled-[pid]-[call_number]';
    const peer = await caller(user, [invite({ branch }), recvCode(180, { optional: [100] }), pause(100),
      outgoing('CANCEL', 1, { branch }), recvCode(200), recvCode(487), outgoing('ACK', 1, { inDialog: false, branch })]);
    await handle.sip('incomingcall');
    assert.equal((await hangup(handle)).code, 487);
    await peer.done();
  });

  test('are missed while another call goes on', async () => {
    const { handle, user } = await account();
    const first = await caller(user, [established(), byeFromThem()]);
    await accept(handle);
    const second = await caller(user, [invite({ from: 'peer-late' }), recvCode(486, { optional: [100, 180] }), outgoing('ACK', 1, { inDialog: false })]);
    const missed = data(await handle.sip('missed_call')).result;
    assert.match(missed.caller, /peer-late/);
    await second.done();
    await handle.message({ request: 'hangup' });
    await hangup(handle);
    await first.done();
  });

  test('without an offer get ours', async () => {
    const { handle, user } = await account();
    const peer = await caller(user, [invite({ sdp: undefined }), recvCode(200, { has: 'm=audio', optional: [100, 180] }),
      outgoing('ACK', 1, { sdp }), byeFromThem()]);
    const event = await handle.sip('incomingcall');
    assert.equal(event.jsep, undefined);
    await handle.message({ request: 'accept' }, offer);
    await handle.sip('accepting');
    const accepted = await handle.sip('accepted');
    assert.equal(accepted.jsep.type, 'answer');
    await handle.message({ request: 'hangup' });
    await hangup(handle);
    await peer.done();
  });

  test('with 183 from us first', { skip: old && 'Janus 1.1.2 has no progress request' }, async () => {
    const { handle, user } = await account();
    const peer = await caller(user, [invite(), recvCode(183, { has: 'm=audio', optional: [100, 180] }), recvCode(200), outgoing('ACK', 1), byeFromThem()]);
    const event = await handle.sip('incomingcall');
    const reply = browserAnswer();
    const mid = /a=mid:(\S+)/.exec(event.jsep.sdp)?.[1];
    if (mid) reply.sdp = reply.sdp.replace(/a=mid:\S+/, `a=mid:${mid}`);
    await handle.message({ request: 'progress' }, reply);
    await handle.sip('progressed');
    await handle.message({ request: 'accept' }, reply);
    await handle.sip('accepted');
    await handle.message({ request: 'hangup' });
    await hangup(handle);
    await peer.done();
  });
});

/** The 487 that ends a cancelled INVITE: the last request was the CANCEL, so the CSeq is written out. */
function cancelled() {
  return answer(487, 'Request Terminated').replace('[last_CSeq:]', 'CSeq: [$cseq] INVITE');
}
