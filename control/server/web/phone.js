// The SIP phone: register, call, be called, hold, keypad.

import { Media, capture } from './media.js';
import { Meters, sampleMs } from './meters.js';

const keys = ['1', '2', '3', '4', '5', '6', '7', '8', '9', '*', '0', '#'];
const inCall = ['calling', 'ringing', 'early', 'connected', 'held'];
const hostOf = (uri) => uri.replace(/^sips?:/, '').replace(/^[^@]*@/, '');
const withoutScheme = (uri) => uri.replace(/^sips?:/, '').replace(/[;?].*$/, '');

export class Phone {
  constructor(section, { session, trouble, config }) {
    this.part = (name) => section.querySelector(`[data-part="${name}"]`);
    this.session = session;
    this.trouble = trouble;
    this.sip = config.sip ?? {};
    this.meters = new Meters(this.part('meters'), 'sip');
    this.state = 'idle';
    this.registered = false;
    this.prefill();

    this.part('register-form').onsubmit = (event) => this.doing(event, this.register());
    this.part('unregister').onclick = () => this.handle.message({ request: 'unregister' }).catch(this.trouble);
    this.part('dial-form').onsubmit = (event) => this.doing(event, this.call(this.part('dial-form').uri.value.trim()));
    this.part('answer').onclick = () => this.answer().catch((error) => this.fail(error));
    this.part('decline').onclick = () => this.handle.message({ request: 'decline', code: 486 }).catch(this.trouble);
    this.part('hangup').onclick = () => this.hangUp();
    this.part('mute').onclick = () => this.mute();
    this.part('hold').onclick = () => this.hold();
    this.part('keypad').onclick = ({ currentTarget }) => {
      const open = this.part('pad').toggleAttribute('hidden') === false;
      currentTarget.setAttribute('aria-expanded', open);
    };
    for (const key of keys) {
      const button = document.createElement('button');
      button.type = 'button';
      button.textContent = key;
      button.dataset.testid = `sip-key-${key}`;
      button.onclick = () => this.handle.message({ request: 'dtmf_info', digit: key }).catch(this.trouble);
      this.part('pad').append(button);
    }
    this.show('idle', 'No call', 'Ready when you are registered.');
  }

  /** Fills the forms with what the gateway suggests. */
  prefill() {
    const form = this.part('register-form');
    const accounts = this.sip.accounts ?? [];
    const choose = (account) => {
      form.user.value = account.user;
      form.secret.value = account.secret ?? '';
      form.registrar.value = this.sip.registrar ?? '';
      form.display = account.display;
      // An account whose registrar is not its domain names the domain.
      form.domain = account.domain;
    };
    if (accounts.length > 0) choose(accounts[0]);
    else {
      form.registrar.value = this.sip.registrar ?? '';
      this.part('account').open = true;
    }
    this.part('choice').hidden = accounts.length < 2;
    for (const [i, account] of accounts.entries()) {
      this.part('accounts').append(new Option(account.display ?? account.user, i));
    }
    this.part('accounts').onchange = ({ target }) => choose(accounts[target.value]);
    this.part('dial-form').uri.value = this.sip.echo ?? '';
    const suggest = (text, id, uri, title) => {
      if (!uri) return;
      const button = document.createElement('button');
      button.type = 'button';
      button.textContent = text;
      button.title = title;
      button.dataset.testid = id;
      button.onclick = () => this.call(uri, { back: id === 'sip-callback' }).catch((error) => this.fail(error));
      this.part('suggestions').append(button);
    };
    suggest('Hear yourself', 'sip-echo', this.sip.echo, 'Calls the echo phone');
    suggest('Be called back', 'sip-callback', this.sip.callback, 'Calls a phone that hangs up and calls you');
  }

  doing(event, promise) {
    event.preventDefault();
    promise.catch((error) => this.fail(error));
  }

  fail(error) {
    this.trouble(error);
    this.endMedia();
    this.show('idle', 'No call', error.message);
  }

  /** The state of the call, who it is with, and a line about it. */
  show(state, peer, says) {
    const since = inCall.slice(-2);
    if (since.includes(state) && !since.includes(this.state)) this.startedAt = Date.now();
    this.state = state;
    this.part('state').dataset.state = state;
    if (peer !== undefined) this.part('peer').textContent = peer;
    this.part('says').textContent = says;
    const talking = state === 'connected' || state === 'held';
    this.part('call').disabled = !this.registered || state !== 'idle';
    for (const button of this.part('suggestions').children) button.disabled = !this.registered || state !== 'idle';
    this.part('hangup').disabled = !inCall.includes(state);
    for (const name of ['mute', 'hold', 'keypad']) this.part(name).disabled = !talking;
    this.part('hold').setAttribute('aria-pressed', state === 'held');
    this.part('hold').textContent = state === 'held' ? 'Resume' : 'Hold';
    this.part('incoming').hidden = state !== 'incoming';
    if (!talking) {
      this.part('pad').hidden = true;
      this.part('keypad').setAttribute('aria-expanded', false);
      this.part('clock').textContent = '';
    }
  }

  showRegistration(state, text) {
    this.registered = state === 'on';
    const pill = this.part('registration');
    pill.dataset.state = state;
    pill.textContent = text;
    this.part('unregister').disabled = !this.registered;
    this.show(this.state, undefined, this.registered && this.state === 'idle' ? 'Ready to call and to be called.' : this.part('says').textContent);
  }

  async register() {
    this.trouble();
    const form = this.part('register-form');
    const registrar = form.registrar.value.trim();
    this.showRegistration('wait', 'registering');
    this.handle ??= await (await this.session()).attach('janus.plugin.sip', (message) => this.heard(message));
    await this.handle.message({
      request: 'register',
      username: `sip:${form.user.value.trim()}@${(registrar === this.sip.registrar && form.domain) || hostOf(registrar)}`,
      proxy: registrar,
      ...(form.secret.value ? { secret: form.secret.value } : { type: 'guest' }),
      ...(form.display && { display_name: form.display }),
      refresh: this.registered,
    });
  }

  newMedia() {
    const { handle } = this;
    this.media = new Media({
      ontrack: (track, stream) => { this.part('audio').srcObject = stream; },
      ontrickle: (candidate) => handle.trickle(candidate),
    });
    this.timer = setInterval(async () => {
      const sample = await this.media?.sample();
      if (sample && this.state !== 'idle') this.meters.show(sample);
      if (this.startedAt && (this.state === 'connected' || this.state === 'held')) {
        const seconds = Math.floor((Date.now() - this.startedAt) / 1000);
        this.part('clock').textContent = `${Math.floor(seconds / 60)}:${String(seconds % 60).padStart(2, '0')}`;
      }
    }, sampleMs);
    return this.media;
  }

  async call(uri, { back = false } = {}) {
    this.trouble();
    const target = uri.startsWith('sip') ? uri : `sip:${uri}${uri.includes('@') ? '' : `@${hostOf(this.sip.registrar ?? '')}`}`;
    this.show('calling', withoutScheme(target), 'Calling …');
    this.callBack = back;
    const stream = await capture();
    const offer = await this.newMedia().offer(stream);
    await this.handle.message({ request: 'call', uri: target }, offer);
  }

  async answer() {
    const stream = await capture();
    const media = this.newMedia();
    const jsep = this.offered ? await media.answer(this.offered, stream) : await media.offer(stream);
    await this.handle.message({ request: 'accept' }, jsep);
    this.part('incoming').hidden = true;
  }

  async hangUp() {
    await this.handle.message({ request: 'hangup' }).catch(this.trouble);
  }

  mute() {
    const button = this.part('mute');
    const muted = button.getAttribute('aria-pressed') !== 'true';
    button.setAttribute('aria-pressed', muted);
    this.media.mute('audio', muted);
  }

  async hold() {
    const held = this.state === 'held';
    await this.handle.message({ request: held ? 'unhold' : 'hold' }).catch(this.trouble);
  }

  endMedia() {
    clearInterval(this.timer);
    this.media?.close();
    this.media = this.offered = this.startedAt = undefined;
    this.part('audio').srcObject = null;
    this.part('mute').setAttribute('aria-pressed', false);
    this.meters.clear();
  }

  /** Everything that the gateway says about our handle. */
  heard(message) {
    if (message.janus === 'detached') {
      this.handle = undefined;
      this.endMedia();
      this.showRegistration('off', 'not registered');
      return;
    }
    const data = message.plugindata?.data;
    if (!data) return;
    if (message.jsep?.type === 'answer') this.media?.accept(message.jsep).catch((error) => this.fail(error));
    if (data.error) {
      if (this.state === 'calling') this.fail(new Error(data.error));
      else this.trouble(new Error(data.error));
      if (!this.registered) this.showRegistration('bad', 'failed');
      return;
    }
    const result = data.result ?? {};
    this.on[result.event]?.call(this, result, message.jsep);
  }

  on = {
    registering() { this.showRegistration('wait', 'registering'); },
    registered({ username }) {
      this.showRegistration('on', `registered as ${username}`);
      this.part('account').open = false;
    },
    registration_failed({ code, reason }) {
      this.showRegistration('bad', 'failed');
      this.trouble(new Error(`The registrar refused: ${code} ${reason}`));
    },
    unregistered() { this.showRegistration('off', 'not registered'); },
    ringing() { this.show('ringing', undefined, 'It rings.'); },
    progress() { this.show('early', undefined, 'Before the answer: early media.'); },
    accepted() { this.show('connected', undefined, 'Connected.'); },
    incomingcall({ username, displayname }, jsep) {
      this.offered = jsep;
      const who = displayname?.replace(/^"|"$/g, '') || withoutScheme(username);
      this.part('caller').textContent = who;
      this.show('incoming', who, 'Calls you.');
      this.part('answer').focus();
    },
    holding() { this.show('held', undefined, 'On hold.'); },
    resuming() { this.show('connected', undefined, 'Connected.'); },
    declining() { this.show('idle', undefined, 'Declined.'); },
    missed_call({ caller }) { this.trouble(new Error(`Missed a call from ${withoutScheme(caller)}`)); },
    hangingup() { this.part('says').textContent = 'Hanging up …'; },
    hangup({ code, reason }) {
      this.endMedia();
      const why = code === 200 ? 'The call is over.' : `The call ended: ${code} ${reason}`;
      this.show('idle', 'No call', this.callBack ? 'You will be called back.' : why);
      this.callBack = false;
    },
  };
}
