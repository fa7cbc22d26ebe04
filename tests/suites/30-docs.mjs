// The examples of docs/api.md are run as they stand, and what is in it for reading only is at least JSON.

import { existsSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { after, before, describe, test } from 'node:test';
import { readExamples, runConversation } from '../e2e/doc-examples.mjs';
import { cannotRun, root, startServer } from '../e2e/server.mjs';

const file = path.join(root, 'docs/api.md');
const skip = existsSync(file) ? cannotRun() : 'docs/api.md does not exist yet';
const conversations = skip ? [] : readExamples(readFileSync(file, 'utf8'));

describe('docs/api.md', { skip }, () => {
  let server;
  before(async () => {
    server = await startServer();
  });
  after(() => server?.stop());

  test('there are examples to run', () => {
    if (conversations.length === 0) throw new Error('no ```json request``` block in docs/api.md');
  });
  for (const conversation of conversations) {
    test(`line ${conversation.line}, ${conversation.title}`, () => runConversation(server, conversation));
  }
});
