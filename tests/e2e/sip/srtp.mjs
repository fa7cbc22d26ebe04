// SRTP of a sipp phone's media: AES_CM_128_HMAC_SHA1_80 (RFC 3711), the sender's side only.

import { createCipheriv, createHmac } from 'node:crypto';

/** Derives a session key (RFC 3711 §4.3.1, key derivation rate 0). */
function derive(master, salt, label, bytes) {
  const iv = Buffer.concat([salt, Buffer.alloc(2)]);
  iv[7] ^= label;
  return createCipheriv('aes-128-ctr', master, iv).update(Buffer.alloc(bytes));
}

/** Gives a function that protects RTP packets with a 12-byte header; `keySalt` is what `inline:` carries. */
export function srtpSender(keySalt) {
  const [master, masterSalt] = [keySalt.subarray(0, 16), keySalt.subarray(16, 30)];
  const [key, auth, salt] = [[0, 16], [1, 20], [2, 14]].map(([label, bytes]) => derive(master, masterSalt, label, bytes));
  let [rollovers, last] = [0, undefined];
  return (packet) => {
    const sequence = packet.readUInt16BE(2);
    if (last !== undefined && sequence < last && last - sequence > 0x8000) rollovers += 1;
    last = sequence;
    const iv = Buffer.concat([salt, Buffer.alloc(2)]);
    for (let i = 0; i < 4; i++) iv[4 + i] ^= packet[8 + i];
    const index = Buffer.alloc(6);
    index.writeUInt32BE(rollovers);
    index.writeUInt16BE(sequence, 4);
    for (let i = 0; i < 6; i++) iv[8 + i] ^= index[i];
    const cipher = createCipheriv('aes-128-ctr', key, iv);
    const body = Buffer.concat([packet.subarray(0, 12), cipher.update(packet.subarray(12))]);
    const tag = createHmac('sha1', auth).update(body).update(index.subarray(0, 4)).digest().subarray(0, 10);
    return Buffer.concat([body, tag]);
  };
}
