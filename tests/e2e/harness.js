// Runs in the page: a thin skin over the unmodified janus.js that the tests drive from Node.
'use strict';

const peer = (() => {
  const log = []; // everything that happened, in order: {handle, kind, ...}
  const handles = [];
  let janus;
  const note = (handle, kind, more) => log.push({ handle, kind, at: Math.round(performance.now()), ...more });

  const promised = (start) => new Promise((success, error) => start(success, (e) => error(new Error(String(e)))));

  function play(entry, track, on, mid) {
    note(entry.index, on ? 'remotetrack' : 'remotetrack-off', { media: track.kind, mid });
    if (!on) return;
    // A track plays (and video decodes) only inside an element.
    const element = document.createElement(track.kind);
    element.autoplay = true;
    element.srcObject = new MediaStream([track]);
    document.body.append(element);
    entry.remote.push(track);
  }

  return {
    log,

    async connect(server, options = {}) {
      await promised((success) => Janus.init({ debug: ['warn', 'error'], callback: success }));
      await promised((success, error) => {
        janus = new Janus({
          server, ...options, success,
          error: (e) => (note(null, 'janus-error', { error: String(e) }), error(e)),
          destroyed: () => note(null, 'destroyed'),
        });
      });
      return janus.getSessionId();
    },

    reconnect: () => promised((success, error) => janus.reconnect({ success: () => success(true), error })),
    isConnected: () => janus.isConnected(),
    destroy: () => promised((success, error) => janus.destroy({ success: () => success(true), error })),

    async attach(plugin) {
      const entry = { index: handles.length, remote: [] };
      handles.push(entry);
      entry.handle = await promised((success, error) =>
        janus.attach({
          plugin, success, error,
          onmessage(data, jsep) {
            note(entry.index, 'event', { data: structuredClone(data), jsep: jsep?.type });
            if (jsep?.type === 'answer') {
              entry.handle.handleRemoteJsep({
                jsep, error: (e) => note(entry.index, 'jsep-error', { error: String(e) }),
              });
            }
            if (jsep?.type === 'offer') entry.offer = jsep;
          },
          webrtcState: (on, reason) => note(entry.index, on ? 'webrtcup' : 'webrtcdown', { reason }),
          mediaState: (media, on, mid) => note(entry.index, 'media', { media, on, mid }),
          slowLink: (uplink, lost, mid) => note(entry.index, 'slowlink', { uplink, lost, mid }),
          iceState: (state) => note(entry.index, 'ice', { state }),
          onlocaltrack: (track, on) => note(entry.index, on ? 'localtrack' : 'localtrack-off', { media: track.kind }),
          onremotetrack: (track, mid, on) => play(entry, track, on, mid),
          oncleanup: () => note(entry.index, 'cleanup'),
          ondetached: () => note(entry.index, 'detached'),
        }));
      return entry.index;
    },

    handleId: (index) => handles[index].handle.getId(),

    /** Makes an offer (again) and sends it with the body; the answer is applied when it comes. */
    async offer(index, body, { tracks, iceRestart } = {}) {
      const { handle } = handles[index];
      const jsep = await promised((success, error) =>
        handle.createOffer({ tracks, iceRestart, success, error }));
      await promised((success, error) => handle.send({ message: body, jsep, success: () => success(), error }));
      return jsep.sdp;
    },

    /** Answers the offer that came last and sends the answer with the body. */
    async answer(index, body, { tracks } = {}) {
      const entry = handles[index];
      const jsep = await promised((success, error) =>
        entry.handle.createAnswer({ jsep: entry.offer, tracks, success, error }));
      await promised((success, error) => entry.handle.send({ message: body, jsep, success: () => success(), error }));
      return jsep.sdp;
    },

    send: (index, body) =>
      promised((success, error) =>
        handles[index].handle.send({ message: body, success: (data) => success(data ?? null), error })),
    dtmf: (index, tones) =>
      promised((success, error) => handles[index].handle.dtmf({ dtmf: { tones }, success: () => success(true), error })),
    hangup: (index) => handles[index].handle.hangup(true),
    detach: (index) => promised((success, error) => handles[index].handle.detach({ success: () => success(true), error })),

    /** What getStats says, one object a medium and direction, and the selected pair. */
    async stats(index) {
      const pc = handles[index].handle.webrtcStuff.pc;
      if (!pc) return null;
      const out = { in: {}, out: {}, connection: pc.connectionState };
      const report = await pc.getStats();
      for (const s of report.values()) {
        if (s.type === 'inbound-rtp') {
          const codec = report.get(s.codecId);
          out.in[s.kind] = {
            packets: s.packetsReceived, lost: s.packetsLost, bytes: s.bytesReceived, jitter: s.jitter,
            framesDecoded: s.framesDecoded, energy: s.totalAudioEnergy, mid: s.mid, codec: codec?.mimeType,
          };
        } else if (s.type === 'outbound-rtp') {
          out.out[s.kind] = {
            packets: s.packetsSent, bytes: s.bytesSent, targetBitrate: s.targetBitrate, frames: s.framesEncoded,
          };
        } else if (s.type === 'remote-inbound-rtp') {
          (out.remote ??= {})[s.kind] = { lost: s.packetsLost, jitter: s.jitter, rtt: s.roundTripTime };
        } else if (s.type === 'candidate-pair' && (s.nominated || s.state === 'succeeded')) {
          out.pair = { rtt: s.currentRoundTripTime, availableOutgoingBitrate: s.availableOutgoingBitrate };
        }
      }
      return out;
    },

    localSdp: (index) => handles[index].handle.webrtcStuff.pc.localDescription.sdp,
    remoteSdp: (index) => handles[index].handle.webrtcStuff.pc.remoteDescription.sdp,
  };
})();
