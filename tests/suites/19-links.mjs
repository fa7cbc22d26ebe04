// Every link in the documents leads to a file and heading, and every path that they name is there.

import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync, statSync } from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';

const root = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '../..');
const documents = execFileSync('git', ['ls-files', '*.md'], { cwd: root, encoding: 'utf8' }).trim().split('\n');
/** A path in backticks is one of ours when it begins with one of these. */
const tops = /^(benches|ci|control|core|docs|ffi|fuzz|tests)\//;

/** Text without fenced blocks. */
const prose = (file) => readFileSync(path.join(root, file), 'utf8').replace(/^```[^]*?^```/gm, '');

/** The anchors of a document's headings, as GitHub makes them. */
const anchors = (file) =>
  [...prose(file).matchAll(/^#+ (.*)$/gm)].map(([, title]) =>
    title.toLowerCase().replace(/[^\p{L}\p{N} _-]/gu, '').replaceAll(' ', '-'));

/** What leads nowhere in a document. */
function broken(document) {
  const here = path.dirname(document);
  const text = prose(document);
  const faults = [];
  for (const [, target] of text.matchAll(/\]\(([^)\s]+)\)/g)) {
    if (/^[a-z]+:/.test(target)) continue;
    const [file, anchor] = target.split('#');
    const found = file === '' ? document : path.join(here, file);
    if (!existsSync(path.join(root, found))) faults.push(target);
    else if (anchor && !anchors(found).includes(anchor)) faults.push(target);
  }
  for (const [, named] of text.matchAll(/`([^`\s]+)`/g)) {
    // Placeholders in capitals, patterns and code after a name are no paths.
    if (!tops.test(named) || /[*A-Z(]|::/.test(named.replace(/[A-Z]+\.md$/, ''))) continue;
    const file = path.join(root, named);
    if (!existsSync(file) || (named.endsWith('/') && !statSync(file).isDirectory())) faults.push(named);
  }
  return faults;
}

for (const document of documents) {
  test(document, () => assert.deepEqual(broken(document), []));
}
