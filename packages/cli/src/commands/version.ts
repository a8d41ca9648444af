import { readFileSync } from 'node:fs';
import { release } from 'node:os';
import type { Command } from 'commander';
import { toJson } from '../format/output.ts';
import type { Deps } from './deps.ts';

/** This program's version, from its package. */
export function programVersion(): string {
  const { version } = JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8')) as { version: string };
  return version;
}

export function registerVersion(program: Command, deps: Deps): void {
  program
    .command('version')
    .summary('print versions')
    .description('Prints the versions of Weft, Node.js and the kernel.')
    .option('--json', 'print JSON')
    .action((options: { json?: boolean }) => {
      const versions = { weft: programVersion(), node: process.versions.node, kernel: release() };
      deps.io.out(
        options.json === true ? toJson(versions) : `weft ${versions.weft} (Node.js ${versions.node}, kernel ${versions.kernel})\n`,
      );
    });
}
