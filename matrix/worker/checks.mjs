// Checks of examples/worker. Each starts its own Worker; all use the same storage.

import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { createHmac } from 'node:crypto';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { connect } from 'node:net';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { bad } from './requests.mjs';
import { crossEntropy, mean, synthetic } from './users.mjs';

/** Per user: requests with one example, which are timed, then requests with a list, and the length of a list. */
const SINGLE = 200;
const LISTS = 150;
const LIST = 20;

/** The secret of the tested Workers. */
export const SECRET = 'a secret of the checks, and of no other Worker';

export const checks = {
  'features are hashed by FNV-1a': hashing,
  'two users learn separately, with the bits that Node learns, across cold starts': learning,
  'users at the same time do not affect each other': crowds,
  'simultaneous clicks of a user are learned one after another': rush,
  'requests without a valid token are refused, and nothing is stored': badTokens,
  'bad requests are refused with a sentence, before the token is checked, and nothing changes': refusals,
  'a client that disconnects causes no error, and nothing is learned': leaving,
  'a damaged model is reported, and stays unchanged until it is deleted': damage,
  'a model is deleted 90 days after its last click': forgetting,
  'a failure of the storage or the object is answered with a 503': failures,
  'the README shows the answers to its commands': readme,
};

function hashing({ parts: { fnv1a, hashed } }) {
  // From the authors' test vectors.
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
    // Restart in the middle of both kinds of requests: the isolate, with all of its memory, is gone.
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
  assert(first > 0.1 && last < first / 10, `The loss is ${first} above the entropy at the start, ${last} at the end.`);

  for (const { name, model } of users) {
    const value = (await worker.stored(name)).bytes;
    assert.deepEqual(Uint8Array.from(value), await parts.saveCheckpoint(model), `the checkpoint of ${name}`);
    const { status, body } = await ask(worker, `/users/${name}`);
    assert.equal(status, 200);
    assert.equal(model.backend.name, 'wasm', model.backend.reason);
    const bytes = value.length;
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
    'stored value, bytes': bytes,
    'loss above the entropy, first 10 requests': first.toFixed(3),
    'loss above the entropy, last 50 requests': last.toFixed(4),
    [`ms per request, ${times.length} requests (median, 95 %, largest)`]: `${at(0.5)}, ${at(0.95)}, ${at(1)}`,
    'ms to start workerd, to its first answer': `${cold.milliseconds.toFixed(0)}, ${firstAnswer.toFixed(0)}`,
  };
}

/** Twenty users at the same time: each must start with a new model, and end with the same model as if alone. */
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
      const { bytes } = await worker.stored(name);
      assert.deepEqual(Uint8Array.from(bytes), await parts.saveCheckpoint(model), `the checkpoint of ${name}`);
      model.dispose();
    }),
  );
  assert.equal((await ask(worker, '/users/stranger')).status, 404);
  const asked = await post(worker, '/users/stranger/predict', { features: { topic: 'art' } });
  assert.deepEqual(asked, { probability: 0.5, steps: 0 });
  assert.equal((await ask(worker, '/users/stranger')).status, 404, 'a prediction stores nothing');
  await worker.stop();
}

/** Sends the same click 20 times at once: in any order the result is that of 20 clicks in a row. */
async function rush({ start, parts }) {
  const worker = await start();
  const example = { features: { topic: 'art', position: 0.5 }, clicked: true };
  const model = await parts.newModel();
  const expected = Array.from({ length: 20 }, (_, i) => {
    const { probabilities, loss } = parts.learn(model, [example]);
    return { probability: probabilities[0], loss, steps: i + 1 };
  });
  const answers = await Promise.all(expected.map(() => post(worker, '/users/rush/clicks', example)));
  assert.deepEqual(answers.toSorted((a, b) => a.steps - b.steps), expected); // prettier-ignore
  const { bytes } = await worker.stored('rush');
  assert.deepEqual(Uint8Array.from(bytes), await parts.saveCheckpoint(model));
  await worker.stop();
}

const sign = (user, expires, secret = SECRET) =>
  `${expires}.${createHmac('sha256', secret).update(`${user}.${expires}`).digest('hex')}`;

async function badTokens({ start }) {
  const worker = await start();
  const before = await allStored(worker);
  const later = Math.floor(Date.now() / 1000) + 60;
  const good = sign('ann', later);
  const forged = 'one that is not signed for this user';
  const cases = [
    [undefined, 'none'],
    ['Bearer', 'something else'],
    [`Basic ${good}`, 'something else'],
    [`Bearer ${good}0`, 'something else'],
    [`Bearer ${good.slice(0, -1)}`, 'something else'],
    [`Bearer -${good}`, 'something else'],
    [`Bearer ${sign('bob', later)}`, forged],
    [`Bearer ${sign('ANN', later)}`, forged],
    [`Bearer ${sign('ann', later, 'another secret, as long as the first one')}`, forged],
    [`Bearer ${good.replace(`${later}`, `${later + 1}`)}`, forged],
    [`Bearer ${good.replace(/.$/, (digit) => (digit === '0' ? '1' : '0'))}`, forged],
    [`Bearer ${later}.${'0'.repeat(64)}`, forged],
    [`Bearer ${sign('ann', 1)}`, 'one that expired at 1970-01-01T00:00:01.000Z'],
  ];
  const requests = [
    ['GET', '/users/ann'],
    ['DELETE', '/users/ann'],
    ['POST', '/users/ann/clicks', JSON.stringify({ features: {}, clicked: true })],
    ['POST', '/users/ann/predict', JSON.stringify({ features: {} })],
  ];
  for (const [header, got] of cases) {
    for (const [method, path, body] of requests) {
      const init = { method, body, headers: header === undefined ? {} : { authorization: header } };
      const answer = await ask(worker, path, init);
      const error = `Expected a header "Authorization: Bearer TOKEN" with a token for "ann", got ${got}.`;
      assert.deepEqual([answer.status, answer.body], [401, { error }], `${method} ${path} with ${header}`);
      assert.equal(answer.headers.get('www-authenticate'), 'Bearer');
    }
  }
  // The scheme and the digits are not case-sensitive.
  const { status } = await ask(worker, '/users/ann', { headers: { authorization: `bearer ${good.toUpperCase()}` } });
  assert.equal(status, 200);
  assert.deepEqual(await allStored(worker), before);
  assert.equal(worker.logged(), '');
  await worker.stop();
}

async function refusals({ start }) {
  const worker = await start();
  const before = await allStored(worker);
  assert(before.get('ann').bytes.length > 0);
  for (const { path, status, sentence, headers = {}, ...init } of bad) {
    const options = { ...init, headers: {}, ...(init.body instanceof ReadableStream && { duplex: 'half' }) };
    const answer = await ask(worker, path, options);
    const what = `${init.method ?? 'GET'} ${path}`;
    assert.deepEqual([answer.status, answer.body], [status, { error: sentence }], what);
    for (const [name, value] of Object.entries(headers)) assert.equal(answer.headers.get(name), value, what);
  }
  const head = await worker.fetch('/users/ann', { method: 'HEAD', headers: authorization('ann') });
  assert.deepEqual([head.status, await head.text()], [200, '']);
  assert.deepEqual(await allStored(worker), before);
  assert.equal(worker.logged(), '');
  await worker.stop();
  return { 'kinds of bad requests': bad.length };
}

async function leaving({ start }) {
  const worker = await start();
  const example = { features: {}, clicked: true };
  await post(worker, '/users/erin/clicks', example);
  const head = ['POST /users/erin/clicks HTTP/1.1', 'host: x', `authorization: ${authorization('erin').authorization}`];
  const leave = async (...rest) => {
    const socket = connect(Number(worker.url.port), worker.url.hostname);
    await once(socket, 'connect');
    socket.write([...head, ...rest].join('\r\n'));
    await setTimeout(200);
    socket.destroy();
    await setTimeout(200);
  };
  await leave('content-length: 1000', '', '{"fea');
  await leave('transfer-encoding: chunked', '', '5', '{"fea', '');
  assert.equal((await ask(worker, '/users/erin')).body.steps, 1);
  assert.equal(worker.logged(), '');
  await worker.stop();
}

async function damage({ start, parts }) {
  const worker = await start();
  const example = { features: { topic: 'art' }, clicked: true };
  await post(worker, '/users/carol/clicks', example);
  const sound = await worker.stored('carol');
  const changed = (bytes, sha256 = sound.sha256) => ({ bytes: Array.from(bytes), sha256 });
  const flipped = (at) => changed(sound.bytes.map((byte, i) => (i === at ? byte ^ 1 : byte)));
  const foreign = await parts.saveCheckpoint(await parts.adam({ weight: new Float32Array(9) }));
  const sum = Buffer.from(await crypto.subtle.digest('SHA-256', foreign)).toString('hex');
  const damaged =
    /^The stored model of "carol", of \d+ bytes, is damaged: its SHA-256 was .+, now it is "[0-9a-f]{64}"\. DELETE \/users\/carol deletes it\.$/;
  const cases = [
    [changed(sound.bytes.slice(0, -1)), damaged],
    [changed(sound.bytes.slice(0, 100)), damaged],
    [changed([]), damaged],
    [flipped(0), damaged],
    [flipped(200), damaged],
    [flipped(sound.bytes.length - 1), damaged],
    [changed(sound.bytes, null), damaged],
    [changed(sound.bytes, 7), damaged],
    [changed(foreign, sum), /^The stored model of "carol", of \d+ bytes, does not belong to this Worker: .+\. DELETE/],
  ];
  for (const [stored, sentence] of cases) {
    await worker.stored('carol', { method: 'PUT', body: JSON.stringify(stored) });
    const answers = await Promise.all([
      ask(worker, '/users/carol'),
      ask(worker, '/users/carol/clicks', { method: 'POST', body: JSON.stringify(example) }),
      ask(worker, '/users/carol/predict', { method: 'POST', body: JSON.stringify({ features: {} }) }),
    ]);
    for (const { status, body } of answers) {
      assert.equal(status, 500);
      assert.match(body.error, sentence);
    }
    const { bytes, sha256 } = await worker.stored('carol');
    assert.deepEqual({ bytes, sha256 }, stored);
  }
  assert.equal((await ask(worker, '/users/carol', { method: 'DELETE' })).status, 204);
  assert.equal((await ask(worker, '/users/carol')).status, 404);
  assert.deepEqual(await worker.stored('carol'), { alarm: null });
  assert.equal((await post(worker, '/users/carol/clicks', example)).steps, 1);
  await worker.stop();
}

async function forgetting({ start }) {
  const worker = await start();
  const days = async () => ((await worker.stored('dora')).alarm - Date.now()) / 86_400_000;
  const click = () => post(worker, '/users/dora/clicks', { features: {}, clicked: true });
  await click();
  const first = (await worker.stored('dora')).alarm;
  assert(Math.abs((await days()) - 90) < 0.01);
  assert.equal((await click()).steps, 2);
  assert((await worker.stored('dora')).alarm > first, 'each click moves the alarm');
  await worker.stored('dora', { method: 'POST' });
  assert.deepEqual(await worker.stored('dora'), { alarm: null });
  assert.equal((await ask(worker, '/users/dora')).status, 404);
  assert.equal((await click()).steps, 1);
  await worker.stop();
}

const nothing = async () => {};

/** Runs in Node, because miniflare's objects do not fail. */
async function failures({ parts: { worker, UserModel } }) {
  const cause = 'Internal error in Durable Object storage';
  const fail = async () => {
    throw new Error(cause);
  };
  const empty = { get: nothing, put: nothing, setAlarm: nothing, deleteAlarm: nothing, deleteAll: nothing };
  const over = (storage) => {
    const model = new UserModel({ storage: { ...empty, ...storage }, blockConcurrencyWhile: (work) => work() });
    return (url, init) => model.fetch(new Request(url, init));
  };
  const running = (fetchModel) => ({
    fetch: (path, init) =>
      worker.fetch(new Request(`http://x${path}`, init), {
        SECRET,
        MODELS: { getByName: () => ({ fetch: fetchModel }) },
      }),
  });
  const init = { method: 'POST', body: JSON.stringify({ features: {}, clicked: true }) };
  const storage = `The storage of the model gave an error: ${cause}`;
  const cases = [
    [storage, await ask(running(over({ put: fail })), '/users/ann/clicks', init)],
    [storage, await ask(running(over({ setAlarm: fail })), '/users/ann/clicks', init)],
    [storage, await ask(running(over({ get: fail })), '/users/ann/clicks', init)],
    [storage, await ask(running(over({ get: fail })), '/users/ann')],
    [storage, await ask(running(over({ deleteAll: fail })), '/users/ann', { method: 'DELETE' })],
    [`The model of "ann" cannot be reached: ${cause}`, await ask(running(fail), '/users/ann')],
  ];
  for (const [error, answer] of cases) {
    assert.deepEqual([answer.status, answer.body], [503, { error }]);
    assert.equal(answer.headers.get('retry-after'), '1');
  }
}

async function readme({ start, example }) {
  if (spawnSync('curl', ['--version']).status !== 0) throw new Error('Expected the program curl, got none.');
  const worker = await start();
  await ask(worker, '/users/ann', { method: 'DELETE' });
  const text = readFileSync(join(example, 'README.md'), 'utf8');
  const [, block] = text.match(/^```sh\n(curl [^]*?)```/m);
  const commands = [...block.matchAll(/^(curl [^#]*\n)(?:# (.*))?/gm)];
  assert.equal(commands.length, 7);
  const env = { ...process.env, AUTH: `authorization: ${authorization('ann').authorization}` };
  for (const [, command, expected = ''] of commands) {
    const script = `set -e\n${command.replace('localhost:8787/', worker.url.href)}`;
    const { stdout } = spawnSync('sh', ['-c', script], { env });
    assert.equal(String(stdout), expected, command);
  }
  await worker.stop();
}

/** Sends a request with a token for the user in the path, unless `init` has headers. */
async function ask(worker, path, init) {
  const response = await worker.fetch(path, { headers: authorization(path.split('/')[2]), ...init });
  const text = await response.text();
  return { status: response.status, headers: response.headers, body: text === '' ? undefined : JSON.parse(text) };
}

const tokens = new Map();

/** Returns a header with a token made by the example's token.mjs. */
function authorization(user) {
  if (!tokens.has(user)) {
    const program = fileURLToPath(new URL('../../examples/worker/token.mjs', import.meta.url));
    const token = execFileSync(process.execPath, [program, user], { env: { SECRET }, encoding: 'utf8' });
    tokens.set(user, token.trim());
  }
  return { authorization: `Bearer ${tokens.get(user)}` };
}

async function post(worker, path, json) {
  const { status, body } = await ask(worker, path, { method: 'POST', body: JSON.stringify(json) });
  assert.equal(status, 200, JSON.stringify(body));
  return body;
}

/** Returns what is stored for the users of the checks. */
async function allStored(worker) {
  const users = ['ann', 'bob', 'rush', ...Array.from({ length: 20 }, (_, i) => `user-${i}`)];
  return new Map(await Promise.all(users.map(async (user) => [user, await worker.stored(user)])));
}
