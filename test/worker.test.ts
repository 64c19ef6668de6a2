// Tests examples/worker in Node with simulated Durable Objects. `npm run test:matrix` tests it in workerd.

import { createHmac } from 'node:crypto';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import worker, { UserModel } from '../examples/worker/worker.js';

const SECRET = 'a secret of the tests, and of no other Worker';
const inAnHour = Math.floor(Date.now() / 1000) + 3600;
const sign = (user: string, expires = inAnHour, secret = SECRET): string =>
  `Bearer ${expires}.${createHmac('sha256', secret).update(`${user}.${expires}`).digest('hex')}`;

/** Simulates the part of Durable Objects that the example uses. The storage is asynchronous and copies values. */
class Models {
  readonly objects = new Map<string, UserModel>();
  readonly stored = new Map<string, unknown>();
  alarm = 0;

  getByName(name: string): { fetch: (url: string, init: RequestInit) => Promise<Response> } {
    let object = this.objects.get(name);
    if (object === undefined) this.objects.set(name, (object = this.create(name)));
    return { fetch: (url, init) => object.fetch(new Request(url, init)) };
  }

  create(name: string): UserModel {
    const { stored } = this;
    const delay = (): Promise<void> => new Promise((resolve) => setTimeout(resolve, 1));
    const storage = {
      get: (key: string) => delay().then(() => structuredClone(stored.get(`${name}/${key}`))),
      put: (key: string, value: unknown) =>
        delay().then(() => void stored.set(`${name}/${key}`, structuredClone(value))),
      setAlarm: async (time: number) => void (this.alarm = time),
      deleteAlarm: async () => void (this.alarm = 0),
      deleteAll: async () =>
        [...stored.keys()].filter((key) => key.startsWith(`${name}/`)).forEach((key) => stored.delete(key)),
    };
    let last: Promise<unknown> = Promise.resolve();
    const blockConcurrencyWhile = <Result>(work: () => Promise<Result>): Promise<Result> => {
      const result = last.then(work);
      last = result;
      return result;
    };
    return new UserModel({ storage, blockConcurrencyWhile });
  }
}

let models: Models;
beforeEach(() => {
  models = new Models();
  vi.spyOn(console, 'error').mockImplementation(() => {});
});
afterEach(() => vi.restoreAllMocks());

interface Answer {
  readonly status: number;
  readonly headers: Headers;
  readonly body: any;
}

/** Sends a POST request, or GET without a body, with a token for ann. */
async function ask(path: string, body?: BodyInit, init: RequestInit = {}, env = { SECRET }): Promise<Answer> {
  const method = body === undefined ? 'GET' : 'POST';
  const options = { method, body, duplex: 'half', headers: { authorization: sign('ann') }, ...init };
  const response = await worker.fetch(new Request(`https://x.y${path}`, options), { ...env, MODELS: models });
  const text = await response.text();
  return { status: response.status, headers: response.headers, body: text === '' ? undefined : JSON.parse(text) };
}

const click = (features: unknown = { a: 1 }): string => JSON.stringify({ features, clicked: true });

describe('a deeply nested body gives status 400:', () => {
  const nested: [string, (depth: number) => string][] = [
    ['lists', (n) => '['.repeat(n) + ']'.repeat(n)],
    ['records', (n) => '{"a":'.repeat(n) + '1' + '}'.repeat(n)],
    ['both', (n) => '[{"features":'.repeat(n) + '1' + '}]'.repeat(n)],
    ['a feature', (n) => `{"features":{"a":${'['.repeat(n)}${']'.repeat(n)}},"clicked":true}`],
    ['all features', (n) => `[{"features":${'['.repeat(n)}${']'.repeat(n)},"clicked":true}]`],
    ['clicked', (n) => `{"features":{},"clicked":${'{"a":'.repeat(n)}1${'}'.repeat(n)}}`],
    ['left open', (n) => '['.repeat(n)],
  ];
  test.each(nested)('%s', async (...[, body]) => {
    for (const depth of [3, 100, 1000, 4000]) {
      for (const path of ['clicks', 'predict']) {
        const answer = await ask(`/users/ann/${path}`, body(depth), { headers: {} });
        expect(answer.status).toBe(400);
        expect(answer.body.error).toMatch(/^Expected .{1,200}\.$/);
      }
    }
    expect(console.error).not.toHaveBeenCalled();
    expect(models.objects.size).toBe(0);
  });

  test('the longest allowed body', async () => {
    const answer = await ask('/users/ann/clicks', '['.repeat(32_768) + ']'.repeat(32_768));
    expect(answer.body).toEqual({
      error: 'Expected item 0 of the body to be a record with exactly features and clicked, got [[…]].',
    });
  });
});

test('an aborted request logs no error and learns nothing', async () => {
  for (const parts of [[], ['{"fea'], [click()]]) {
    const rest = parts.map((part) => new TextEncoder().encode(part));
    const body = new ReadableStream({
      pull(controller) {
        const part = rest.shift();
        if (part === undefined) controller.error(new Error('gone'));
        else controller.enqueue(part);
      },
    });
    const answer = await ask('/users/ann/clicks', body);
    const length = parts.join('').length;
    const error = `Expected a whole body, got only ${length} bytes.`;
    expect([answer.status, answer.body]).toEqual([400, { error }]);
  }
  expect(console.error).not.toHaveBeenCalled();
  expect(models.objects.size).toBe(0);
});

describe('refuses requests', () => {
  const refused: [string, string | undefined, string][] = [
    ['without a token', undefined, 'none'],
    ['with another scheme', sign('ann').replace('Bearer', 'Basic'), 'something else'],
    ['with a token of another user', sign('bob'), 'one that is not signed for this user'],
    ['signed with another secret', sign('ann', inAnHour, `${SECRET}.`), 'one that is not signed for this user'],
    ['with a changed time', sign('ann').replace(`${inAnHour}`, `${inAnHour + 1}`), 'one that is not signed'],
    ['with an expired token', sign('ann', 1e9), 'one that expired at 2001-09-09T01:46:40.000Z'],
  ];
  test.each(refused)('%s', async (...[, token, got]) => {
    const headers: HeadersInit = token === undefined ? [] : [['authorization', token]];
    const answers = [
      await ask('/users/ann/clicks', click(), { headers }),
      await ask('/users/ann/predict', '{"features":{}}', { headers }),
      await ask('/users/ann', undefined, { headers }),
      await ask('/users/ann', undefined, { headers, method: 'DELETE' }),
    ];
    for (const answer of answers) {
      expect(answer.status).toBe(401);
      expect(answer.headers.get('www-authenticate')).toBe('Bearer');
      expect(answer.body.error).toContain(`with a token for "ann", got ${got}`);
    }
    expect(models.objects.size).toBe(0);
    expect(console.error).not.toHaveBeenCalled();
  });

  test.each(['', 'short', undefined])('if SECRET is %s, and logs why', async (secret) => {
    const headers = { authorization: sign('ann', inAnHour, secret) };
    const answer = await ask('/users/ann/clicks', click(), { headers }, { SECRET: secret as string });
    expect([answer.status, answer.body]).toEqual([500, { error: 'The Worker failed; see its log.' }]);
    const error = new Error('Expected a secret SECRET of at least 32 characters: see the README of the Worker.');
    expect(vi.mocked(console.error).mock.calls).toEqual([[error]]);
    expect(models.objects.size).toBe(0);
  });
});

test('20 concurrent clicks are 20 steps, and each answer has its own count', async () => {
  const answers = await Promise.all(Array.from({ length: 20 }, () => ask('/users/ann/clicks', click())));
  const steps = answers.map(({ body }) => body.steps).toSorted((a, b) => a - b);
  expect(steps).toEqual(Array.from({ length: 20 }, (_, i) => i + 1));
  expect((await ask('/users/ann')).body.steps).toBe(20);
  expect([...models.stored.keys()]).toEqual(['ann/clicks-1']);
});

test('deletes a model 90 days after the last click', async () => {
  await ask('/users/ann/clicks', click());
  expect(models.alarm / 1000 - Date.now() / 1000).toBeCloseTo(90 * 24 * 3600, -2);
  await models.objects.get('ann')!.alarm();
  expect(models.stored.size).toBe(0);
  expect((await ask('/users/ann')).status).toBe(404);
});

test('accepts names of Object.prototype as features', async () => {
  const names = ['__proto__', 'constructor', 'toString', 'hasOwnProperty', '', 'a/b', '%2F', '\ud800', 'ä'];
  for (const [i, name] of names.entries()) {
    const body = `{"features":{${JSON.stringify(name)}:1},"clicked":true}`;
    expect((await ask('/users/ann/clicks', body)).body.steps).toBe(i + 1);
    const learned = await ask('/users/ann/predict', `{"features":[{${JSON.stringify(name)}:1},{"another":1}]}`);
    expect(learned.body.ranking).toEqual([0, 1]);
    expect(learned.body.probability[0]).toBeGreaterThan(learned.body.probability[1]);
  }
});

test('answers any body with status 200 or a sentence, and logs nothing', async () => {
  const pieces = [
    '[',
    ']',
    '{',
    '}',
    '"features"',
    '"clicked"',
    '"__proto__"',
    ':',
    ',',
    'true',
    'null',
    '1e999',
    '-0',
  ];
  pieces.push('"a"', '"\\ud800"', '1001', '\u0000', '\ufeff', ' ', '{"features":{"a":1},"clicked":true}', '7', '"');
  let random = 1;
  const below = (n: number): number => (random = (random * 48271) % 2147483647) % n;
  const seen = new Set<number>();
  for (let i = 0; i < 3000; i++) {
    const text = Array.from({ length: 1 + below(12) }, () => pieces[below(pieces.length)]).join('');
    const bytes = new TextEncoder().encode(text);
    if (below(10) === 0) bytes[below(bytes.length)] = 0x80 + below(128);
    const { status, body } = await ask(`/users/ann/${below(2) === 0 ? 'clicks' : 'predict'}`, bytes);
    seen.add(status);
    if (status !== 200) expect(body.error).toMatch(/^Expected [^]{1,300}\.$/);
  }
  expect([...seen].toSorted()).toEqual([200, 400]);
  expect(console.error).not.toHaveBeenCalled();
});
