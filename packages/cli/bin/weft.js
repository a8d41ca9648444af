#!/usr/bin/env node
// Runs the built command. Kept free of anything that needs a build, so that a fresh clone says what is missing.
import { existsSync, readdirSync, statSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

const built = new URL('../dist/main.js', import.meta.url);
const bundle = new URL('../dist/bundle/weft.js', import.meta.url);
const packages = new URL('../../', import.meta.url);

/** In ms since 1970; 0: there is no such file. */
const modified = (url) => statSync(url, { throwIfNoEntry: false })?.mtimeMs ?? 0;

/** The same in one file, a third of a second faster; unless something has been compiled since (in a clone: an installed Weft has none of the compiler's notes). */
function isBundleFresh() {
  const sources = readdirSync(packages).map((name) => new URL(`${name}/tsconfig.tsbuildinfo`, packages));
  const since = modified(bundle);
  return since > 0 && sources.every((source) => modified(source) < since);
}

const [major, minor] = process.versions.node.split('.').map(Number);
if (major < 20 || (major === 20 && minor < 20)) {
  process.stderr.write(`weft: Node.js ${process.versions.node} is too old: 20.20 or newer is needed\n`);
  process.exitCode = 1;
} else if (!existsSync(built)) {
  process.stderr.write(`weft: not built yet (${fileURLToPath(built)} is missing): run "npm run setup" in the repository first\n`);
  process.exitCode = 1;
} else {
  const { main } = await import((isBundleFresh() ? bundle : built).href);
  process.exitCode = await main(process.argv.slice(2));
  // What is written has left first; what is still open (a probe, a connection that lingers) keeps no finished command alive.
  process.stdout.write('', () => process.stderr.write('', () => process.exit()));
}
