import type { Command } from 'commander';
import { CliError, CliErrorCode } from '../core/errors.ts';
import { ask } from '../core/session.ts';
import { toJson } from '../format/output.ts';
import { readCatalog } from '../resources/catalog.ts';
import { type Deps, examples, withSession } from './deps.ts';
import { registerGatewayStatus, unknownGateway } from './gateway-status.ts';
import { registerGatewayTop } from './gateway-top.ts';

interface JsonOption {
  readonly json?: boolean;
}

export function registerGateway(program: Command, deps: Deps): void {
  const gateway = program
    .command('gateway')
    .summary('gateways: who owns what, who uses how much, and taking members out of it')
    .description(
      'Shows who owns the shards of gateways and who uses them, moves shards, and drains members. Gateways are made with "weft apply" (kind Gateway).',
    )
    .addHelpText(
      'after',
      examples('weft gateway status', 'weft gateway top', 'weft gateway drain edge gw-b', 'weft gateway move edge 17 --to gw-b'),
    );

  registerGatewayStatus(gateway, deps);
  registerGatewayTop(gateway, deps);
  registerRecover(gateway, deps);
  registerMove(gateway, deps);

  for (const [verb, drain] of [
    ['drain', true],
    ['undrain', false],
  ] as const) {
    gateway
      .command(verb)
      .summary(drain ? 'take shards and blocks away from a member, so that it can be removed' : 'give a drained member work again')
      .description(
        drain
          ? 'Marks a member as drained: others become preferred owners of its shards, and its blocks of ports go to them as it gives them up. Connections keep working. When "weft gateway status" says drained, it can be taken out of the Gateway\'s manifest.'
          : 'Ends the draining of a member: it gets its share of shards, and of blocks as others give them up.',
      )
      .argument('<gateway>', 'name of the gateway')
      .argument('<host>', 'host id of the member')
      .option('--json', 'print JSON')
      .addHelpText('after', examples(`weft gateway ${verb} edge gw-a`))
      .action(async (name: string, host: string, options: JsonOption, command: Command) => {
        await withSession(deps, command, async (session) => {
          const catalog = await readCatalog(session, ['Gateway']);
          const found = catalog.gateways.find(({ value }) => value.name === name)?.value;
          if (found === undefined) throw unknownGateway(catalog, name);
          if (!found.members.some((one) => one.host === host))
            throw new CliError(
              CliErrorCode.NotFound,
              `Gateway ${name} has no member "${host}": its members are ${found.members.map((one) => one.host).join(', ')}`,
            );
          // Not the gateway as it was read: whatever others change of it meanwhile is theirs.
          const { changes } = await ask(session, 'controller', { kind: 'drain', value: { gateway: name, host, drain } }, 'apply');
          const changed = changes.some(({ action }) => action !== 'unchanged');
          if (options.json === true) deps.io.out(toJson({ gateway: name, host, drain, changed }));
          else if (changed) deps.io.out(`${host} is ${drain ? 'being drained' : 'active again'}\n`);
          else deps.io.out(`${host} ${drain ? 'is being drained already' : 'was not drained'}\n`);
          // By what stands now: another may have drained the last other one in the same moment. It is done: a look that fails takes nothing from that.
          const after = drain ? await readCatalog(session, ['Gateway']).catch(() => undefined) : undefined;
          if (after?.gateways.find(({ value }) => value.name === name)?.value.members.every((one) => one.drain) === true)
            deps.io.note(`no member of ${name} is left that is not drained, so its members go on serving: add one, or undrain one`);
          if (options.json !== true) deps.io.note(`follow it with: weft gateway status ${name}`);
        });
      });
  }
}

function registerRecover(gateway: Command, deps: Deps): void {
  gateway
    .command('recover')
    .summary('begin anew after the voters have lost their memories')
    .description(
      "Raises the incarnation of a gateway, above every epoch that was ever granted, and ends a change of voters that can not be finished. For when a majority of the voters has lost its memory of promises: without it nobody could grant a shard any more. Members that still forward are fenced as soon as they hear of it; so only when these voters' files are really gone: a majority that lives behind a partition would go on forwarding.",
    )
    .argument('<gateway>', 'name of the gateway')
    .option('--json', 'print JSON')
    .addHelpText('after', examples('weft gateway recover edge'))
    .action(async (name: string, options: JsonOption, command: Command) => {
      await withSession(deps, command, async (session) => {
        const catalog = await readCatalog(session, ['Gateway']);
        const found = catalog.gateways.find(({ value }) => value.name === name)?.value;
        if (found === undefined) throw unknownGateway(catalog, name);
        const value = { gatewayId: found.id, assignmentRevision: 0, step: { kind: 'recover' as const, value: {} } };
        const { revision } = await ask(session, 'controller', { kind: 'gatewayStep', value }, 'gatewayStep');
        if (options.json === true) deps.io.out(toJson({ gateway: name, revision }));
        else {
          deps.io.out(`gateway ${name} begins anew: its assignment is at revision ${revision}\n`);
          deps.io.note(
            `follow it with: weft gateway status ${name}; if the alarm configuration-unsettled stands there, run this once more`,
          );
        }
      });
    });
}

function registerMove(gateway: Command, deps: Deps): void {
  gateway
    .command('move')
    .summary('move shards to another member')
    .description(
      'Makes a member the preferred owner of shards. It takes them over from whoever has them, without loss, once it has their state and has answered for some seconds; if it does not answer, the shards stay until it does. This is also how shards that a failure has moved are brought back. It lasts until members are added, drained or undrained.',
    )
    .argument('<gateway>', 'name of the gateway')
    .argument('<shard...>', 'numbers of the shards, as "weft gateway status" lists them')
    .requiredOption('--to <host>', 'host id of the member')
    .option('--json', 'print JSON')
    .addHelpText('after', examples('weft gateway move edge 17 18 --to gw-b'))
    .action(async (name: string, words: string[], { to, json }: JsonOption & { to: string }, command: Command) => {
      const shards = [...new Set(words.map(Number))];
      const wrong = words.find((word) => !/^[1-9]\d*$/.test(word));
      if (wrong !== undefined) throw new CliError(CliErrorCode.Usage, `"${wrong}" is no shard: shards are numbers from 1`);
      await withSession(deps, command, async (session) => {
        const catalog = await readCatalog(session, ['Gateway']);
        const found = catalog.gateways.find(({ value }) => value.name === name)?.value;
        if (found === undefined) throw unknownGateway(catalog, name);
        const value = { gatewayId: found.id, assignmentRevision: 0, step: { kind: 'move' as const, value: { shards, to } } };
        const { revision } = await ask(session, 'controller', { kind: 'gatewayStep', value }, 'gatewayStep');
        if (json === true) {
          deps.io.out(toJson({ gateway: name, shards, to, revision }));
          return;
        }
        deps.io.out(`shard${shards.length > 1 ? 's' : ''} ${shards.join(', ')} of ${name} ${shards.length > 1 ? 'go' : 'goes'} to ${to}\n`);
        deps.io.note(`follow it with: weft gateway status ${name}`);
      });
    });
}
