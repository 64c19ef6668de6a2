// Access control: a request needs a token for its user, "EXPIRES.SIGNATURE". Your server, which knows its users, makes
// tokens as token.mjs does. The Worker checks them with the same secret, and stores none.

import { Refusal, show } from './refusal.js';

/** Throws a Refusal unless the request has a valid token for this user. */
export async function authorize(request: Request, user: string, secret: string): Promise<void> {
  const header = request.headers.get('authorization');
  const refuse = (got: string): never => {
    const sentence = `Expected a header "Authorization: Bearer TOKEN" with a token for ${show(user)}, got ${got}.`;
    throw new Refusal(401, sentence, { 'www-authenticate': 'Bearer' });
  };
  if (header === null) return refuse('none');
  const [, expires, signature] = /^Bearer (\d{1,12})\.([0-9a-f]{64})$/i.exec(header) ?? [];
  if (expires === undefined || signature === undefined) return refuse('something else');
  // With an empty secret anybody could sign. Only log this: the client cannot do anything about it.
  if (typeof secret !== 'string' || secret.length < 32) {
    throw new Error('Expected a secret SECRET of at least 32 characters: see the README of the Worker.');
  }
  const algorithm = { name: 'HMAC', hash: 'SHA-256' };
  const key = await crypto.subtle.importKey('raw', utf8(secret), algorithm, false, ['verify']);
  const bytes = Uint8Array.from(signature.match(/../g)!, (digits) => parseInt(digits, 16));
  // verify() takes the same time for every wrong signature.
  const isGood = await crypto.subtle.verify(algorithm, key, bytes, utf8(`${user}.${expires}`));
  if (!isGood) return refuse('one that is not signed for this user');
  const end = new Date(Number(expires) * 1000);
  if (end.getTime() <= Date.now()) return refuse(`one that expired at ${end.toISOString()}`);
}

const utf8 = (text: string) => new TextEncoder().encode(text);
