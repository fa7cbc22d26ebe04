// The requests of the comparison with Debian's janus, as data.
//
//   name     unique; differences.toml and the table name it
//   over     'http', 'ws' or 'both' (the default: two comparisons)
//   given    what exists before: 'nothing', 'session', or 'handle:PLUGIN'
//   first    requests sent before on the same session or handle, with the number of messages each gives
//   send     the JSON request; session_id and handle_id are added as this transport carries them, unless named.
//            The texts '$session' and '$handle' stand for the ids
//   text     sent as it stands instead of `send`
//   method, path, headers   HTTP only; path begins with the base path
//   messages number of messages that answer it, the direct reply included (default 1)
//   shape    compare only which members there are and their types (texts that tell the build apart)
//   unordered the messages may come in any order
//   only     only messages with these values of `janus` count

const T = 'T';
const echotest = 'janus.plugin.echotest';
const sip = 'janus.plugin.sip';
const nosip = 'janus.plugin.nosip';

const sdpHead = ['v=0', 'o=- 4611731400430051336 2 IN IP4 127.0.0.1', 's=-', 't=0 0'];
const iceDtls = (setup) => [
  'a=ice-ufrag:Zt4q', 'a=ice-pwd:Xq2rVrJ8p3mJ0m1u7bq3l0wN', 'a=ice-options:trickle',
  'a=fingerprint:sha-256 6B:8B:F0:65:5F:78:E2:51:3B:AC:6F:F3:3F:46:1B:35:DC:B8:5F:64:1A:24:C2:43:F0:A1:58:D0:A1:2C:19:08',
  `a=setup:${setup}`,
];
const audioLines = [
  'a=mid:0', 'a=extmap:1 urn:ietf:params:rtp-hdrext:ssrc-audio-level', 'a=extmap:4 urn:ietf:params:rtp-hdrext:sdes:mid',
  'a=sendrecv', 'a=msid:stream track-a', 'a=rtcp-mux', 'a=rtpmap:111 opus/48000/2', 'a=rtcp-fb:111 transport-cc',
  'a=fmtp:111 minptime=10;useinbandfec=1', 'a=rtpmap:0 PCMU/8000', 'a=rtpmap:8 PCMA/8000',
  'a=rtpmap:126 telephone-event/8000', 'a=ssrc:1001 cname:cname1',
];
const videoLines = [
  'a=mid:1', 'a=extmap:4 urn:ietf:params:rtp-hdrext:sdes:mid', 'a=sendrecv', 'a=msid:stream track-v', 'a=rtcp-mux',
  'a=rtcp-rsize', 'a=rtpmap:96 VP8/90000', 'a=rtcp-fb:96 goog-remb', 'a=rtcp-fb:96 ccm fir', 'a=rtcp-fb:96 nack',
  'a=rtcp-fb:96 nack pli', 'a=rtpmap:97 rtx/90000', 'a=fmtp:97 apt=96', 'a=ssrc:2001 cname:cname1',
];
const sdp = (...lines) => `${lines.flat().join('\r\n')}\r\n`;

/** What a browser with a microphone offers. */
export const audioOffer = sdp(sdpHead, 'a=group:BUNDLE 0', 'a=msid-semantic: WMS stream',
  'm=audio 9 UDP/TLS/RTP/SAVPF 111 0 8 126', 'c=IN IP4 0.0.0.0', 'a=rtcp:9 IN IP4 0.0.0.0', iceDtls('actpass'), audioLines);
const audioVideoOffer = sdp(sdpHead, 'a=group:BUNDLE 0 1', 'a=msid-semantic: WMS stream',
  'm=audio 9 UDP/TLS/RTP/SAVPF 111 0 8 126', 'c=IN IP4 0.0.0.0', 'a=rtcp:9 IN IP4 0.0.0.0', iceDtls('actpass'), audioLines,
  'm=video 9 UDP/TLS/RTP/SAVPF 96 97', 'c=IN IP4 0.0.0.0', 'a=rtcp:9 IN IP4 0.0.0.0', iceDtls('actpass'), videoLines);
const noIceOffer = sdp(sdpHead, 'm=audio 9 UDP/TLS/RTP/SAVPF 111', 'c=IN IP4 0.0.0.0', 'a=setup:actpass', audioLines.slice(0, 9));
const plainOffer = sdp('v=0', 'o=peer 1 1 IN IP4 127.0.0.1', 's=-', 'c=IN IP4 127.0.0.1', 't=0 0',
  'm=audio 40000 RTP/AVP 0 8 101', 'a=rtpmap:0 PCMU/8000', 'a=rtpmap:8 PCMA/8000', 'a=rtpmap:101 telephone-event/8000',
  'a=fmtp:101 0-15', 'a=sendrecv');
const plainOfferNoAddress = sdp('v=0', 'o=peer 1 1 IN IP4 127.0.0.1', 's=-', 't=0 0', 'm=audio 40000 RTP/AVP 0',
  'a=rtpmap:0 PCMU/8000');

const offer = (text, more = {}) => ({ type: 'offer', sdp: text, ...more });
const candidate = { candidate: 'candidate:1 1 udp 2122260223 127.0.0.1 40404 typ host', sdpMid: '0', sdpMLineIndex: 0 };

const message = (body, more = {}) => ({ janus: 'message', transaction: T, body, ...more });
const onEcho = (name, send, more = {}) => ({ name: `echotest-${name}`, given: `handle:${echotest}`, send, messages: 2, ...more });
const onSip = (name, body, more = {}) =>
  ({ name: `sip-${name}`, given: `handle:${sip}`, over: 'ws', send: message(body), messages: 2, ...more });
const onNosip = (name, body, jsep, more = {}) =>
  ({ name: `nosip-${name}`, given: `handle:${nosip}`, over: 'ws', send: message(body, jsep ? { jsep } : {}), messages: 2, ...more });

// What a plugin still says while its handle closes races with the end of the handle.
const closing = ['success', 'error', 'detached'];

const envelope = [
  { name: 'ping', send: { janus: 'ping', transaction: T } },
  { name: 'ping-upper-case', send: { janus: 'PING', transaction: T } },
  { name: 'info', send: { janus: 'info', transaction: T }, shape: true },
  { name: 'create', send: { janus: 'create', transaction: T } },
  { name: 'create-with-id', send: { janus: 'create', transaction: T, id: 123456789 } },
  { name: 'create-with-id-zero', send: { janus: 'create', transaction: T, id: 0 } },
  { name: 'create-with-id-in-use', given: 'session', send: { janus: 'create', transaction: T, id: '$session', session_id: null } },
  { name: 'create-with-text-id', send: { janus: 'create', transaction: T, id: '5' } },
  { name: 'create-with-negative-id', send: { janus: 'create', transaction: T, id: -5 } },
  { name: 'ping-with-text-id', send: { janus: 'ping', transaction: T, id: 'x' } },
  { name: 'no-transaction', send: { janus: 'ping' } },
  { name: 'number-transaction', send: { janus: 'ping', transaction: 5 } },
  { name: 'null-transaction', send: { janus: 'ping', transaction: null } },
  { name: 'no-verb', send: { transaction: T } },
  { name: 'number-verb', send: { janus: 1, transaction: T } },
  { name: 'empty-verb', send: { janus: '', transaction: T } },
  { name: 'unknown-verb', send: { janus: 'dance', transaction: T } },
  { name: 'attach-without-session', send: { janus: 'attach', transaction: T, plugin: echotest } },
  { name: 'keepalive-without-session', send: { janus: 'keepalive', transaction: T } },
  { name: 'empty-object', send: {} },
  { name: 'not-json', text: 'hello' },
  { name: 'half-json', text: '{"janus":"ping",' },
  { name: 'array', text: '[]' },
  { name: 'array-of-requests', text: '[{"janus":"ping","transaction":"T"}]' },
  { name: 'bare-number', text: '5' },
  { name: 'bare-text', text: '"ping"' },
  { name: 'deeply-nested', text: `{"janus":"ping","transaction":"T","x":${'['.repeat(40)}${']'.repeat(40)}}` },
  { name: 'long-transaction', send: { janus: 'ping', transaction: 'x'.repeat(500) } },
  { name: 'unicode-transaction', send: { janus: 'ping', transaction: 'Grüße-☎' } },
  { name: 'escaped-text', text: '{"janus":"\\u0070ing","transaction":"a\\"b\\\\c\\/d"}' },
  { name: 'unknown-members', send: { janus: 'ping', transaction: T, foo: { bar: [1, 2] } } },
  { name: 'duplicate-member', text: '{"janus":"dance","janus":"ping","transaction":"T"}' },
];

const webSocketFrames = [
  { name: 'two-requests-one-frame', over: 'ws', messages: 2,
    text: '{"janus":"ping","transaction":"T1"}{"janus":"ping","transaction":"T2"}' },
  { name: 'request-with-bad-tail', over: 'ws', text: '{"janus":"ping","transaction":"T1"} nonsense' },
  { name: 'binary-frame', over: 'ws', binary: true, text: '{"janus":"ping","transaction":"T"}' },
  { name: 'trailing-space', over: 'ws', text: '{"janus":"ping","transaction":"T"}  \n' },
];

const httpShapes = [
  { name: 'get-info', method: 'GET', path: '/janus/info', shape: true },
  { name: 'get-ping', method: 'GET', path: '/janus/ping', shape: true },
  { name: 'post-info', method: 'POST', path: '/janus/info', text: '{}' },
  { name: 'get-base', method: 'GET', path: '/janus' },
  { name: 'get-outside', method: 'GET', path: '/other' },
  { name: 'post-outside', method: 'POST', path: '/other', text: '{}' },
  { name: 'options-base', method: 'OPTIONS', path: '/janus',
    headers: { Origin: 'http://example.org', 'Access-Control-Request-Method': 'POST', 'Access-Control-Request-Headers': 'content-type' } },
  { name: 'options-session', method: 'OPTIONS', path: '/janus/123/456' },
  { name: 'base-in-capitals', method: 'POST', path: '/JANUS', text: '{"janus":"ping","transaction":"T"}' },
  { name: 'trailing-slash', method: 'POST', path: '/janus/', text: '{"janus":"ping","transaction":"T"}' },
  { name: 'post-word-session', method: 'POST', path: '/janus/abc', text: '{"janus":"ping","transaction":"T"}' },
  { name: 'post-zero-session', method: 'POST', path: '/janus/0', text: '{"janus":"ping","transaction":"T"}' },
  { name: 'poll-unknown-session', method: 'GET', path: '/janus/987654321' },
  { name: 'poll-three-parts', method: 'GET', path: '/janus/1/2/3' },
  { name: 'get-handle-redirects', given: `handle:${echotest}`, method: 'GET', path: '/janus/$session/$handle' },
  { name: 'conflicting-session', given: 'session', method: 'POST', path: '/janus/$session',
    text: '{"janus":"keepalive","transaction":"T","session_id":77}' },
  { name: 'conflicting-handle', given: `handle:${echotest}`, method: 'POST', path: '/janus/$session/$handle',
    text: '{"janus":"keepalive","transaction":"T","handle_id":77}' },
  { name: 'empty-post', method: 'POST', path: '/janus', text: '' },
  { name: 'origin-header', method: 'POST', path: '/janus', text: '{"janus":"ping","transaction":"T"}', headers: { Origin: 'http://example.org' } },
  { name: 'plain-content-type', method: 'POST', path: '/janus', text: '{"janus":"ping","transaction":"T"}', headers: { 'Content-Type': 'text/plain' } },
].map((request) => ({ ...request, over: 'http' }));

const sessionVerbs = [
  { name: 'keepalive', given: 'session', send: { janus: 'keepalive', transaction: T } },
  { name: 'claim', given: 'session', send: { janus: 'claim', transaction: T } },
  { name: 'destroy', given: 'session', send: { janus: 'destroy', transaction: T } },
  { name: 'attach', given: 'session', send: { janus: 'attach', transaction: T, plugin: echotest } },
  { name: 'attach-opaque', given: 'session', send: { janus: 'attach', transaction: T, plugin: echotest, opaque_id: 'me' } },
  { name: 'attach-unknown-plugin', given: 'session', send: { janus: 'attach', transaction: T, plugin: 'janus.plugin.none' } },
  { name: 'attach-no-plugin', given: 'session', send: { janus: 'attach', transaction: T } },
  { name: 'attach-number-plugin', given: 'session', send: { janus: 'attach', transaction: T, plugin: 3 } },
  { name: 'attach-number-opaque', given: 'session', send: { janus: 'attach', transaction: T, plugin: echotest, opaque_id: 3 } },
  { name: 'attach-text-loop', given: 'session', send: { janus: 'attach', transaction: T, plugin: echotest, loop_index: 'a' } },
  { name: 'session-unknown-verb', given: 'session', send: { janus: 'dance', transaction: T } },
  { name: 'session-ping', given: 'session', send: { janus: 'ping', transaction: T } },
  { name: 'session-info', given: 'session', send: { janus: 'info', transaction: T } },
  { name: 'session-create', given: 'session', send: { janus: 'create', transaction: T } },
  { name: 'message-without-handle', given: 'session', send: message({}) },
  { name: 'trickle-without-handle', given: 'session', send: { janus: 'trickle', transaction: T, candidate } },
  { name: 'hangup-without-handle', given: 'session', send: { janus: 'hangup', transaction: T } },
  { name: 'detach-without-handle', given: 'session', send: { janus: 'detach', transaction: T } },
  { name: 'unknown-session', send: { janus: 'keepalive', transaction: T, session_id: 987654321 } },
  { name: 'negative-session', over: 'ws', send: { janus: 'keepalive', transaction: T, session_id: -1 } },
  { name: 'text-session', over: 'ws', send: { janus: 'keepalive', transaction: T, session_id: 'abc' } },
  { name: 'float-session', over: 'ws', send: { janus: 'keepalive', transaction: T, session_id: 1.5 } },
  { name: 'unknown-handle', given: 'session', send: { janus: 'detach', transaction: T, handle_id: 4242 } },
  { name: 'zero-handle', given: 'session', over: 'ws', send: { janus: 'keepalive', transaction: T, handle_id: 0 } },
  { name: 'handle-without-session', over: 'ws', send: { janus: 'detach', transaction: T, handle_id: 4242 } },
  { name: 'destroyed-session', given: 'session', first: [[{ janus: 'destroy' }, 1]], send: { janus: 'keepalive', transaction: T } },
];

const handleVerbs = [
  { name: 'handle-keepalive', send: { janus: 'keepalive', transaction: T } },
  { name: 'handle-claim', send: { janus: 'claim', transaction: T } },
  { name: 'handle-attach', send: { janus: 'attach', transaction: T, plugin: echotest } },
  { name: 'handle-destroy', send: { janus: 'destroy', transaction: T } },
  { name: 'handle-unknown-verb', send: { janus: 'dance', transaction: T } },
  { name: 'handle-ping', send: { janus: 'ping', transaction: T } },
  { name: 'detach', send: { janus: 'detach', transaction: T }, messages: 2, only: closing },
  { name: 'detached-handle', first: [[{ janus: 'detach' }, 1]], send: { janus: 'hangup', transaction: T } },
  { name: 'hangup-without-call', send: { janus: 'hangup', transaction: T } },
  { name: 'message-no-body', send: { janus: 'message', transaction: T } },
  { name: 'message-text-body', send: message('x') },
  { name: 'message-array-body', send: message([]) },
  { name: 'message-null-body', send: message(null) },
  { name: 'jsep-text', send: message({ audio: true }, { jsep: 'x' }) },
  { name: 'jsep-array', send: message({ audio: true }, { jsep: [] }) },
  { name: 'jsep-empty', send: message({ audio: true }, { jsep: {} }) },
  { name: 'jsep-no-sdp', send: message({ audio: true }, { jsep: { type: 'offer' } }) },
  { name: 'jsep-number-type', send: message({ audio: true }, { jsep: { type: 1, sdp: 'x' } }) },
  { name: 'jsep-number-sdp', send: message({ audio: true }, { jsep: { type: 'offer', sdp: 1 } }) },
  { name: 'jsep-pranswer', send: message({ audio: true }, { jsep: { type: 'pranswer', sdp: audioOffer } }) },
  { name: 'jsep-rollback', send: message({ audio: true }, { jsep: { type: 'rollback', sdp: '' } }) },
  { name: 'jsep-garbage-sdp', send: message({ audio: true }, { jsep: offer('hello') }) },
  { name: 'jsep-empty-sdp', send: message({ audio: true }, { jsep: offer('') }) },
  { name: 'jsep-no-ice', send: message({ audio: true }, { jsep: offer(noIceOffer) }) },
  { name: 'jsep-text-trickle', send: message({ audio: true }, { jsep: offer(audioOffer, { trickle: 'x' }) }) },
  { name: 'jsep-number-e2ee', send: message({ audio: true }, { jsep: offer(audioOffer, { e2ee: 3 }) }) },
  { name: 'jsep-stray-answer', send: message({ audio: true }, { jsep: { type: 'answer', sdp: audioOffer } }) },
  { name: 'trickle', send: { janus: 'trickle', transaction: T, candidate } },
  { name: 'trickle-array', send: { janus: 'trickle', transaction: T, candidates: [candidate, { completed: true }] } },
  { name: 'trickle-completed', send: { janus: 'trickle', transaction: T, candidate: { completed: true } } },
  { name: 'trickle-null', send: { janus: 'trickle', transaction: T, candidate: null } },
  { name: 'trickle-none', send: { janus: 'trickle', transaction: T } },
  { name: 'trickle-both', send: { janus: 'trickle', transaction: T, candidate, candidates: [candidate] } },
  { name: 'trickle-array-wrong', send: { janus: 'trickle', transaction: T, candidates: 'x' } },
].map((request) => ({ given: `handle:${echotest}`, ...request }));

const trickleInCall = [
  ['no-mid', { candidate: candidate.candidate }],
  ['number-mid', { ...candidate, sdpMid: 1 }],
  ['text-index', { ...candidate, sdpMLineIndex: 'x' }],
  ['no-candidate', { sdpMid: '0' }],
  ['number-candidate', { ...candidate, candidate: 5 }],
  ['garbage', { ...candidate, candidate: 'garbage' }],
  ['other-line', { ...candidate, sdpMid: '9', sdpMLineIndex: 9 }],
].map(([name, bad]) => ({
  name: `trickle-in-call-${name}`, given: `handle:${echotest}`, over: 'ws',
  first: [[message({ audio: true }, { jsep: offer(audioOffer) }), 2]],
  send: { janus: 'trickle', transaction: T, candidate: bad },
}));

const echoTest = [
  onEcho('audio', message({ audio: true })),
  onEcho('all', message({ audio: false, video: false, bitrate: 64000 })),
  onEcho('empty', message({})),
  onEcho('unknown-member', message({ dance: 1 })),
  onEcho('text-audio', message({ audio: 'yes' })),
  onEcho('text-video', message({ video: 1 })),
  onEcho('text-bitrate', message({ bitrate: '64000' })),
  onEcho('negative-bitrate', message({ bitrate: -1 })),
  onEcho('substream-3', message({ substream: 3 })),
  onEcho('substream-negative', message({ substream: -1 })),
  onEcho('temporal-3', message({ temporal: 3 })),
  onEcho('fallback', message({ fallback: 100000 })),
  onEcho('number-audiocodec', message({ audio: true, audiocodec: 1 })),
  onEcho('audiocodec-alone', message({ audiocodec: 'opus' })),
  onEcho('offer-audio', message({ audio: true }, { jsep: offer(audioOffer) })),
  onEcho('offer-audio-video', message({ audio: true, video: true }, { jsep: offer(audioVideoOffer) }), { over: 'ws' }),
  onEcho('offer-no-trickle', message({ audio: true }, { jsep: offer(audioOffer, { trickle: false }) }), { over: 'ws' }),
  onEcho('offer-only', message({}, { jsep: offer(audioOffer) }), { over: 'ws' }),
  onEcho('offer-prefers-pcmu', message({ audio: true, audiocodec: 'pcmu' }, { jsep: offer(audioOffer) }), { over: 'ws' }),
  onEcho('offer-again', message({ audio: true, video: true }, { jsep: offer(audioVideoOffer) }), {
    over: 'ws', first: [[message({ audio: true }, { jsep: offer(audioOffer) }), 2]],
  }),
  onEcho('hangup-in-call', { janus: 'hangup', transaction: T }, {
    over: 'ws', first: [[message({ audio: true }, { jsep: offer(audioOffer) }), 2]], messages: 3, unordered: true,
  }),
  onEcho('detach-in-call', { janus: 'detach', transaction: T }, {
    over: 'ws', first: [[message({ audio: true }, { jsep: offer(audioOffer) }), 2]], messages: 2, only: closing,
  }),
];

const user = { username: 'sip:anna@127.0.0.1', secret: 'x' };
const guest = [message({ request: 'register', type: 'guest', username: 'sip:guest@127.0.0.1' }), 2];
const sipPlugin = [
  onSip('no-request', {}),
  onSip('number-request', { request: 1 }),
  onSip('unknown-request', { request: 'dance' }),
  onSip('register-no-username', { request: 'register' }),
  onSip('register-number-username', { request: 'register', username: 1 }),
  onSip('register-no-secret', { request: 'register', username: 'sip:anna@127.0.0.1' }),
  onSip('register-both-secrets', { request: 'register', ...user, ha1_secret: 'y' }),
  onSip('register-bad-username', { request: 'register', ...user, username: 'anna' }),
  onSip('register-sips-username', { request: 'register', ...user, username: 'sips:anna@127.0.0.1' }),
  onSip('register-bad-proxy', { request: 'register', ...user, proxy: 'x' }),
  onSip('register-bad-outbound-proxy', { request: 'register', ...user, outbound_proxy: 'x' }),
  onSip('register-number-proxy', { request: 'register', ...user, proxy: 1 }),
  onSip('register-text-ttl', { request: 'register', ...user, register_ttl: 'x' }),
  onSip('register-udp-and-tcp', { request: 'register', ...user, force_udp: true, force_tcp: true }),
  onSip('register-guest-that-registers', { request: 'register', ...user, type: 'guest', send_register: true }),
  onSip('register-helper-no-master', { request: 'register', type: 'helper', username: 'sip:anna@127.0.0.1' }),
  onSip('register-helper-of-nobody', { request: 'register', type: 'helper', username: 'sip:anna@127.0.0.1', master_id: 4711 }),
  onSip('register-guest', guest[0].body),
  onSip('register-upper-case', { ...guest[0].body, request: 'REGISTER' }),
  onSip('register-no-register', { request: 'register', ...user, send_register: false }),
  onSip('guest-again', guest[0].body, { first: [guest] }),
  onSip('guest-unregister', { request: 'unregister' }, { first: [guest] }),
  onSip('unregister-first', { request: 'unregister' }),
  onSip('call-unregistered', { request: 'call', uri: 'sip:bob@127.0.0.1' }),
  onSip('call-no-uri', { request: 'call' }, { first: [guest] }),
  onSip('call-number-uri', { request: 'call', uri: 1 }, { first: [guest] }),
  onSip('call-bad-uri', { request: 'call', uri: 'bob' }, { first: [guest] }),
  onSip('call-no-jsep', { request: 'call', uri: 'sip:bob@127.0.0.1' }, { first: [guest] }),
  onSip('call-bad-srtp', { request: 'call', uri: 'sip:bob@127.0.0.1', srtp: 'dtls' }, { first: [guest] }),
  onSip('accept-idle', { request: 'accept' }, { first: [guest] }),
  onSip('accept-unregistered', { request: 'accept' }),
  onSip('progress-idle', { request: 'progress' }, { first: [guest] }),
  onSip('update-idle', { request: 'update' }, { first: [guest] }),
  onSip('message-idle', { request: 'message', content: 'hello' }, { first: [guest] }),
  onSip('message-no-content', { request: 'message', uri: 'sip:bob@127.0.0.1' }, { first: [guest] }),
  onSip('info-idle', { request: 'info', type: 'text/plain', content: 'x' }, { first: [guest] }),
  onSip('dtmf-idle', { request: 'dtmf_info', digit: '5' }, { first: [guest] }),
  onSip('recording-idle', { request: 'recording', action: 'start', audio: true }, { first: [guest] }),
  onSip('transfer-idle', { request: 'transfer', uri: 'sip:bob@127.0.0.1' }, { first: [guest] }),
  onSip('keyframe-idle', { request: 'keyframe', user: true }, { first: [guest] }),
  onSip('subscribe-no-event', { request: 'subscribe' }, { first: [guest] }),
  onSip('unsubscribe-unknown', { request: 'unsubscribe', event: 'presence' }, { first: [guest] }),
];

const nosipPlugin = [
  onNosip('no-request', {}),
  onNosip('unknown-request', { request: 'dance' }),
  onNosip('generate-no-jsep', { request: 'generate' }),
  onNosip('generate-number-srtp', { request: 'generate', srtp: 1 }, offer(audioOffer)),
  onNosip('generate-bad-srtp', { request: 'generate', srtp: 'dtls' }, offer(audioOffer)),
  onNosip('generate', { request: 'generate' }, offer(audioOffer)),
  onNosip('generate-video', { request: 'generate' }, offer(audioVideoOffer)),
  onNosip('generate-sdes-mandatory', { request: 'generate', srtp: 'sdes_mandatory' }, offer(audioOffer)),
  onNosip('generate-sdes-optional', { request: 'generate', srtp: 'sdes_optional' }, offer(audioOffer)),
  onNosip('process-no-type', { request: 'process' }),
  onNosip('process-no-sdp', { request: 'process', type: 'offer' }),
  onNosip('process-bad-type', { request: 'process', type: 'pranswer', sdp: plainOffer }),
  onNosip('process-garbage', { request: 'process', type: 'offer', sdp: 'hello' }),
  onNosip('process-no-address', { request: 'process', type: 'offer', sdp: plainOfferNoAddress }),
  onNosip('process', { request: 'process', type: 'offer', sdp: plainOffer }),
  onNosip('process-sdes-mandatory', { request: 'process', type: 'offer', sdp: plainOffer, srtp: 'sdes_mandatory' }),
  onNosip('hangup-idle', { request: 'hangup' }),
];

export const requests = [
  ...envelope, ...webSocketFrames, ...httpShapes, ...sessionVerbs, ...handleVerbs, ...trickleInCall,
  ...echoTest, ...sipPlugin, ...nosipPlugin,
];
