#!/usr/bin/env node
// Runs the built command. Kept free of anything that needs a build, so that a fresh clone says what is missing.
import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

const built = new URL('../dist/main.js', import.meta.url);
const [major, minor] = process.versions.node.split('.').map(Number);
if (major < 20 || (major === 20 && minor < 20)) {
  process.stderr.write(`weft: Node.js ${process.versions.node} is too old: 20.20 or newer is needed\n`);
  process.exitCode = 1;
} else if (!existsSync(built)) {
  process.stderr.write(`weft: not built yet (${fileURLToPath(built)} is missing): run "npm run setup" in the repository first\n`);
  process.exitCode = 1;
} else {
  const { main } = await import(built.href);
  process.exitCode = await main(process.argv.slice(2));
  // What is written has left first; what is still open (a probe, a connection that lingers) keeps no finished command alive.
  process.stdout.write('', () => process.stderr.write('', () => process.exit()));
}
