// One PeerConnection and what its statistics say now and then.

/** The microphone, and the camera if asked for; a missing device is an error in words. */
export async function capture({ video = false } = {}) {
  if (!navigator.mediaDevices) throw new Error('the browser gives no microphone to a page without HTTPS (or localhost)');
  try {
    return await navigator.mediaDevices.getUserMedia({ audio: true, video: video && { width: 640, height: 480 } });
  } catch (error) {
    const device = video ? 'microphone and camera' : 'microphone';
    throw new Error(error.name === 'NotAllowedError' ? `the ${device} may not be used: allow it and try again`
      : `the ${device} cannot be used: ${error.message}`);
  }
}

export class Media {
  /** `ontrack` hears of remote tracks, `ontrickle` of local candidates (undefined at their end). */
  constructor({ ontrack, ontrickle, onstate = () => {} }) {
    this.pc = new RTCPeerConnection();
    this.pc.ontrack = ({ track, streams }) => ontrack(track, streams[0] ?? new MediaStream([track]));
    this.pc.onicecandidate = ({ candidate }) => ontrickle(candidate?.toJSON());
    this.pc.onconnectionstatechange = () => onstate(this.pc.connectionState);
  }

  async offer(stream) {
    this.add(stream);
    await this.pc.setLocalDescription(await this.pc.createOffer());
    return this.pc.localDescription;
  }

  /** The offer in answer to nothing: what an incoming call without one needs is the same as `offer`. */
  async answer(offer, stream) {
    await this.pc.setRemoteDescription(offer);
    this.add(stream);
    await this.pc.setLocalDescription(await this.pc.createAnswer());
    return this.pc.localDescription;
  }

  async accept(description) {
    await this.pc.setRemoteDescription(description);
  }

  add(stream) {
    this.stream = stream;
    for (const track of stream.getTracks()) this.pc.addTrack(track, stream);
  }

  mute(kind, muted) {
    for (const track of this.stream?.getTracks() ?? []) if (track.kind === kind) track.enabled = !muted;
  }

  close() {
    this.pc.close();
    for (const track of this.stream?.getTracks() ?? []) track.stop();
  }

  /** What happened since the last call, or undefined the first time. */
  async sample() {
    const report = await this.pc.getStats();
    const now = { at: performance.now(), in: 0, lost: 0, out: 0, bytesIn: 0, bytesOut: 0 };
    const sample = { codecs: [] };
    for (const s of report.values()) {
      if (s.type === 'inbound-rtp') {
        now.in += s.packetsReceived;
        now.lost += s.packetsLost;
        now.bytesIn += s.bytesReceived;
        if (s.kind === 'audio') {
          sample.jitterMs = s.jitter * 1000;
          sample.level = s.audioLevel ?? 0;
        }
        const codec = report.get(s.codecId);
        if (codec) sample.codecs.push(codec.mimeType.split('/')[1]);
      } else if (s.type === 'outbound-rtp') {
        now.out += s.packetsSent;
        now.bytesOut += s.bytesSent;
      } else if (s.type === 'candidate-pair' && s.nominated && s.currentRoundTripTime !== undefined) {
        sample.rttMs = s.currentRoundTripTime * 1000;
      }
    }
    const before = this.before;
    this.before = now;
    if (!before) return undefined;
    const seconds = (now.at - before.at) / 1000;
    const received = Math.max(now.in - before.in, 0);
    const lost = Math.max(now.lost - before.lost, 0);
    return {
      ...sample,
      totalIn: now.in, totalOut: now.out, totalLost: Math.max(now.lost, 0),
      packetsIn: received / seconds,
      packetsOut: Math.max(now.out - before.out, 0) / seconds,
      kbitIn: (8 * Math.max(now.bytesIn - before.bytesIn, 0)) / seconds / 1000,
      kbitOut: (8 * Math.max(now.bytesOut - before.bytesOut, 0)) / seconds / 1000,
      lossPercent: received + lost > 0 ? (100 * lost) / (received + lost) : 0,
    };
  }
}
