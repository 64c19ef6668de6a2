// Errors for the client, and the responses to errors.

/** An error whose message is sent to the client. */
export class Refusal extends Error {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;

  constructor(status: number, sentence: string, headers: Readonly<Record<string, string>> = {}) {
    super(sentence);
    this.status = status;
    this.headers = headers;
  }
}

/** Returns the response of `work`. If it throws, sends a Refusal to the client, and logs any other error. */
export async function answered(work: () => Promise<Response>): Promise<Response> {
  try {
    return await work();
  } catch (error) {
    if (error instanceof Refusal) {
      return Response.json({ error: error.message }, { status: error.status, headers: error.headers });
    }
    console.error(error);
    return Response.json({ error: 'The Worker failed; see its log.' }, { status: 500 });
  }
}

/** Returns a JSON value as text for a message: short, and one level deep, as deep ones may overflow the stack. */
export function show(value: unknown): string {
  const text = Array.isArray(value) ? `[${value.map(showItem).join(',')}]` : showItem(value);
  return text.length > 80 ? `${text.slice(0, 80)}…` : text;
}

function showItem(value: unknown): string {
  if (Array.isArray(value)) return '[…]';
  // String(), because JSON.parse('1e999') is Infinity.
  return isRecord(value) ? '{…}' : typeof value === 'string' ? JSON.stringify(value) : String(value);
}

export const isRecord = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value);
