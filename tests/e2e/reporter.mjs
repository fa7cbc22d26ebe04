// A node:test reporter that writes one line a test, as ci/test reads it.

const oneLine = (text) => String(text).replace(/\s+/g, ' ').trim();

export default async function* reporter(source) {
  for await (const { type, data } of source) {
    if (type !== 'test:pass' && type !== 'test:fail') continue;
    if (data.details?.type === 'suite') continue;
    const name = oneLine(data.name).replaceAll(':', ' -');
    const reason = data.skip ?? data.todo;
    if (type === 'test:fail') {
      yield `fail ${name}\n`;
    } else if (reason !== undefined && reason !== false) {
      yield `skip ${name}: ${reason === true ? 'no reason given' : oneLine(reason)}\n`;
    } else {
      yield `pass ${name}\n`;
    }
  }
}
