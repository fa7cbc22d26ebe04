// What an attacker on this machine has: sockets at other loopback addresses, forged STUN; and what shows its effect.

import { createHmac, randomBytes } from 'node:crypto';
import dgram from 'node:dgram';
import { readFileSync, readdirSync, readlinkSync } from 'node:fs';
import { atEnd } from './process.mjs';

/** Resident memory of a process and its children, KiB. */
export function memory(pid) {
  const resident = (of) => Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${of}/status`, 'utf8'))[1]);
  return resident(pid) + childrenOf(pid).reduce((sum, child) => sum + resident(child), 0);
}

/** The process ids of the children. */
export const childrenOf = (parent) =>
  readdirSync('/proc').filter((pid) => /^\d+$/.test(pid)).filter((pid) => {
    try {
      return Number(/^\d+ \(.*\) \S (\d+)/s.exec(readFileSync(`/proc/${pid}/stat`, 'utf8'))[1]) === parent;
    } catch {
      return false;
    }
  }).map(Number);

/** The UDP ports that a process has. */
export function udpPorts(pid) {
  const fds = readdirSync(`/proc/${pid}/fd`).flatMap((fd) => {
    try {
      return [/^socket:\[(\d+)\]$/.exec(readlinkSync(`/proc/${pid}/fd/${fd}`))?.[1]];
    } catch {
      return [];
    }
  });
  const rows = readFileSync(`/proc/${pid}/net/udp`, 'utf8').trim().split('\n').slice(1).map((row) => row.trim().split(/\s+/));
  return rows.filter((row) => fds.includes(row[9])).map((row) => parseInt(row[1].split(':')[1], 16));
}

/** A UDP socket at that address that keeps what it receives. */
export async function udp(address) {
  const socket = dgram.createSocket('udp4');
  await new Promise((done) => socket.bind(0, address, done));
  socket.on('close', atEnd(() => socket.close()));
  socket.on('error', () => {});
  const received = [];
  socket.on('message', (message) => received.push(message));
  return {
    received,
    port: socket.address().port,
    send: (message, port, to = '127.0.0.1') => new Promise((done) => socket.send(message, port, to, () => done())),
    on: (listener) => socket.on('message', listener),
    close: () => socket.close(),
  };
}

/** Bytes of several messages. */
export const sum = (messages) => messages.reduce((bytes, message) => bytes + message.length, 0);

/** A Binding request; signed where there is a password. */
export function binding({ username, password, more = [] } = {}) {
  const attribute = (type, value) => {
    const head = Buffer.alloc(4);
    head.writeUInt16BE(type);
    head.writeUInt16BE(value.length, 2);
    return Buffer.concat([head, value, Buffer.alloc(-value.length & 3)]);
  };
  const attributes = [...(username ? [attribute(0x0006, Buffer.from(username))] : []),
    attribute(0x0024, Buffer.from([0x6e, 0x7f, 0xff, 0xff])), attribute(0x0025, Buffer.alloc(0)),
    attribute(0x802a, randomBytes(8)), ...more];
  const packet = (signature) => {
    const body = Buffer.concat([...attributes, ...signature]);
    const head = Buffer.from([0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42]);
    head.writeUInt16BE(body.length, 2);
    return [head, body];
  };
  const transaction = randomBytes(12);
  if (password === undefined) {
    const [head, body] = packet([]);
    return Buffer.concat([head, transaction, body]);
  }
  const [head, body] = packet([attribute(0x0008, Buffer.alloc(20))]);
  const signed = Buffer.concat([head, transaction, body]);
  createHmac('sha1', password).update(signed.subarray(0, -24)).digest().copy(signed, signed.length - 20);
  return signed;
}
