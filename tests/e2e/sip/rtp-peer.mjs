// The media of a sipp phone: a UDP port pair that counts and measures what comes and sends a tone.

import dgram from 'node:dgram';
import { atEnd } from '../process.mjs';

const bind = (port) =>
  new Promise((resolve, reject) => {
    const socket = dgram.createSocket('udp4');
    socket.once('error', reject);
    socket.bind(port, '127.0.0.1', () => resolve(socket));
  });

/** PCMU to linear, ITU-T G.711. */
export function decodePcmu(byte) {
  const u = ~byte & 0xff;
  const magnitude = (((u & 0x0f) << 3) + 0x84 << ((u & 0x70) >> 4)) - 0x84;
  return u & 0x80 ? -magnitude : magnitude;
}

/** Linear to PCMU, ITU-T G.711. */
export function encodePcmu(sample) {
  const sign = sample < 0 ? 0x80 : 0;
  const value = Math.min(Math.abs(sample), 32_635) + 0x84;
  let exponent = 7;
  for (let mask = 0x4000; !(value & mask) && exponent > 0; mask >>= 1) exponent -= 1;
  return ~(sign | (exponent << 4) | ((value >> (exponent + 3)) & 0x0f)) & 0xff;
}

export class RtpPeer {
  static async open() {
    for (let attempt = 0; attempt < 50; attempt++) {
      const peer = new RtpPeer();
      peer.rtp = await bind(0);
      peer.port = peer.rtp.address().port;
      const pair = peer.port % 2 === 0 ? await bind(peer.port + 1).catch(() => undefined) : undefined;
      if (!pair) {
        peer.rtp.close();
        continue;
      }
      peer.rtcp = pair;
      peer.listen();
      return peer;
    }
    throw new Error('no even port with its neighbour free');
  }

  listen() {
    this.forget = atEnd(() => this.close());
    this.packets = 0;
    this.rtcpPackets = 0;
    this.energy = 0; // sum of squared samples, full scale = 1
    this.events = []; // telephone events, one a press
    this.payloadTypes = new Set();
    this.sources = new Map(); // by port: what came from there
    this.rtp.on('message', (packet, from) => {
      if (packet.length < 12 || packet[0] >> 6 !== 2) return;
      this.packets += 1;
      this.count(from.port, packet.readUInt16BE(2));
      const type = packet[1] & 0x7f;
      this.payloadTypes.add(type);
      const header = 12 + 4 * (packet[0] & 0x0f);
      const payload = packet.subarray(packet[0] & 0x10 ? header + 4 + 4 * packet.readUInt16BE(header + 2) : header);
      if (type === 0) {
        for (const byte of payload) this.energy += (decodePcmu(byte) / 32_768) ** 2;
      } else if (type === 101 && payload[1] & 0x80) {
        const timestamp = packet.readUInt32BE(4);
        if (this.lastEvent !== timestamp) this.events.push('0123456789*#ABCD'[payload[0]]);
        this.lastEvent = timestamp;
      }
    });
    this.rtcp.on('message', () => (this.rtcpPackets += 1));
  }

  /** Extended sequence numbers (RFC 3550 A.1), so that what is missing can be told. */
  count(port, sequence) {
    const source = this.sources.get(port);
    if (!source) {
      this.sources.set(port, { packets: 1, first: sequence, highest: sequence, seen: new Set([sequence]) });
      return;
    }
    const ahead = ((sequence - source.highest + 0x8000) & 0xffff) - 0x8000;
    const extended = source.highest + ahead;
    if (!source.seen.has(extended)) source.packets += 1;
    source.seen.add(extended);
    source.highest = Math.max(source.highest, extended);
  }

  /** How many packets are missing, of all sources. */
  missing() {
    return [...this.sources.values()].reduce((sum, s) => sum + (s.highest - s.first + 1 - s.packets), 0);
  }

  /** Sends a 440 Hz tone to wherever packets come from, until the peer is closed. */
  tone() {
    let sequence = 1000;
    let timestamp = 5000;
    let sample = 0;
    this.sent = 0;
    this.timer = setInterval(() => {
      const packet = Buffer.alloc(172);
      packet[0] = 0x80;
      packet[1] = 0;
      packet.writeUInt16BE((sequence = (sequence + 1) & 0xffff), 2);
      packet.writeUInt32BE((timestamp = (timestamp + 160) >>> 0), 4);
      packet.writeUInt32BE(0x1234abcd, 8);
      for (let i = 0; i < 160; i++) packet[12 + i] = encodePcmu(Math.round(12_000 * Math.sin((2 * Math.PI * 440 * sample++) / 8000)));
      this.sent += 1;
      for (const port of this.sources.keys()) this.rtp.send(packet, port, '127.0.0.1', () => {});
    }, 20);
  }

  close() {
    this.forget();
    clearInterval(this.timer);
    this.rtp.close();
    this.rtcp.close();
  }
}
