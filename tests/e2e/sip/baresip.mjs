// baresip as the other phone: it plays a sine, records what it hears, and does what it is told over TCP.

import { mkdirSync, readFileSync, readdirSync, writeFileSync } from 'node:fs';
import net from 'node:net';
import path from 'node:path';
import { Program, atEnd, freePort, outputDir, tcpOpen, until } from '../process.mjs';

let phones = 0;

/** Options: `answer` ('auto' or 'manual'), `mediaenc` ('srtp', 'srtp-mand'), `registrar` (from startKamailio). */
export async function startBaresip({ user = 'baresip', answer = 'auto', mediaenc, registrar, secret } = {}) {
  const dir = path.join(outputDir, `baresip-${++phones}`);
  mkdirSync(dir, { recursive: true });
  // baresip listens for SIP over TLS on the port after that of UDP and TCP.
  const sipPort = await freePort('127.0.0.1', 2);
  let controlPort = await freePort();
  while (controlPort === sipPort + 1) controlPort = await freePort();
  writeFileSync(path.join(dir, 'config'), [
    `sip_listen 127.0.0.1:${sipPort}`, 'audio_source ausine,440', 'audio_player aubridge,nil', 'audio_alert aubridge,nil',
    'audio_channels 1', 'ausrc_srate 48000', 'ausrc_channels 2', 'rtp_ports 30000-31000', 'net_interface 127.0.0.1', 'module_path /usr/lib/baresip/modules',
    ...['g711.so', 'ausine.so', 'aubridge.so', 'sndfile.so', 'srtp.so'].map((name) => `module ${name}`),
    'module_app account.so', 'module_app menu.so', 'module_app ctrl_tcp.so', `ctrl_tcp_listen 127.0.0.1:${controlPort}`,
    `snd_path ${dir}`, 'call_max_calls 4', '',
  ].join('\n'));
  const at = registrar ? registrar.address : `127.0.0.1:${sipPort}`;
  const parameters = [
    `answermode=${answer}`, 'audio_codecs=PCMU', ...(registrar ? [`auth_pass=${secret}`] : ['regint=0']),
    ...(mediaenc ? [`mediaenc=${mediaenc}`] : []),
  ];
  writeFileSync(path.join(dir, 'accounts'), `<sip:${user}@${at}>;${parameters.join(';')}\n`);
  const program = new Program('baresip', ['-f', dir, '-v'], { name: 'baresip' });
  await program.ready('ready', async () => {
    if (program.ended) throw new Error('ended at start');
    return program.output().includes('baresip is ready') && tcpOpen(controlPort);
  });

  if (registrar) await program.ready('registered', () => /200 OK .*binding/.test(program.output()));

  const control = net.connect(controlPort, '127.0.0.1');
  const received = [];
  let buffer = '';
  control.on('data', (data) => {
    buffer += data.toString('utf8');
    for (;;) {
      const length = /^(\d+):/.exec(buffer);
      if (!length || buffer.length < length[0].length + Number(length[1]) + 1) return;
      received.push(JSON.parse(buffer.slice(length[0].length, length[0].length + Number(length[1]))));
      buffer = buffer.slice(length[0].length + Number(length[1]) + 1);
    }
  });
  control.on('error', () => {});
  control.on('close', atEnd(() => control.destroy()));

  return {
    program, dir, received, uri: `sip:${user}@${registrar ? registrar.address : `127.0.0.1:${sipPort}`}`,
    /** Sends a command such as `dial`, `hangup`, `hold`, `resume`, `accept`. */
    command(command, params = '') {
      const text = JSON.stringify({ command, params, token: command });
      control.write(`${text.length}:${text},`);
    },
    /** Waits for an event such as CALL_ESTABLISHED. */
    event: (type, from = 0) =>
      until(`baresip's ${type}`, () => received.slice(from).find((message) => message.event && message.type === type))
        .catch((error) => { throw new Error(`${error.message}\n${program.tail()}`); }),
    /** The root mean square of what it heard so far, full scale = 1. */
    heard: () => loudness(dir),
    async stop() {
      control.destroy();
      return program.stop();
    },
  };
}

/** The loudest of the recordings of decoded audio. */
function loudness(dir) {
  let loudest = 0;
  for (const name of readdirSync(dir).filter((file) => file.endsWith('-dec.wav'))) {
    const samples = readFileSync(path.join(dir, name)).subarray(44);
    let sum = 0;
    const count = Math.floor(samples.length / 2);
    for (let i = 0; i < count; i++) sum += (samples.readInt16LE(2 * i) / 32_768) ** 2;
    if (count > 0) loudest = Math.max(loudest, Math.sqrt(sum / count));
  }
  return loudest;
}
