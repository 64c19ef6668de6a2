// Writes docs/kernels.md. Run it with `npm run docs`.

import { writeFileSync } from 'node:fs';
import { kernelsPage } from './kernels-page.js';

writeFileSync(new URL('../../../docs/kernels.md', import.meta.url), kernelsPage());
