// Bad requests to examples/worker, and the expected answers.

const post = (path, body, status, sentence) => ({ path, method: 'POST', body, status, sentence });
const clicks = (body, sentence, status = 400) => post('/users/ann/clicks', body, status, sentence);
const predict = (body, sentence) => post('/users/ann/predict', body, 400, sentence);
const path = (where, method = 'GET') => ({
  path: where,
  method,
  status: 404,
  sentence: `Expected /users/ID, /users/ID/clicks or /users/ID/predict, got ${JSON.stringify(where)}.`,
});
const method = (where, one, methods) => ({
  path: where,
  method: one,
  status: 405,
  sentence: `Expected ${methods.join(' or ')} for "${where}", got "${one}".`,
  headers: { allow: methods.join(', ') },
});
const id = (one, where = one) => ({
  path: `/users/${one}`,
  status: 400,
  sentence: `Expected ID to be 1 to 64 letters, digits, "-" or "_", got "${where}".`,
});

const chunks = (count) => {
  let sent = 0;
  return new ReadableStream({
    pull(controller) {
      if (sent++ === count) controller.close();
      else controller.enqueue(new Uint8Array(1000).fill(0x20));
    },
  });
};
const many = (count) =>
  JSON.stringify({ features: Object.fromEntries(Array.from({ length: count }, (_, i) => [i, 1])) });
const list = (count) => JSON.stringify({ features: Array.from({ length: count }, () => ({})) });
const pair = (features, clicked = true) => JSON.stringify({ features, clicked });

const nested = (depth) => '['.repeat(depth) + ']'.repeat(depth);

export const bad = [
  path('/'),
  path('/users'),
  path('/user/ann'),
  path('/users/ann/'),
  path('/users/ann/click', 'POST'),
  path('/users/ann/clicks/1', 'POST'),
  path('/users/ann/constructor', 'POST'),
  method('/users/ann', 'POST', ['GET', 'DELETE']),
  method('/users/ann', 'PUT', ['GET', 'DELETE']),
  method('/users/ann/clicks', 'GET', ['POST']),
  method('/users/ann/predict', 'DELETE', ['POST']),
  id(''),
  id('a%20b'),
  id('ä', '%C3%A4'),
  id('%'),
  id('a.b'),
  id('a'.repeat(65)),
  { ...id('a b', 'a%20b'), path: '/users/a b/clicks', method: 'POST', body: pair({}) },

  clicks('', 'Expected the body to be JSON, got "".'),
  clicks('{"features":', 'Expected the body to be JSON, got "{\\"features\\":".'),
  clicks('[NaN]', 'Expected the body to be JSON, got "[NaN]".'),
  clicks(Uint8Array.of(0x22, 0xff, 0x22), 'Expected the body to be UTF-8, got 3 bytes that are not.'),
  clicks('null', 'Expected the body to be a record with exactly features and clicked, got null.'),
  clicks('7', 'Expected the body to be a record with exactly features and clicked, got 7.'),
  clicks('{}', 'Expected the body to be a record with exactly features and clicked, got [].'),
  clicks('{"features":{}}', 'Expected the body to be a record with exactly features and clicked, got ["features"].'),
  clicks(
    '{"features":{},"clicked":true,"click":1}',
    'Expected the body to be a record with exactly features and clicked, got ["features","clicked","click"].',
  ),
  clicks(
    '{"features":{},"__proto__":{"clicked":true}}',
    'Expected the body to be a record with exactly features and clicked, got ["features","__proto__"].',
  ),
  clicks('[]', 'Expected the length of the body to be 1 to 100, got 0.'),
  clicks(`[${pair({})},${pair({}, 1)}]`, 'Expected clicked of item 1 of the body to be true or false, got 1.'),
  clicks(JSON.stringify(Array(101).fill(0)), 'Expected the length of the body to be 1 to 100, got 101.'),
  clicks(pair({}, 'yes'), 'Expected clicked of the body to be true or false, got "yes".'),
  clicks(pair({}, null), 'Expected clicked of the body to be true or false, got null.'),
  clicks(pair(null), 'Expected features of the body to be a record of strings and numbers, got null.'),
  clicks(pair('sport'), 'Expected features of the body to be a record of strings and numbers, got "sport".'),
  clicks(pair([1]), 'Expected features of the body to be a record of strings and numbers, got [1].'),
  clicks(
    pair({ topic: null }),
    'Expected "topic" in features of the body to be a string, or a number from -1000 to 1000, got null.',
  ),
  clicks(
    pair({ topic: true }),
    'Expected "topic" in features of the body to be a string, or a number from -1000 to 1000, got true.',
  ),
  clicks(
    pair({ topic: ['a'] }),
    'Expected "topic" in features of the body to be a string, or a number from -1000 to 1000, got ["a"].',
  ),
  clicks(
    '{"features":{"a":1001},"clicked":true}',
    'Expected "a" in features of the body to be a string, or a number from -1000 to 1000, got 1001.',
  ),
  clicks(
    '{"features":{"a":1e999},"clicked":true}',
    'Expected "a" in features of the body to be a string, or a number from -1000 to 1000, got Infinity.',
  ),
  ...[100, 5000, 32_768].map((depth) =>
    clicks(nested(depth), 'Expected item 0 of the body to be a record with exactly features and clicked, got [[…]].'),
  ),
  clicks(
    `{"features":{"a":${nested(30_000)}},"clicked":true}`,
    'Expected "a" in features of the body to be a string, or a number from -1000 to 1000, got [[…]].',
  ),
  clicks(
    `{"features":{},"clicked":${'{"a":'.repeat(9000)}1${'}'.repeat(9000)}}`,
    'Expected clicked of the body to be true or false, got {…}.',
  ),
  clicks(' '.repeat(65_537), 'Expected a body of at most 65536 bytes, got 65537.', 413),
  clicks(chunks(70), 'Expected a body of at most 65536 bytes, got more.', 413),

  predict('', 'Expected the body to be JSON, got "".'),
  predict(
    '{"features":{},"clicked":true}',
    'Expected the body to be a record with exactly features, got ["features","clicked"].',
  ),
  predict('[]', 'Expected the body to be a record with exactly features, got [].'),
  predict('{"features":[]}', 'Expected the length of features to be 1 to 100, got 0.'),
  predict('{"features":[{},3]}', 'Expected item 1 of features to be a record of strings and numbers, got 3.'),
  predict(list(101), 'Expected the length of features to be 1 to 100, got 101.'),
  predict(many(51), 'Expected features to be at most 50 strings and numbers, got 51.'),
];
