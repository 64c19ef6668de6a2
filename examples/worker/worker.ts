// A Cloudflare Worker that learns what each user clicks on, one step per request. This file has the routes, and the
// checks before a request reaches the user's model (user-model.ts).

import { authorize } from './auth.js';
import { answered, Refusal, show } from './refusal.js';
import { readExamples, readItems } from './requests.js';
import type { Task } from './user-model.js';

export { UserModel } from './user-model.js';

interface Env {
  readonly SECRET: string;
  readonly MODELS: DurableObjectNamespace;
}

/** The used part of the class with this name in @cloudflare/workers-types. */
interface DurableObjectNamespace {
  getByName(name: string): { fetch(url: string, init: RequestInit): Promise<Response> };
}

type Read = (request: Request) => Promise<Task>;

/** The readers of /users/ID, /users/ID/clicks and /users/ID/predict, by method. */
const routes = new Map<string | undefined, ReadonlyMap<string, Read>>([
  [
    undefined,
    new Map<string, Read>([
      ['GET', async () => ({ kind: 'describe' })],
      ['DELETE', async () => ({ kind: 'forget' })],
    ]),
  ],
  ['clicks', new Map([['POST', async (request) => ({ kind: 'learn', examples: await readExamples(request) })]])],
  ['predict', new Map([['POST', async (request) => ({ kind: 'predict', items: await readItems(request) })]])],
]);

export default {
  fetch: (request: Request, env: Env): Promise<Response> => answered(() => route(request, env)),
};

async function route(request: Request, { SECRET, MODELS }: Env): Promise<Response> {
  const { pathname } = new URL(request.url);
  const [, user, what] = /^\/users\/([^/]*)(?:\/([^/]+))?$/.exec(pathname) ?? [];
  const readers = routes.get(what);
  if (user === undefined || readers === undefined) {
    throw new Refusal(404, `Expected /users/ID, /users/ID/clicks or /users/ID/predict, got ${show(pathname)}.`);
  }
  // HEAD is answered as GET; the runtime leaves out the body.
  const read = readers.get(request.method === 'HEAD' ? 'GET' : request.method);
  if (read === undefined) {
    const methods = [...readers.keys()];
    const sentence = `Expected ${methods.join(' or ')} for ${show(pathname)}, got ${show(request.method)}.`;
    throw new Refusal(405, sentence, { allow: methods.join(', ') });
  }
  if (!/^[\w-]{1,64}$/.test(user)) {
    throw new Refusal(400, `Expected ID to be 1 to 64 letters, digits, "-" or "_", got ${show(user)}.`);
  }
  // Check the body first: it is short, needs no secret, and nothing is stored before the token is checked.
  const task = await read(request);
  await authorize(request, user, SECRET);
  const init = { method: 'POST', body: JSON.stringify({ user, task }) };
  return MODELS.getByName(user)
    .fetch('https://user-model/', init)
    .catch((error: Error) => {
      const sentence = `The model of ${show(user)} cannot be reached: ${error.message}`;
      throw new Refusal(503, sentence, { 'retry-after': '1' });
    });
}
