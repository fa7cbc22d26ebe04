// The live numbers of a call: packets, bitrate, loss, jitter, round-trip time, each with half a minute of history.

/** Samples kept; there are two a second. */
const keep = 60;
export const sampleMs = 500;
const number = (value, digits = 0) => (value === undefined ? '–' : value.toFixed(digits));

const kinds = [
  { id: 'packets', label: 'Packets in / out', text: (s) => `${s.totalIn} / ${s.totalOut}`, lines: (s) => [s.packetsIn, s.packetsOut] },
  { id: 'bitrate', label: 'kbit/s in / out', text: (s) => `${number(s.kbitIn)} / ${number(s.kbitOut)}`, lines: (s) => [s.kbitIn, s.kbitOut] },
  { id: 'loss', label: 'Loss', text: (s) => `${number(s.lossPercent, 1)} %`, lines: (s) => [s.lossPercent], least: 2 },
  { id: 'jitter', label: 'Jitter', text: (s) => `${number(s.jitterMs, 1)} ms`, lines: (s) => [s.jitterMs], least: 10 },
  { id: 'rtt', label: 'Round trip', text: (s) => `${number(s.rttMs, 1)} ms`, lines: (s) => [s.rttMs], least: 10 },
];

/** Fills `place` with meters, which show only while there is something to tell; `prefix` starts their test ids. */
export class Meters {
  constructor(place, prefix) {
    this.place = place;
    const list = document.createElement('dl');
    list.className = 'meters';
    this.codec = box(list, 'Codec', `${prefix}-codec`);
    const level = document.createElement('div');
    level.className = 'level';
    level.setAttribute('aria-hidden', 'true');
    this.level = level.appendChild(document.createElement('i'));
    this.codec.parentElement.append(level);
    this.meters = kinds.map((kind) => {
      const value = box(list, kind.label, `${prefix}-${kind.id}`);
      const canvas = document.createElement('canvas');
      canvas.setAttribute('role', 'img');
      value.parentElement.append(canvas);
      return { ...kind, value, canvas, history: [] };
    });
    place.append(list);
    this.clear();
  }

  clear() {
    this.place.hidden = true;
    this.codec.textContent = '–';
    this.level.style.transform = 'scaleX(0)';
    for (const meter of this.meters) {
      meter.history = [];
      meter.value.textContent = '–';
    }
  }

  show(sample) {
    this.place.hidden = false;
    this.codec.textContent = sample.codecs.join(' + ') || '–';
    this.level.style.transform = `scaleX(${Math.min(Math.sqrt(sample.level ?? 0), 1)})`;
    for (const meter of this.meters) {
      meter.history.push(meter.lines(sample));
      if (meter.history.length > keep) meter.history.shift();
      meter.value.textContent = meter.text(sample);
      meter.canvas.setAttribute('aria-label', `${meter.label} over the last half minute, now ${meter.text(sample)}`);
      this.draw(meter);
    }
  }

  draw({ canvas, history, least = 1 }) {
    const { clientWidth: width, clientHeight: height } = canvas;
    if (width === 0) return;
    const scale = window.devicePixelRatio || 1;
    canvas.width = Math.round(width * scale);
    canvas.height = Math.round(height * scale);
    const ink = canvas.getContext('2d');
    ink.scale(scale, scale);
    const style = getComputedStyle(canvas);
    ink.strokeStyle = style.getPropertyValue('--line');
    ink.beginPath();
    ink.moveTo(0, height - 0.5);
    ink.lineTo(width, height - 0.5);
    ink.stroke();
    const top = Math.max(least, ...history.flat().filter((v) => v !== undefined)) * 1.15;
    ['--one', '--other'].forEach((color, line) => {
      const points = history.map((values, i) => [width - ((history.length - 1 - i) * width) / (keep - 1), values[line]])
        .filter(([, v]) => v !== undefined).map(([x, v]) => [x, height - 1.5 - (v / top) * (height - 4)]);
      if (points.length < 2) return;
      ink.strokeStyle = style.getPropertyValue(color);
      ink.lineWidth = 1.5;
      ink.lineJoin = 'round';
      ink.beginPath();
      points.forEach(([x, y], i) => (i ? ink.lineTo(x, y) : ink.moveTo(x, y)));
      ink.stroke();
      if (line === 0) {
        ink.lineTo(width, height);
        ink.lineTo(points[0][0], height);
        ink.globalAlpha = 0.12;
        ink.fillStyle = style.getPropertyValue(color);
        ink.fill();
        ink.globalAlpha = 1;
      }
    });
  }
}

function box(list, label, id) {
  const frame = document.createElement('div');
  frame.className = 'meter';
  const term = document.createElement('dt');
  term.textContent = label;
  const value = document.createElement('dd');
  value.dataset.testid = id;
  frame.append(term, value);
  list.append(frame);
  return value;
}
