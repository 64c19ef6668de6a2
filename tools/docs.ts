// Writes docs/kernels.md, and from the newest record of the bench docs/speed.svg and the marked parts of README.md and
// docs/speed.md.
// Run it with `npm run docs`.

import { readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { format, resolveConfig } from 'prettier';
import { draw } from '../bench/picture.js';
import { newestRecord } from '../bench/record.js';
import { pages, withPart } from '../bench/section.js';
import { kernelsPage } from './kernels-page.js';

const root = new URL('../../../', import.meta.url);
writeFileSync(new URL('docs/kernels.md', root), kernelsPage());

const { name, record } = newestRecord();
for (const [page, part] of Object.entries(pages)) {
  const path = fileURLToPath(new URL(page, root));
  const written = withPart(readFileSync(path, 'utf8'), part(name, record));
  writeFileSync(path, await format(written, { ...(await resolveConfig(path)), filepath: path }));
}
writeFileSync(new URL('docs/speed.svg', root), draw(record));
