import { type Assignment, BLOCKS_PER_ADDRESS, type Gateway, gatewaySpecOf, isEmptyMember } from '@weft/model';
import type { Command } from 'commander';
import { CliError, CliErrorCode } from '../core/errors.ts';
import { ask } from '../core/session.ts';
import { toJson } from '../format/output.ts';
import { paint } from '../format/style.ts';
import { type Cell, formatTable } from '../format/table.ts';
import { type Catalog, notFound, readCatalog } from '../resources/catalog.ts';
import { type Deps, examples, withSession } from './deps.ts';

interface MemberRow {
  readonly host: string;
  readonly providerAddress: string;
  readonly state: 'active' | 'draining' | 'drained';
  /** Shards it is first, and second, in line for. */
  readonly preferred: number;
  readonly standby: number;
  readonly networks: number;
  /** Blocks it grants from, is to give up, and is to get. */
  readonly blocks: number;
  readonly leaving: number;
  readonly coming: number;
}

/** What the assignment says of each member. */
export function memberRows(assignment: Assignment, loads: ReadonlyMap<number, number>): MemberRow[] {
  return assignment.members.map(({ member, hostId, providerAddress, drain }) => {
    const count = (choose: (slice: { readonly member: number; readonly movingTo: number }) => boolean): number =>
      assignment.addresses.flatMap(({ slices }) => slices.filter(choose)).reduce((sum, slice) => sum + slice.count, 0);
    const preferred = assignment.shards.filter(({ order }) => order[0] === member);
    return {
      host: hostId,
      providerAddress,
      state: !drain ? 'active' : isEmptyMember(assignment, member) ? 'drained' : 'draining',
      preferred: preferred.length,
      standby: assignment.shards.filter(({ order }) => order[1] === member).length,
      networks: preferred.reduce((sum, { id }) => sum + (loads.get(id) ?? 0), 0),
      blocks: count((slice) => slice.member === member && slice.movingTo === 0),
      leaving: count((slice) => slice.member === member && slice.movingTo !== 0),
      coming: count((slice) => slice.movingTo === member),
    };
  });
}

function loadsOf({ networks }: Catalog): Map<number, number> {
  const loads = new Map<number, number>();
  for (const { value } of networks)
    if (value.gateway !== undefined) loads.set(value.gateway.shard, (loads.get(value.gateway.shard) ?? 0) + 1);
  return loads;
}

/** A gateway's assignment on one page. */
export function formatGateway(
  gateway: Gateway,
  assignment: Assignment | undefined,
  loads: ReadonlyMap<number, number>,
  options: { readonly width: number | undefined; readonly color: boolean },
): string {
  const head = paint(`Gateway ${gateway.name}`, 'strong', options.color);
  if (assignment === undefined) return `${head}: not assigned yet\n`;
  const { voters, previousVoters, addresses, shards, incarnation } = assignment;
  const names = voters.voters.map(({ hostId, instance }) => (instance === 0 ? `${hostId} (has not answered yet)` : hostId)).join(', ');
  const shared = addresses.filter(({ pool }) => pool !== 0).length;
  const lines = [
    `${head}: ${shards.length} shards, ${shared} shared and ${addresses.length - shared} own external addresses, incarnation ${incarnation}`,
    `Voters (list ${voters.configId}): ${names}`,
    ...(previousVoters === undefined
      ? []
      : [`  list ${previousVoters.configId} still votes, too: ${previousVoters.voters.map(({ hostId }) => hostId).join(', ')}`]),
    ...(voters.voters.length < 3
      ? ['  no automatic failover: with fewer than three voters nobody has a majority alone; add a witness']
      : []),
  ];
  const right = (title: string) => ({ title, align: 'right' as const });
  const table = formatTable(
    [
      { title: 'MEMBER' },
      { title: 'PROVIDER ADDRESS' },
      { title: 'STATE' },
      right('PREFERRED'),
      right('STANDBY'),
      right('NETWORKS'),
      right('BLOCKS'),
      { title: 'MOVING' },
    ],
    memberRows(assignment, loads).map((row): Cell[] => [
      row.host,
      row.providerAddress,
      { text: row.state, tone: row.state === 'active' ? 'good' : 'warn' },
      String(row.preferred),
      String(row.standby),
      String(row.networks),
      String(row.blocks),
      [row.leaving > 0 ? `${row.leaving} leave` : '', row.coming > 0 ? `${row.coming} come` : ''].filter((part) => part !== '').join(', '),
    ]),
    options,
  );
  return `${lines.join('\n')}\n${table}`;
}

export function registerGateway(program: Command, deps: Deps): void {
  const gateway = program
    .command('gateway')
    .summary('gateways: how their work is divided, and taking members out of it')
    .description('Shows the assignment of gateways, and drains members. Gateways are made with "weft apply" (kind Gateway).')
    .addHelpText('after', examples('weft gateway status', 'weft gateway drain edge gw-b', 'weft gateway move edge 17 --to gw-b'));

  gateway
    .command('status')
    .summary('members, voters, shards and blocks of ports')
    .description(
      `Shows how the work of each gateway is divided: which member is preferred owner of how many shards, and from how many blocks of 64 ports it grants (an address has ${BLOCKS_PER_ADDRESS}). Who owns a shard at this moment is decided by votes among the gateways.`,
    )
    .argument('[name]', 'only this gateway')
    .option('--json', 'print JSON')
    .addHelpText('after', examples('weft gateway status', 'weft gateway status edge --json'))
    .action(async (name: string | undefined, options: { json?: boolean }, command: Command) => {
      const catalog = await withSession(deps, command, (session) => readCatalog(session, ['Gateway', 'Assignment', 'VirtualNetwork']));
      const found = catalog.gateways.filter(({ value }) => name === undefined || value.name === name).map(({ value }) => value);
      if (name !== undefined && found.length === 0) throw unknownGateway(catalog, name);
      const loads = loadsOf(catalog);
      const assigned = (one: Gateway) => catalog.assignments.find(({ value }) => value.gatewayId === one.id);
      if (options.json === true) {
        deps.io.out(
          toJson(
            found.map((one) => {
              const assignment = assigned(one);
              return {
                gateway: one.name,
                revision: assignment?.revision ?? null,
                members: assignment === undefined ? [] : memberRows(assignment.value, loads),
                assignment: assignment?.value ?? null,
              };
            }),
          ),
        );
      } else if (found.length === 0) deps.io.note('no gateways yet');
      else deps.io.out(found.map((one) => formatGateway(one, assigned(one)?.value, loads, deps.io)).join('\n'));
    });

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
      .addHelpText('after', examples(`weft gateway ${verb} edge gw-a`))
      .action(async (name: string, host: string, _: object, command: Command) => {
        await withSession(deps, command, async (session) => {
          const catalog = await readCatalog(session, ['Gateway']);
          const found = catalog.gateways.find(({ value }) => value.name === name)?.value;
          if (found === undefined) throw unknownGateway(catalog, name);
          if (!found.members.some((one) => one.host === host))
            throw new CliError(
              CliErrorCode.NotFound,
              `Gateway ${name} has no member "${host}": its members are ${found.members.map((one) => one.host).join(', ')}`,
            );
          const spec = gatewaySpecOf(found);
          const members = spec.members.map((one) => (one.host === host ? { ...one, drain } : one));
          const resources = [{ kind: 'gateway' as const, value: { ...spec, members } }];
          const { changes } = await ask(session, 'controller', { kind: 'apply', value: { resources, dryRun: false } }, 'apply');
          const changed = changes.some(({ action }) => action !== 'unchanged');
          deps.io.out(`${host} ${changed ? 'is' : 'was'} ${drain ? 'being drained' : 'active again'}\n`);
          if (drain) deps.io.note(`follow it with: weft gateway status ${name}`);
        });
      });
  }
}

function registerRecover(gateway: Command, deps: Deps): void {
  gateway
    .command('recover')
    .summary('begin anew after the voters have lost their memories')
    .description(
      'Raises the incarnation of a gateway, above every epoch that was ever granted, and ends a change of voters that can not be finished. For when a majority of the voters has lost its memory of promises: without it nobody could grant a shard any more. Members that still forward are fenced.',
    )
    .argument('<gateway>', 'name of the gateway')
    .addHelpText('after', examples('weft gateway recover edge'))
    .action(async (name: string, _: object, command: Command) => {
      await withSession(deps, command, async (session) => {
        const catalog = await readCatalog(session, ['Gateway']);
        const found = catalog.gateways.find(({ value }) => value.name === name)?.value;
        if (found === undefined) throw unknownGateway(catalog, name);
        const value = { gatewayId: found.id, assignmentRevision: 0, step: { kind: 'recover' as const, value: {} } };
        const { revision } = await ask(session, 'controller', { kind: 'gatewayStep', value }, 'gatewayStep');
        deps.io.out(`gateway ${name} begins anew: its assignment is at revision ${revision}\n`);
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
    .argument('<shard...>', 'numbers of the shards, as "weft gateway status --json" lists them')
    .requiredOption('--to <host>', 'host id of the member')
    .addHelpText('after', examples('weft gateway move edge 17 18 --to gw-b'))
    .action(async (name: string, words: string[], { to }: { to: string }, command: Command) => {
      const shards = words.map(Number);
      const wrong = words.find((_, i) => !Number.isInteger(shards[i]) || shards[i]! < 1);
      if (wrong !== undefined) throw new CliError(CliErrorCode.Usage, `"${wrong}" is no shard: shards are numbers from 1`);
      await withSession(deps, command, async (session) => {
        const catalog = await readCatalog(session, ['Gateway']);
        const found = catalog.gateways.find(({ value }) => value.name === name)?.value;
        if (found === undefined) throw unknownGateway(catalog, name);
        const value = { gatewayId: found.id, assignmentRevision: 0, step: { kind: 'move' as const, value: { shards, to } } };
        await ask(session, 'controller', { kind: 'gatewayStep', value }, 'gatewayStep');
        deps.io.out(`shard${shards.length > 1 ? 's' : ''} ${shards.join(', ')} of ${name} ${shards.length > 1 ? 'go' : 'goes'} to ${to}\n`);
        deps.io.note(`follow it with: weft status`);
      });
    });
}

function unknownGateway(catalog: Pick<Catalog, 'gateways'>, name: string): CliError {
  return notFound(
    'Gateway',
    name,
    catalog.gateways.map(({ value }) => value.name),
  );
}
