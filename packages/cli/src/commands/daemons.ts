import type { Command } from 'commander';
import type { Deps } from './deps.ts';
export function registerDaemons(_program: Command, _deps: Deps): void {}
