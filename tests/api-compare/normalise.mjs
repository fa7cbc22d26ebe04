// Makes two servers' answers comparable: what is random, local or timed becomes a name in angle brackets.

const named = new Map([
  ['unique_id', '<unique id>'],
  ['master_id', '<master id>'],
  ['call_id', '<call id>'],
  ['compile-time', '<compile time>'],
  ['commit-hash', '<commit>'],
]);

/** Normalises a JSON value; `ids` maps the ids of this exchange to their names. */
export function normalise(value, ids = new Map(), key = '') {
  if (Array.isArray(value)) return value.map((item) => normalise(item, ids));
  if (value !== null && typeof value === 'object') {
    return Object.fromEntries(Object.entries(value).map(([k, v]) => [k, normalise(v, ids, k)]));
  }
  if (named.has(key) && value !== null) return named.get(key);
  if (typeof value === 'number' && ids.has(value)) return ids.get(value);
  // Random ids have 53 bits, so a number over 32 bits that nobody sent is one.
  if (typeof value === 'number' && key === 'id') return '<new id>';
  if (typeof value === 'string') {
    if (key === 'sdp' && value.startsWith('v=0')) return normaliseSdp(value);
    let text = value;
    for (const [id, name] of ids) text = text.replaceAll(String(id), name);
    return text;
  }
  return value;
}

/**
 * An SDP as an object of sections, each an object of lines and how often they stand there: so that a difference
 * names one line, and the order of attributes, which means nothing, makes none.
 */
export function normaliseSdp(text) {
  const sections = [];
  for (const line of text.split(/\r?\n/).filter((l) => l !== '')) {
    if (sections.length === 0 || line.startsWith('m=')) sections.push({});
    const section = sections[sections.length - 1];
    const normal = normaliseSdpLine(line);
    section[normal] = (section[normal] ?? 0) + 1;
  }
  // However many local addresses there are, one candidate line stands for all of them.
  for (const section of sections) {
    for (const line of Object.keys(section)) if (line.startsWith('a=candidate:')) section[line] = 1;
  }
  return Object.fromEntries(sections.map((section, i) => [i === 0 ? 'session' : `m${i - 1}`, section]));
}

function normaliseSdpLine(line) {
  const rules = [
    [/^o=\S+ \d+ \d+ IN IP([46]) \S+$/, 'o=<origin> IN IP$1 <address>'],
    [/^s=.*$/, 's=<name>'],
    [/^c=IN IP([46]) \S+$/, 'c=IN IP$1 <address>'],
    [/^(m=\w+) (?!0 |9 )\d+ /, '$1 <port> '],
    [/^a=ice-ufrag:\S+$/, 'a=ice-ufrag:<ufrag>'],
    [/^a=ice-pwd:\S+$/, 'a=ice-pwd:<pwd>'],
    [/^a=fingerprint:(\S+) \S+$/, 'a=fingerprint:$1 <fingerprint>'],
    [/^a=candidate:\S+ (\d) (\S+) \d+ \S+ \d+ typ (\w+).*$/, (_, c, t, type) => `a=candidate:<${c} ${t.toLowerCase()} ${type}>`],
    [/^a=ssrc:\d+ (\w+).*$/, 'a=ssrc:<ssrc> $1'],
    [/^a=ssrc-group:(\w+) .*$/, 'a=ssrc-group:$1'],
    [/^a=msid:\S+( \S+)?$/, 'a=msid:<msid>'],
    [/^a=msid-semantic: ?WMS.*$/, 'a=msid-semantic:<WMS>'],
    [/^a=crypto:(\d+) (\S+) inline:\S+/, 'a=crypto:$1 $2 inline:<key>'],
    [/^a=rtcp:\d+( .*)?$/, 'a=rtcp:<port>'],
  ];
  return rules.reduce((text, [pattern, by]) => text.replace(pattern, by), line.trimEnd());
}

/** Only which members there are, and their types. */
export function shapeOf(value) {
  if (Array.isArray(value)) return 'an array';
  if (value !== null && typeof value === 'object') {
    return Object.fromEntries(Object.entries(value).map(([k, v]) => [k, shapeOf(v)]));
  }
  if (value === null) return 'null';
  return typeof value === 'number' ? (Number.isInteger(value) ? 'an integer' : 'a number') : `a ${typeof value}`;
}
