// What examples/worker has to do, each check over a Worker that it starts itself; the KV is one and the same.

import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { bad } from './requests.mjs';
import { crossEntropy, mean, synthetic } from './users.mjs';

/** Requests with one example each, that are timed; and by how many examples more a user is taught in lists. */
const SINGLE = 200;
const LISTS = 150;
const LIST = 20;

export const checks = {
  'features are hashed by FNV-1a': hashing,
  'two users learn what is theirs, to the bit what Node learns, through a cold start': learning,
  'users at once do not see each other': crowds,
  'bad requests are refused with a sentence, and nothing has changed': refusals,
  'a damaged model is told of, and stays what it is until it is deleted': damage,
  'where KV fails, that is the answer, and nothing is learned': failures,
  'the commands of the README give the answers printed there': readme,
};

function hashing({ parts: { fnv1a, hashed } }) {
  // Of the authors' own list.
  assert.deepEqual(['', 'a', 'foobar'].map(fnv1a), [0x811c9dc5, 0xe40c292c, 0xbf9cf968]);
  const expected = [
    { position: fnv1a('topic=é') % 256, value: 1 },
    { position: fnv1a('hour') % 256, value: -0.5 },
  ];
  assert.deepEqual(hashed({ topic: 'é', hour: -0.5 }), expected);
}

async function learning({ start, parts }) {
  const users = [synthetic('ann', 1), synthetic('bob', -1)];
  for (const user of users) user.model = await parts.newModel();
  let worker = await start();
  const times = [];
  const gaps = [];
  for (let t = 0; t < SINGLE + LISTS; t++) {
    // The isolate, and all that it could remember, is gone in the midst of either kind.
    const isCold = t === SINGLE / 2 || t === SINGLE + LISTS / 2;
    if (isCold) {
      await worker.stop();
      worker = await start();
    }
    for (const { name, next, model } of users) {
      const shown = Array.from({ length: t < SINGLE ? 1 : LIST }, next);
      const examples = shown.map(({ features, clicked }) => ({ features, clicked }));
      const before = performance.now();
      const answer = await post(worker, `/users/${name}/clicks`, t < SINGLE ? examples[0] : examples);
      if (t < SINGLE && !isCold) times.push(performance.now() - before);
      const { probabilities, loss } = parts.learn(model, examples);
      const probability = t < SINGLE ? probabilities[0] : probabilities;
      assert.deepEqual(answer, { probability, loss, steps: t + 1 });
      if (t === 0) assert.deepEqual(answer, { probability: 0.5, loss: Math.LN2, steps: 1 });
      gaps.push(mean(shown.map(({ p }, i) => crossEntropy(p, probabilities[i]) - crossEntropy(p, p))));
    }
  }
  const [first, last] = [gaps.slice(0, 20), gaps.slice(-100)].map(mean);
  assert(first > 0.1 && last < first / 10, `The loss is ${first} above the entropy at first, ${last} in the end.`);

  for (const { name, model } of users) {
    const { value } = await worker.kv.getWithMetadata(`clicks-1/${name}`, 'arrayBuffer');
    assert.deepEqual(new Uint8Array(value), await parts.saveCheckpoint(model), `the checkpoint of ${name}`);
    const { status, body } = await ask(worker, `/users/${name}`);
    assert.equal(status, 200);
    assert.equal(model.backend.name, 'wasm', model.backend.reason);
    const bytes = value.byteLength;
    assert(bytes < 5000, `The value of ${name} is ${bytes} bytes long.`);
    assert.deepEqual(body, { user: name, steps: SINGLE + LISTS, bytes, backend: 'wasm' });
  }
  const [likes, hates] = await Promise.all(
    users.map(({ name }) =>
      post(worker, `/users/${name}/predict`, { features: [{ topic: 'sport' }, { topic: 'art' }] }),
    ),
  );
  assert.deepEqual([likes.ranking, hates.ranking], [[0, 1], [1, 0]]); // prettier-ignore
  const { bytes } = (await ask(worker, '/users/ann')).body;
  await worker.stop();

  const cold = await start();
  const before = performance.now();
  await ask(cold, '/users/ann');
  const firstAnswer = performance.now() - before;
  await cold.stop();
  times.sort((a, b) => a - b);
  const at = (part) => times[Math.floor(part * (times.length - 1))].toFixed(2);
  return {
    'KV value, bytes': bytes,
    'loss above the entropy, first 10 requests': first.toFixed(3),
    'loss above the entropy, last 50 requests': last.toFixed(4),
    [`ms a request, of ${times.length} (median, 95 %, most)`]: `${at(0.5)}, ${at(0.95)}, ${at(1)}`,
    'ms to start workerd, to its first answer': `${cold.milliseconds.toFixed(0)}, ${firstAnswer.toFixed(0)}`,
  };
}

/** Twenty users at once, of whom each must begin with nothing, and end as if alone. */
async function crowds({ start, parts }) {
  const worker = await start();
  const crowd = Array.from({ length: 20 }, (_, i) => synthetic(`user-${i}`, Math.sin(i), i));
  await Promise.all(
    crowd.map(async ({ name, next }) => {
      const model = await parts.newModel();
      for (let t = 0; t < 10; t++) {
        const { features, clicked } = next();
        const { probability } = await post(worker, `/users/${name}/predict`, { features });
        assert.equal(probability, parts.predict(model, features));
        const { probabilities, loss } = parts.learn(model, [{ features, clicked }]);
        const answer = await post(worker, `/users/${name}/clicks`, { features, clicked });
        assert.deepEqual(answer, { probability: probabilities[0], loss, steps: t + 1 });
      }
      const stored = await worker.kv.get(`clicks-1/${name}`, 'arrayBuffer');
      assert.deepEqual(new Uint8Array(stored), await parts.saveCheckpoint(model), `the checkpoint of ${name}`);
      model.dispose();
    }),
  );
  assert.equal((await ask(worker, '/users/stranger')).status, 404);
  const asked = await post(worker, '/users/stranger/predict', { features: { topic: 'art' } });
  assert.deepEqual(asked, { probability: 0.5, steps: 0 });
  assert.equal((await ask(worker, '/users/stranger')).status, 404, 'a prediction stores nothing');
  await worker.stop();
}

async function refusals({ start }) {
  const worker = await start();
  const before = await everything(worker.kv);
  assert(before.size > 20);
  for (const { path, status, sentence, headers = {}, ...init } of bad) {
    const answer = await ask(worker, path, { ...init, ...(init.body instanceof ReadableStream && { duplex: 'half' }) });
    const what = `${init.method ?? 'GET'} ${path}`;
    assert.deepEqual([answer.status, answer.body], [status, { error: sentence }], what);
    for (const [name, value] of Object.entries(headers)) assert.equal(answer.headers.get(name), value, what);
  }
  assert.deepEqual(await everything(worker.kv), before);
  await worker.stop();
  return { 'kinds of bad requests': bad.length };
}

async function damage({ start, parts }) {
  const worker = await start();
  const key = 'clicks-1/carol';
  const example = { features: { topic: 'art' }, clicked: true };
  await post(worker, '/users/carol/clicks', example);
  const { value, metadata } = await worker.kv.getWithMetadata(key, 'arrayBuffer');
  const sound = new Uint8Array(value);
  const flipped = (at) => sound.map((byte, i) => (i === at ? byte ^ 1 : byte));
  const stranger = await parts.saveCheckpoint(await parts.adam({ weight: new Float32Array(9) }));
  const sum = Buffer.from(await crypto.subtle.digest('SHA-256', stranger)).toString('hex');
  const damaged =
    /^The stored model of "carol", of \d+ bytes, is damaged: its SHA-256 was .+, and is "[0-9a-f]{64}"\. DELETE \/users\/carol forgets it\.$/;
  const cases = [
    [sound.subarray(0, -1), metadata, damaged],
    [sound.subarray(0, 100), metadata, damaged],
    [new Uint8Array(0), metadata, damaged],
    [flipped(0), metadata, damaged],
    [flipped(200), metadata, damaged],
    [flipped(sound.length - 1), metadata, damaged],
    [sound, null, damaged],
    [sound, { sha256: 7 }, damaged],
    [stranger, { sha256: sum }, /^The stored model of "carol", of \d+ bytes, is none of this Worker's: .+\. DELETE/],
  ];
  for (const [bytes, sums, sentence] of cases) {
    await worker.kv.put(key, bytes, { metadata: sums });
    const answers = await Promise.all([
      ask(worker, '/users/carol'),
      ask(worker, '/users/carol/clicks', { method: 'POST', body: JSON.stringify(example) }),
      ask(worker, '/users/carol/predict', { method: 'POST', body: JSON.stringify({ features: {} }) }),
    ]);
    for (const { status, body } of answers) {
      assert.equal(status, 500);
      assert.match(body.error, sentence);
    }
    assert.deepEqual(new Uint8Array(await worker.kv.get(key, 'arrayBuffer')), Uint8Array.from(bytes));
  }
  assert.equal((await ask(worker, '/users/carol', { method: 'DELETE' })).status, 204);
  assert.equal((await ask(worker, '/users/carol')).status, 404);
  assert.equal((await post(worker, '/users/carol/clicks', example)).steps, 1);
  await worker.stop();
}

const cause = 'KV PUT failed: 429 Too Many Requests';

/** In Node, since miniflare's KV does not fail. */
async function failures({ parts }) {
  const fail = () => Promise.reject(new Error(cause));
  const empty = { getWithMetadata: async () => ({ value: null, metadata: null }), put: async () => {}, delete: fail };
  const body = JSON.stringify({ features: {}, clicked: true });
  const worker = (kv) => ({
    fetch: (path, init) => parts.worker.fetch(new Request(`http://x${path}`, init), { MODELS: kv }),
  });
  const answers = [
    await ask(worker({ ...empty, put: fail }), '/users/ann/clicks', { method: 'POST', body }),
    await ask(worker({ ...empty, getWithMetadata: fail }), '/users/ann/clicks', { method: 'POST', body }),
    await ask(worker({ ...empty, getWithMetadata: fail }), '/users/ann'),
    await ask(worker(empty), '/users/ann', { method: 'DELETE' }),
  ];
  const error = `The store of models gave an error: ${cause}`;
  for (const answer of answers) {
    assert.deepEqual([answer.status, answer.body], [503, { error }]);
    assert.equal(answer.headers.get('retry-after'), '1');
  }
}

async function readme({ start, example }) {
  if (spawnSync('curl', ['--version']).status !== 0) throw new Error('Expected a program curl, got none.');
  const worker = await start();
  await ask(worker, '/users/ann', { method: 'DELETE' });
  const text = readFileSync(join(example, 'README.md'), 'utf8');
  const [, block] = text.match(/^```sh\n(curl [^]*?)```/m);
  const commands = [...block.matchAll(/^(curl [^#]*\n)(?:# (.*))?/gm)];
  assert.equal(commands.length, 6);
  for (const [, command, expected = ''] of commands) {
    const { stdout } = spawnSync('sh', ['-c', `set -e\n${command.replace('localhost:8787/', worker.url.href)}`]);
    assert.equal(String(stdout), expected, command);
  }
  await worker.stop();
}

async function ask(worker, path, init) {
  const response = await worker.fetch(path, init);
  const text = await response.text();
  return { status: response.status, headers: response.headers, body: text === '' ? undefined : JSON.parse(text) };
}

async function post(worker, path, json) {
  const { status, body } = await ask(worker, path, { method: 'POST', body: JSON.stringify(json) });
  assert.equal(status, 200, JSON.stringify(body));
  return body;
}

/** All that the KV holds. */
async function everything(kv) {
  const { keys } = await kv.list();
  return new Map(await Promise.all(keys.map(async ({ name }) => [name, await kv.getWithMetadata(name)])));
}
