// Draws docs/schedules.svg. Run it with `npm run plots`.

import { writeFileSync } from 'node:fs';
import { relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { draw } from './schedules-picture.js';

const picture = fileURLToPath(new URL('../../../docs/schedules.svg', import.meta.url));
writeFileSync(picture, draw());
console.log(`Schedules: ${relative('.', picture)}`);
