// Kamailio as registrar and proxy with digest authentication, everything in memory.

import { mkdirSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { Program, freePort, outputDir, sleep } from '../process.mjs';

/** Everybody's password here is their name with this in front. */
export const secretOf = (user) => `secret-${user}`;

const modules = '/usr/lib/x86_64-linux-gnu/kamailio/modules';

const config = (host, port) => `#!KAMAILIO
listen=udp:${host}:${port}
listen=tcp:${host}:${port}
children=1
tcp_children=1
debug=1
log_stderror=yes
auto_aliases=no
mpath="${modules}"
loadmodule "tm.so"
loadmodule "sl.so"
loadmodule "rr.so"
loadmodule "pv.so"
loadmodule "textops.so"
loadmodule "siputils.so"
loadmodule "usrloc.so"
loadmodule "registrar.so"
loadmodule "auth.so"
modparam("usrloc", "db_mode", 0)
modparam("registrar", "max_contacts", 3)
request_route {
  if (is_method("OPTIONS") && uri == myself) { sl_send_reply("200", "OK"); exit; }
  if (has_totag()) {
    if (!loose_route() && !is_method("ACK")) { sl_send_reply("404", "Not here"); exit; }
    t_relay();
    exit;
  }
  if (is_method("CANCEL")) { if (t_check_trans()) t_relay(); exit; }
  if (is_method("ACK")) { exit; }
  t_check_trans();
  $var(secret) = "secret-" + $au;
  if (is_method("REGISTER")) {
    if (!pv_www_authenticate("$fd", "$var(secret)", "0")) { www_challenge("$fd", "1"); exit; }
    save("location");
    exit;
  }
  # Callers named peer stand for another network that this proxy trusts.
  if (!($fU =~ "^peer")) {
    if (!pv_proxy_authenticate("$fd", "$var(secret)", "0")) { proxy_challenge("$fd", "1"); exit; }
    consume_credentials();
  }
  record_route();
  if (uri == myself) {
    if (!lookup("location")) { sl_send_reply("404", "Not found"); exit; }
  }
  t_relay();
}
`;

/** Starts it at an address of this machine. */
export async function startKamailio(host = '127.0.0.1') {
  const port = await freePort(host);
  const dir = path.join(outputDir, `kamailio-${port}`);
  mkdirSync(dir, { recursive: true });
  const file = path.join(dir, 'kamailio.cfg');
  writeFileSync(file, config(host, port));
  const program = new Program('/usr/sbin/kamailio', ['-f', file, '-DD', '-E', '-m', '64', '-M', '8', '-Y', dir, '-w', dir,
    '-P', path.join(dir, 'kamailio.pid')], { name: 'kamailio' });
  await program.ready('answers OPTIONS', () => {
    if (program.ended) throw new Error('ended at start');
    return answers(host, port);
  }, { timeoutMs: 15_000 });
  await sleep(50);
  return {
    program, port, address: `${host}:${port}`, proxy: `sip:${host}:${port}`,
    aor: (user) => `sip:${user}@${host}:${port}`,
    stop: () => program.stop(),
  };
}

async function answers(host, port) {
  const { createSocket } = await import('node:dgram');
  return new Promise((resolve) => {
    const socket = createSocket('udp4');
    const timer = setTimeout(() => (socket.close(), resolve(false)), 200);
    socket.once('message', () => (clearTimeout(timer), socket.close(), resolve(true)));
    socket.bind(0, host, () => {
      const me = `${host}:${socket.address().port}`;
      socket.send([`OPTIONS sip:${host}:${port} SIP/2.0`, `Via: SIP/2.0/UDP ${me};branch=z9hG4bK${process.hrtime.bigint()}`,
        `From: <sip:probe@${me}>;tag=1`, `To: <sip:${host}:${port}>`, `Call-ID: ${process.hrtime.bigint()}`,
        'CSeq: 1 OPTIONS', 'Max-Forwards: 5', 'Content-Length: 0', '', ''].join('\r\n'), port, host, () => {});
    });
  });
}
