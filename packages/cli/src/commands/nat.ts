import type { Command } from 'commander';
import { type Deps, examples } from './deps.ts';
import { registerNatList } from './nat-list.ts';
import { registerNatLog } from './nat-log.ts';

export function registerNat(program: Command, deps: Deps): void {
  const nat = program
    .command('nat')
    .summary('what gateways map: who stands behind an external address and port, now and then')
    .description('Shows the port mappings of gateways as they are, and the log of who had which ports.')
    .addHelpText('after', examples('weft nat list --network coke/shop', 'weft nat log --at 14:03:05 --address 203.0.113.7 --port 40112'));
  registerNatList(nat, deps);
  registerNatLog(nat, deps);
}
