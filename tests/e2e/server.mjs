// The server under test: Bifrons, or Debian's Janus as the reference. Both run from the same .jcfg files.

import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, statSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { parse, stringify } from 'smol-toml';
import { Program, freePort, outputDir, sleep, tcpOpen } from './process.mjs';

export const root = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '../..');

/** The kind of server that the suites run against. */
export const serverKind = process.env.SERVER ?? 'bifrons';

const found = new Map();
function once(key, make) {
  if (!found.has(key)) found.set(key, make());
  return found.get(key);
}

function newestBinary(name) {
  const target = process.env.CARGO_TARGET_DIR ?? path.join(root, 'target');
  return ['debug', 'release']
    .map((profile) => path.join(target, profile, name))
    .filter((file) => existsSync(file))
    .sort((a, b) => statSync(b).mtimeMs - statSync(a).mtimeMs)[0];
}

/** The path of one of our binaries, or undefined. */
export const binary = (name) =>
  once(`binary ${name}`, () => {
    const given = process.env.BIFRONS;
    if (!given) return newestBinary(name);
    const file = name === 'bifrons' ? given : path.join(path.dirname(given), name);
    return existsSync(file) ? file : undefined;
  });

/** Why this kind of server cannot run here; undefined when it can. */
export const missing = (kind = serverKind) =>
  once(`missing ${kind}`, () => {
    if (kind === 'janus') {
      return hasProgram('janus') ? undefined : "Debian's janus is not installed";
    }
    const file = binary('bifrons');
    if (!file) return 'the bifrons binary is not built';
    return undefined;
  });

/** Why these tests cannot run: the server or one of the programs named is missing. */
export function cannotRun(...programs) {
  const absent = programs.filter((program) => !hasProgram(program));
  if (absent.length > 0) return `not installed: ${absent.join(', ')}`;
  if (serverKind === 'janus' && !process.env.E2E_NETNS) return 'janus needs a network namespace for its media';
  return missing() ?? false;
}

export const hasProgram = (name) =>
  once(`program ${name}`, () => {
    const dirs = [...(process.env.PATH ?? '').split(':'), '/usr/sbin', '/sbin'];
    return dirs.some((dir) => dir && existsSync(path.join(dir, name)));
  });

const value = (v) =>
  typeof v === 'boolean' || typeof v === 'number' ? String(v) : JSON.stringify(v);
const section = (name, members) =>
  `${name}: {\n${Object.entries(members)
    .filter(([, v]) => v !== undefined)
    .map(([k, v]) => `  ${k} = ${value(v)}\n`)
    .join('')}}\n`;

/** Writes a Janus configuration folder. */
function writeJcfg(dir, { httpPort, wsPort, options, kind }) {
  const address = kind === 'janus' ? process.env.E2E_ADDRESS : '127.0.0.1';
  const files = {
    'janus.jcfg':
      section('general', {
        debug_level: 5,
        debug_colors: false,
        debug_timestamps: true,
        server_name: 'e2e',
        session_timeout: options.sessionTimeoutS ?? 60,
        reclaim_session_timeout: options.reclaimTimeoutS ?? 0,
        api_secret: options.apiSecret,
        token_auth: options.tokenAuth,
        token_auth_secret: options.tokenAuthSecret,
        interface: address,
      }) +
      section('media', { rtp_port_range: options.rtpPortRange, no_media_timer: 1 }) +
      section('nat', { full_trickle: options.fullTrickle, ice_enforce_list: address }) +
      section('plugins', {}) +
      section('events', { broadcast: false }),
    'janus.transport.http.jcfg':
      section('general', {
        json: 'compact', base_path: '/janus', http: true, port: httpPort, ip: '127.0.0.1', https: false,
      }) + section('admin', { admin_http: false }),
    'janus.transport.websockets.jcfg':
      section('general', { json: 'compact', ws: true, ws_port: wsPort, ws_ip: '127.0.0.1', wss: false }) +
      section('admin', { admin_ws: false }),
    'janus.plugin.sip.jcfg': section('general', {
      local_ip: '127.0.0.1',
      sdp_ip: '127.0.0.1',
      keepalive_interval: 0,
      sips_certs_dir: options.sipCertsDir,
      rtp_port_range: '20000-24000',
      sip_timer_t1x64: options.sipTimerT1x64Ms ?? 32000,
    }),
    'janus.plugin.nosip.jcfg': section('general', { local_ip: '127.0.0.1', rtp_port_range: '24000-28000' }),
    'janus.plugin.echotest.jcfg': section('general', {}),
  };
  mkdirSync(dir, { recursive: true });
  for (const [name, text] of Object.entries(files)) writeFileSync(path.join(dir, name), text);
}

/**
 * Starts a server. Options: `kind`, `httpPort` and `wsPort` (else free ones), `sessionTimeoutS`, `reclaimTimeoutS`,
 * `apiSecret`, `tokenAuth`, `tokenAuthSecret`, `fullTrickle`, `rtpPortRange`, `sipTimerT1x64Ms`, `sipCertsDir` (with
 * agent.pem and cafile.pem: SIP over TLS on `sipsPort`),
 * `adjust` (a function that changes the parsed bifrons.toml, for keys that Janus does not have).
 */
export async function startServer(options = {}) {
  const kind = options.kind ?? serverKind;
  const dir = mkdtempSync(path.join(outputDir, `${kind}-`));
  const httpPort = options.httpPort ?? (await freePort());
  const wsPort = options.wsPort ?? (await freePort());
  writeJcfg(dir, { httpPort, wsPort, options, kind });

  let program;
  let sipPort;
  let sipsPort;
  if (kind === 'janus') {
    program = new Program('janus', ['-F', dir, '-C', path.join(dir, 'janus.jcfg'), '-o'], { name: 'janus' });
  } else {
    const config = path.join(dir, 'bifrons.toml');
    const converted = parse(execFileSync(binary('bifrons'), ['convert-config', dir], { encoding: 'utf8' }));
    // Janus' configuration has no SIP port; two servers of one suite must not want the same.
    sipPort = await freePort();
    sipsPort = await freePort();
    for (const listen of converted.sip.listen) {
      listen.address = `127.0.0.1:${listen.transport === 'tls' ? sipsPort : sipPort}`;
    }
    options.adjust?.(converted);
    writeFileSync(config, stringify(converted));
    program = new Program(binary('bifrons'), ['--config', config], { name: 'bifrons' });
  }
  await program.ready(
    'ports open',
    async () => {
      if (program.ended) throw new Error(`ended at start with ${JSON.stringify(program.ended)}`);
      return (await tcpOpen(httpPort)) && (await tcpOpen(wsPort));
    },
    { timeoutMs: 20_000 },
  );
  if (kind === 'janus') await sleep(200);
  return {
    kind,
    program,
    httpPort,
    wsPort,
    sipPort,
    sipsPort,
    http: `http://127.0.0.1:${httpPort}/janus`,
    ws: `ws://127.0.0.1:${wsPort}/`,
    stop: () => program.stop(),
  };
}
