// Writes docs/kernels.md, and from the newest record of the bench, docs/speed.svg and the README's section on speed.
// Run it with `npm run docs`.

import { readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { format, resolveConfig } from 'prettier';
import { draw } from '../bench/picture.js';
import { newestRecord } from '../bench/record.js';
import { withSection } from '../bench/section.js';
import { kernelsPage } from './kernels-page.js';

const root = new URL('../../../', import.meta.url);
writeFileSync(new URL('docs/kernels.md', root), kernelsPage());

const { name, record } = newestRecord();
const path = fileURLToPath(new URL('README.md', root));
const readme = withSection(readFileSync(path, 'utf8'), name, record);
writeFileSync(path, await format(readme, { ...(await resolveConfig(path)), filepath: path }));
writeFileSync(new URL('docs/speed.svg', root), draw(record));
