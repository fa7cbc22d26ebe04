// The echo test: microphone and camera through the gateway and back.

import { Media, capture } from './media.js';
import { Meters, sampleMs } from './meters.js';

export class Echo {
  constructor(section, { session, trouble }) {
    this.part = (name) => section.querySelector(`[data-part="${name}"]`);
    this.session = session;
    this.trouble = trouble;
    this.meters = new Meters(this.part('meters'), 'echo');
    this.part('start').onclick = () => this.start().catch((error) => this.fail(error));
    this.part('stop').onclick = () => this.stop();
    for (const kind of ['audio', 'video']) {
      const button = this.part(`mute-${kind}`);
      button.onclick = () => {
        const muted = button.getAttribute('aria-pressed') !== 'true';
        button.setAttribute('aria-pressed', muted);
        this.handle.message({ [kind]: !muted }).catch(this.trouble);
      };
    }
    this.part('bitrate').onchange = ({ target }) => this.handle.message({ bitrate: Number(target.value) }).catch(this.trouble);
    this.show('off', 'stopped');
  }

  show(state, text) {
    const pill = this.part('state');
    pill.dataset.state = state;
    pill.textContent = text;
    this.part('start').disabled = state !== 'off' && state !== 'bad';
    this.part('stop').disabled = state === 'off' || state === 'bad';
    for (const name of ['mute-audio', 'mute-video', 'bitrate']) this.part(name).disabled = state !== 'on';
  }

  async start() {
    this.trouble();
    this.show('wait', 'starting');
    const stream = await capture({ video: true });
    this.part('local').srcObject = stream;
    this.part('remote').srcObject = new MediaStream();
    const handle = await (await this.session()).attach('janus.plugin.echotest', (message) => this.heard(message));
    this.handle = handle;
    this.media = new Media({
      ontrack: (track) => this.part('remote').srcObject.addTrack(track),
      ontrickle: (candidate) => handle.trickle(candidate),
      onstate: (state) => state === 'connected' && this.show('on', 'connected'),
    });
    const offer = await this.media.offer(stream);
    await handle.message({ audio: true, video: true }, offer);
    this.timer = setInterval(async () => {
      const sample = await this.media?.sample();
      if (sample) this.meters.show(sample);
    }, sampleMs);
  }

  heard(message) {
    const data = message.plugindata?.data;
    if (message.jsep) this.media?.accept(message.jsep).catch((error) => this.fail(error));
    if (data?.error) this.fail(new Error(data.error));
    if (message.janus === 'hangup') this.stop();
  }

  fail(error) {
    this.trouble(error);
    this.stop();
    this.show('bad', 'failed');
  }

  stop() {
    clearInterval(this.timer);
    this.handle?.request({ janus: 'detach' }).catch(() => {});
    this.media?.close();
    this.handle = this.media = undefined;
    for (const name of ['local', 'remote']) this.part(name).srcObject = null;
    for (const kind of ['audio', 'video']) this.part(`mute-${kind}`).setAttribute('aria-pressed', false);
    this.part('bitrate').value = '0';
    this.meters.clear();
    this.show('off', 'stopped');
  }
}
