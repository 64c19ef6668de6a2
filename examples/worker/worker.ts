// A Cloudflare Worker that learns what each user clicks on, a step a request. Routes, and what they answer.

import { learn, predict, type Model } from './model.js';
import { Refusal, show } from './refusal.js';
import { readExamples, readItems } from './requests.js';
import { deleteModel, loadModel, saveModel, type KVNamespace } from './storage.js';

interface Env {
  readonly MODELS: KVNamespace;
}

type Handler = (kv: KVNamespace, user: string, request: Request) => Promise<Response>;

/** Of /users/ID, /users/ID/clicks and /users/ID/predict, by method. */
const routes = new Map<string | undefined, ReadonlyMap<string, Handler>>([
  [undefined, new Map([['GET', describe], ['DELETE', forget]])], // prettier-ignore
  ['clicks', new Map([['POST', learnFromClicks]])],
  ['predict', new Map([['POST', answerPredictions]])],
]);

export default {
  async fetch(request: Request, { MODELS }: Env): Promise<Response> {
    try {
      return await route(request, MODELS);
    } catch (error) {
      if (error instanceof Refusal) {
        return Response.json({ error: error.message }, { status: error.status, headers: error.headers });
      }
      console.error(error);
      return Response.json({ error: 'The Worker failed; its log says why.' }, { status: 500 });
    }
  },
};

async function route(request: Request, kv: KVNamespace): Promise<Response> {
  const { pathname } = new URL(request.url);
  const [, user, what] = /^\/users\/([^/]*)(?:\/([^/]+))?$/.exec(pathname) ?? [];
  const handlers = routes.get(what);
  if (user === undefined || handlers === undefined) {
    throw new Refusal(404, `Expected /users/ID, /users/ID/clicks or /users/ID/predict, got ${show(pathname)}.`);
  }
  const handler = handlers.get(request.method);
  if (handler === undefined) {
    const methods = [...handlers.keys()];
    const sentence = `Expected ${methods.join(' or ')} for ${show(pathname)}, got ${show(request.method)}.`;
    throw new Refusal(405, sentence, { allow: methods.join(', ') });
  }
  if (!/^[\w-]{1,64}$/.test(user)) {
    throw new Refusal(400, `Expected ID to be 1 to 64 letters, digits, "-" or "_", got ${show(user)}.`);
  }
  return handler(kv, user, request);
}

async function learnFromClicks(kv: KVNamespace, user: string, request: Request): Promise<Response> {
  const examples = await readExamples(request);
  return withModel(kv, user, async (model) => {
    const { probabilities, loss } = learn(model, [examples].flat());
    // Waited for: who is told of a step can rely on it.
    await saveModel(kv, user, model);
    const probability = Array.isArray(examples) ? probabilities : probabilities[0];
    return Response.json({ probability, loss, steps: stepsOf(model) });
  });
}

async function answerPredictions(kv: KVNamespace, user: string, request: Request): Promise<Response> {
  const items = await readItems(request);
  return withModel(kv, user, async (model) => {
    const steps = stepsOf(model);
    if (!Array.isArray(items)) return Response.json({ probability: predict(model, items), steps });
    const probability = items.map((item) => predict(model, item));
    const ranking = [...items.keys()].toSorted((a, b) => probability[b] - probability[a]);
    return Response.json({ probability, ranking, steps });
  });
}

async function describe(kv: KVNamespace, user: string): Promise<Response> {
  return withModel(kv, user, async (model, bytes) => {
    if (bytes === 0) throw new Refusal(404, `There is no model of the user ${show(user)}.`);
    return Response.json({ user, steps: stepsOf(model), bytes, backend: model.backend.name });
  });
}

async function forget(kv: KVNamespace, user: string): Promise<Response> {
  await deleteModel(kv, user);
  return new Response(null, { status: 204 });
}

/** The user's model for the time of one request: nothing of it is left for the next, whoever that is. */
async function withModel(
  kv: KVNamespace,
  user: string,
  use: (model: Model, bytes: number) => Promise<Response>,
): Promise<Response> {
  const { model, bytes } = await loadModel(kv, user);
  try {
    return await use(model, bytes);
  } finally {
    model.dispose();
  }
}

const stepsOf = (model: Model): number => model.stepOf('bias');
