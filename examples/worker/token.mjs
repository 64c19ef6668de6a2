// Prints a token for a user, valid for an hour: `SECRET=... node token.mjs ann`. Your server makes tokens like this for
// users who have signed in.

import { createHmac } from 'node:crypto';

const user = process.argv[2];
const expires = Math.floor(Date.now() / 1000) + 3600;
const signature = createHmac('sha256', process.env.SECRET).update(`${user}.${expires}`).digest('hex');
console.log(`${expires}.${signature}`);
