// The model of one user, as a Durable Object. There is only one object per name, so all requests of a user go to it. It
// handles one at a time: no step is lost, and "steps" counts them.

import { learn, predict, type Example, type Model } from './model.js';
import type { Features } from './features.js';
import { answered, Refusal, show } from './refusal.js';
import { deleteModel, loadModel, saveModel, type DurableObjectStorage } from './storage.js';

/** A request of the Worker, already checked. */
export type Task =
  | { readonly kind: 'learn'; readonly examples: Example | Example[] }
  | { readonly kind: 'predict'; readonly items: Features | Features[] }
  | { readonly kind: 'describe' }
  | { readonly kind: 'forget' };

/** The used part of the class with this name in @cloudflare/workers-types. */
interface DurableObjectState {
  readonly storage: DurableObjectStorage;
  blockConcurrencyWhile<Result>(work: () => Promise<Result>): Promise<Result>;
}

export class UserModel {
  readonly #state: DurableObjectState;

  constructor(state: DurableObjectState) {
    this.#state = state;
  }

  async fetch(request: Request): Promise<Response> {
    const { user, task } = (await request.json()) as { user: string; task: Task };
    // Without this, two clicks could load the same model, and one step would be lost.
    return this.#state.blockConcurrencyWhile(() => answered(() => perform(this.#state.storage, user, task)));
  }

  /** Deletes the model. The last click sets the alarm (storage.ts). */
  alarm(): Promise<void> {
    return deleteModel(this.#state.storage);
  }
}

async function perform(storage: DurableObjectStorage, user: string, task: Task): Promise<Response> {
  if (task.kind === 'forget') {
    await deleteModel(storage);
    return new Response(null, { status: 204 });
  }
  const { model, bytes } = await loadModel(storage, user);
  try {
    if (task.kind === 'learn') return await learnFromClicks(storage, model, task.examples);
    if (task.kind === 'predict') return predictClicks(model, task.items);
    if (bytes === 0) throw new Refusal(404, `There is no model of the user ${show(user)}.`);
    return Response.json({ user, steps: stepsOf(model), bytes, backend: model.backend.name });
  } finally {
    model.dispose();
  }
}

async function learnFromClicks(
  storage: DurableObjectStorage,
  model: Model,
  examples: Example | Example[],
): Promise<Response> {
  const { probabilities, loss } = learn(model, [examples].flat());
  // Await this, so that an answered step is stored.
  await saveModel(storage, model);
  const probability = Array.isArray(examples) ? probabilities : probabilities[0];
  return Response.json({ probability, loss, steps: stepsOf(model) });
}

function predictClicks(model: Model, items: Features | Features[]): Response {
  const steps = stepsOf(model);
  if (!Array.isArray(items)) return Response.json({ probability: predict(model, items), steps });
  const probability = items.map((item) => predict(model, item));
  const ranking = [...items.keys()].toSorted((a, b) => probability[b] - probability[a]);
  return Response.json({ probability, ranking, steps });
}

const stepsOf = (model: Model): number => model.stepOf('bias');
