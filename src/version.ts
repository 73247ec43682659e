import { readFileSync } from 'node:fs';

const MANIFEST = JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8')) as {
  version: string;
};

/** Of this program, from package.json. */
export const VERSION: string = MANIFEST.version;
