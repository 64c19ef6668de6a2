// What is refused, and how a refusal is answered.

/** An error whose sentence is the answer to the request. */
export class Refusal extends Error {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;

  constructor(status: number, sentence: string, headers: Readonly<Record<string, string>> = {}) {
    super(sentence);
    this.status = status;
    this.headers = headers;
  }
}

/** The response, or that to the error: a Refusal is the client's affair, and anything else is logged. */
export async function answered(work: () => Promise<Response>): Promise<Response> {
  try {
    return await work();
  } catch (error) {
    if (error instanceof Refusal) {
      return Response.json({ error: error.message }, { status: error.status, headers: error.headers });
    }
    console.error(error);
    return Response.json({ error: 'The Worker failed; its log says why.' }, { status: 500 });
  }
}

/** A value of JSON as a sentence shows it: short, and one level deep, since nested ones may overflow the stack. */
export function show(value: unknown): string {
  const text = Array.isArray(value) ? `[${value.map(showItem).join(',')}]` : showItem(value);
  return text.length > 80 ? `${text.slice(0, 80)}…` : text;
}

function showItem(value: unknown): string {
  if (Array.isArray(value)) return '[…]';
  // JSON has no Infinity, which 1e999 is.
  return isRecord(value) ? '{…}' : typeof value === 'string' ? JSON.stringify(value) : String(value);
}

export const isRecord = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value);
