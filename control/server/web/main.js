// The demo page: wires the configuration, the session, the phone and the echo test together.

import { Session } from './api.js';
import { Echo } from './echo.js';
import { Phone } from './phone.js';

const $ = (id) => document.getElementById(id);
const logged = 200;
const againMs = 3000;

/** Shows what went wrong, or takes it away when there is nothing. */
function trouble(error) {
  $('trouble').hidden = !error;
  $('trouble').textContent = error?.message ?? '';
}

function log(message) {
  const line = document.createElement('li');
  const { janus, plugindata, reason } = message;
  const data = plugindata?.data;
  line.textContent = [new Date().toLocaleTimeString(), janus, data ? JSON.stringify(data) : '', reason].filter(Boolean).join('  ');
  $('log').prepend(line);
  while ($('log').children.length > logged) $('log').lastChild.remove();
}

function themes() {
  const root = document.documentElement;
  const stored = localStorage.getItem('theme');
  if (stored) root.dataset.theme = stored;
  $('theme').onclick = () => {
    const dark = root.dataset.theme ? root.dataset.theme === 'dark' : matchMedia('(prefers-color-scheme: dark)').matches;
    root.dataset.theme = dark ? 'light' : 'dark';
    localStorage.setItem('theme', root.dataset.theme);
  };
}

async function start() {
  themes();
  // Another transport is another session: the page starts anew with it.
  $('transport').value = new URLSearchParams(location.search).get('transport') === 'http' ? 'http' : 'ws';
  $('transport').onchange = ({ target }) => location.assign(`?transport=${target.value}`);
  const load = async () => {
    const response = await fetch('/demo/config.json');
    if (!response.ok) throw new Error(`The demo's configuration is missing (${response.status}).`);
    return response.text();
  };
  const loaded = await load();
  const config = JSON.parse(loaded);

  let session;
  let opening;
  const states = { on: ['on', 'connected'], lost: ['bad', 'reconnecting'], off: ['off', 'not connected'] };
  const show = (state) => {
    [$('connection').dataset.state, $('connection').textContent] = states[state];
  };
  /** The one session of the page, opened when it is first needed. */
  const open = () => {
    opening ??= (async () => {
      session = new Session(config, $('transport').value);
      session.onmessage = log;
      session.onstate = (state) => {
        show(state);
        if (state === 'off') {
          for (const handle of session.handles.values()) handle.onevent({ janus: 'detached' });
          opening = undefined;
          again();
        }
      };
      await session.open();
      return session;
    })().catch((error) => {
      opening = undefined;
      throw error;
    });
    return opening;
  };

  // With an account at hand the phone registers by itself, and again when the gateway comes back.
  const comeBack = async () => {
    // Another run of the demo has other secrets, and may have other ports.
    if (await load() === loaded) await phone.register();
    else location.reload();
  };
  const again = () => {
    if (config.sip?.accounts?.length) setTimeout(() => comeBack().catch(again), againMs);
  };

  const phone = new Phone($('phone'), { session: open, trouble, config });
  new Echo($('echo'), { session: open, trouble });
  addEventListener('pagehide', () => session?.destroy());
  if (config.sip?.accounts?.length) {
    phone.register().catch((error) => {
      phone.fail(error);
      again();
    });
  }
}

start().catch(trouble);
