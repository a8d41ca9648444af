// Builds the addon of the package in the working directory with node-gyp and no network: the headers are those next to the running Node.js, else those of the npm
// package node-api-headers. The addon uses Node-API only, so one build serves every later Node.js.
import { spawnSync } from 'node:child_process';
import { cpSync, existsSync, mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join, resolve } from 'node:path';

const root = process.cwd();
const require = createRequire(join(root, 'package.json'));

// Not `rebuild`, which removes the addon first: processes that start meanwhile would find none.
const gyp = require.resolve('node-gyp/bin/node-gyp.js');
const result = spawnSync(process.execPath, [gyp, 'configure', 'build', `--nodedir=${nodeDirectory()}`], { cwd: root, stdio: 'inherit' });
process.exit(result.status ?? 1);

/** The folder that holds include/node/node_api.h. */
function nodeDirectory() {
  const prefix = resolve(dirname(process.execPath), '..');
  if (process.env.WEFT_NODE_HEADERS !== 'npm' && existsSync(join(prefix, 'include/node/node_api.h'))) return prefix;
  return headersFromPackage();
}

/** Arranges node-api-headers as node-gyp expects a Node.js: the two gypi files are what it reads besides the headers. */
function headersFromPackage() {
  const directory = join(root, '.cache', 'node');
  const include = join(directory, 'include', 'node');
  rmSync(directory, { recursive: true, force: true });
  mkdirSync(include, { recursive: true });
  cpSync(require('node-api-headers').include_dir, include, { recursive: true });
  const configuration = { target_defaults: { cflags: [], default_configuration: 'Release' }, variables: {} };
  writeFileSync(join(include, 'config.gypi'), JSON.stringify(configuration));
  writeFileSync(
    join(include, 'common.gypi'),
    JSON.stringify({
      target_defaults: {
        default_configuration: 'Release',
        configurations: { Debug: {}, Release: {} },
        cflags: ['-fPIC'],
        ldflags: ['-shared'],
      },
    }),
  );
  return directory;
}
