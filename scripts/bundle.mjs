// `weft` in one file. Node.js needs 0.4 s of a processor to find, read and link the 600 modules of the command, and an agent that is started again has 3.7 s until its
// shards move (docs/gateway-figures.md); one file of the same code takes a third of that. bin/weft.js takes it while it is newer than what it was made from.
import { mkdirSync, renameSync, writeFileSync } from 'node:fs';
import { dirname, relative, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { rolldown } from 'rolldown';

const root = fileURLToPath(new URL('..', import.meta.url));
const directory = resolve(root, 'packages/cli/dist/bundle');
const ours = resolve(root, 'packages');

/** What a module finds beside itself (bindings, programs, helpers) is found from where the module would stand. */
const placesKept = {
  name: 'places-kept',
  transform(code, id) {
    if (!id.startsWith(ours) || !code.includes('import.meta.url')) return null;
    const place = relative(directory, dirname(id));
    return { code: code.replaceAll('import.meta.url', `new URL(${JSON.stringify(`${place}/module.js`)}, import.meta.url).href`) };
  },
};

const build = await rolldown({
  input: { weft: resolve(root, 'packages/cli/dist/main.js') },
  platform: 'node',
  plugins: [placesKept],
  onLog: (level, log) => {
    if (level === 'warn') process.stderr.write(`${log.message}\n`);
  },
});
// Names stay: they are in stack traces, and in the names of errors.
const minify = { compress: false, mangle: false, codegen: { removeWhitespace: true } };
const { output } = await build.generate({ dir: directory, format: 'esm', minify });
await build.close();
if (output.length !== 1)
  throw new Error(`Cannot put the command into one file: it became ${output.map(({ fileName }) => fileName).join(', ')}`);
mkdirSync(directory, { recursive: true });
const file = resolve(directory, 'weft.js');
// Whoever starts the command meanwhile finds the old one or the new one.
writeFileSync(`${file}.new`, output[0].code);
renameSync(`${file}.new`, file);
