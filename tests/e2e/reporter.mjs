// A node:test reporter that writes one line a test, as ci/test reads it.

const oneLine = (text) => String(text).replace(/\s+/g, ' ').trim();

export default async function* reporter(source) {
  for await (const { type, data } of source) {
    if (type !== 'test:pass' && type !== 'test:fail') continue;
    const reason = data.skip ?? data.todo;
    // A suite that is skipped as a whole reports none of its tests: its own line stands for them.
    if (data.details?.type === 'suite' && reason === undefined) continue;
    const name = oneLine(data.name).replaceAll(':', ' -');
    if (type === 'test:fail') {
      yield `fail ${name}\n`;
    } else if (reason !== undefined && reason !== false) {
      yield `skip ${name}: ${reason === true ? 'no reason given' : oneLine(reason)}\n`;
    } else {
      yield `pass ${name}\n`;
    }
  }
}
