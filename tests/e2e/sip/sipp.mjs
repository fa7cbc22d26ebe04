// sipp as the other phone. A scenario is a list of steps written with the functions below; it becomes sipp's XML.

import { writeFileSync } from 'node:fs';
import path from 'node:path';
import { Program, freePort, outputDir, sleep } from '../process.mjs';

/** An SDP of one PCMU line with telephone-event, whose media goes to that port. */
export const audioSdp = (port, { direction = 'sendrecv', extra = [], proto = 'RTP/AVP', version = 1, payloads = '0 101' } = {}) =>
  ['v=0', `o=sipp 1 ${version} IN IP4 127.0.0.1`, 's=-', 'c=IN IP4 127.0.0.1', 't=0 0', `m=audio ${port} ${proto} ${payloads}`,
    'a=rtpmap:0 PCMU/8000', 'a=rtpmap:101 telephone-event/8000', 'a=fmtp:101 0-15', 'a=ptime:20', `a=${direction}`, ...extra];

const body = (sdp, text) => {
  if (sdp) return ['Content-Type: application/sdp', 'Content-Length: [len]', '', ...sdp];
  return text ? [`Content-Type: ${text.type}`, 'Content-Length: [len]', '', ...text.lines] : ['Content-Length: 0', ''];
};
const send = (lines, attributes = '') => `<send ${attributes}><![CDATA[\n${lines.join('\n')}\n\n]]></send>`;
const tag = 'sipp-[call_number]-[pid]';
const contact = 'Contact: <sip:sipp@[local_ip]:[local_port];transport=[transport]>';

const actions = (...list) => (list.some(Boolean) ? `<action>${list.filter(Boolean).join('')}</action>` : '');

export const pause = (ms) => `<pause milliseconds="${ms}"/>`;

/** Waits for the INVITE that starts the call and remembers who called whom. */
export const recvInvite = () =>
  `<recv request="INVITE" crlf="true" rrs="true"><action>
     <ereg regexp=".*" search_in="hdr" header="From:" assign_to="remote"/>
     <ereg regexp=".*" search_in="hdr" header="To:" assign_to="local"/>
     <ereg regexp="[0-9]+" search_in="hdr" header="CSeq:" assign_to="cseq"/>
     <ereg regexp="branch=[^;]*" search_in="hdr" header="Via:" assign_to="branch"/>
   </action></recv>`;

/** Waits for a request; `has` is a pattern that its text must match. */
export const recv = (method, { has, optional } = {}) =>
  `<recv request="${method}" crlf="true" ${optional ? 'optional="true"' : ''}>${has
    ? `<action><ereg regexp="${has}" search_in="msg" check_it="true" assign_to="seen"/></action>` : ''}</recv>`;

/**
 * Waits for a response; `has` as above. Responses in `optional` may come before. `target` keeps the URI of its Contact
 * for a request with `target`: what sipp itself takes for it has the display name in it.
 */
export const recvCode = (code, { has, optional = [], target } = {}) =>
  [...optional.map((c) => `<recv response="${c}" optional="true" rrs="true"/>`),
    `<recv response="${code}" rrs="true" auth="${code === 401 || code === 407}">${actions(
      has && `<ereg regexp="${has}" search_in="msg" check_it="true" assign_to="seen"/>`,
      target && '<ereg regexp="sip:[^&gt;]*" search_in="hdr" header="Contact:" check_it="true" assign_to="target"/>')}</recv>`].join('\n');

/** Answers the last request. `first` adds our tag, for answers to the first INVITE. */
export const answer = (code, phrase, { sdp, headers = [], first = false } = {}) =>
  send([`SIP/2.0 ${code} ${phrase}`, '[last_Via:]', '[last_From:]', `[last_To:]${first ? `;tag=${tag}` : ''}`,
    '[last_Call-ID:]', '[last_CSeq:]', '[last_Record-Route:]', contact, ...headers, ...body(sdp)]);

/** Answers the first INVITE finally with a failure and waits for the ACK. */
export const refuse = (code, phrase, headers = []) =>
  [recvInvite(), answer(100, 'Trying', { first: true }), answer(code, phrase, { headers, first: true }), recv('ACK')];

/** A request in a dialog that the other side started; `text` is a body of `{type, lines}`. */
export const request = (method, cseq, { sdp, text, headers = [] } = {}) =>
  send([`${method} [next_url] SIP/2.0`, 'Via: SIP/2.0/[transport] [local_ip]:[local_port];branch=[branch]', '[routes]',
    `From:[$local];tag=${tag}`, 'To:[$remote]', '[last_Call-ID:]', `CSeq: ${cseq} ${method}`, contact,
    'Max-Forwards: 70', ...headers, ...body(sdp, text)], method === 'ACK' ? '' : 'retrans="500"');

/** A request of a call that we start to `-s` at the registrar. */
export const outgoing = (method, cseq, { sdp, headers = [], from = 'peer', inDialog = method !== 'INVITE', branch = '[branch]', target } = {}) =>
  send([`${method} ${inDialog && method !== 'CANCEL' ? (target ? '[$target]' : '[next_url]') : 'sip:[service]@[remote_ip]:[remote_port]'} SIP/2.0`,
    `Via: SIP/2.0/[transport] [local_ip]:[local_port];branch=${branch}`, ...(inDialog && method !== 'CANCEL' ? ['[routes]'] : []),
    `From: "Peer" <sip:${from}@[remote_ip]:[remote_port]>;tag=${tag}`,
    `To: <sip:[service]@[remote_ip]:[remote_port]>${inDialog && method !== 'CANCEL' ? '[peer_tag_param]' : ''}`,
    'Call-ID: [call_id]', `CSeq: ${cseq} ${method}`, contact, 'Max-Forwards: 70', ...headers, ...body(sdp)],
    method === 'ACK' || method === 'CANCEL' ? '' : 'retrans="500"');

const xml = (steps) => {
  const text = steps.flat(3).join('\n');
  const variables = ['remote', 'local', 'cseq', 'branch', 'seen', 'valid', 'target'].filter((name) => text.includes(`assign_to="${name}"`));
  return `<?xml version="1.0" encoding="UTF-8"?>\n<scenario name="test">\n${text}\n` +
    (variables.length ? `<Reference variables="${variables.join(',')}"/>\n` : '') + '</scenario>\n';
};

let scenarios = 0;

/** Starts sipp. `to` (host:port) and `user` make it the caller. `done()` waits for its end and checks it. */
export async function sipp(steps, { to, user, calls = 1, port, args = [] } = {}) {
  port ??= await freePort();
  const file = path.join(outputDir, `sipp-${++scenarios}.xml`);
  const messages = path.join(outputDir, `sipp-${scenarios}-messages.txt`);
  writeFileSync(file, xml(steps));
  const program = new Program('sipp', [
    ...(to ? [to] : []), '-sf', file, '-i', '127.0.0.1', '-p', String(port), '-m', String(calls), '-nostdin',
    '-trace_msg', '-message_file', messages, '-trace_err', '-error_file', `${messages}.errors`,
    '-timeout', '60s', '-timeout_error', '-recv_timeout', '30000', ...(user ? ['-s', user] : []), ...args,
  ], { name: 'sipp' });
  await sleep(150);
  return {
    program, port, messages,
    uri: (name = 'echo') => `sip:${name}@127.0.0.1:${port}`,
    async done() {
      const { code } = await program.exit;
      if (code !== 0) throw new Error(`sipp ended with ${code}; its scenario is ${file}\n${program.tail(25)}`);
    },
    stop: () => program.stop({ signal: 'SIGKILL' }),
  };
}
