import type { Port, PortStatus } from '@weft/model';
import type { Command } from 'commander';
import type { Session } from '../core/session.ts';
import { toJson } from '../format/output.ts';
import { formatCount, formatDuration, formatTime } from '../format/quantity.ts';
import { paint } from '../format/style.ts';
import { type Cell, formatFields } from '../format/table.ts';
import { bindingOf, type Catalog, type Listed, notFound, portName, readCatalog } from '../resources/catalog.ts';
import { type Kind, kinds, parseKind } from '../resources/kinds.ts';
import { formatReference, parseReference, type Reference } from '../resources/reference.ts';
import { type Deps, examples, withSession } from './deps.ts';
import { explainDrop, formatDrops } from './drops.ts';
import { selectRows } from './get.ts';
import { askHosts } from './hosts-asked.ts';

type Field = readonly [name: string, value: Cell];
interface Options {
  readonly width: number | undefined;
  readonly color: boolean;
}

const changed = (listed: Listed<unknown>, nowMs: number): Field[] => [
  ['Changed', `${formatTime(listed.timeUnixMs)} (${formatDuration(nowMs - listed.timeUnixMs)} ago) by ${listed.authorName}`],
  ['Revision', String(listed.revision)],
];

/** What is known of a port, all on one page. */
export function describePort(catalog: Catalog, listed: Listed<Port>, nowMs: number, options: Options, state?: string): string {
  const { value: port } = listed;
  const binding = bindingOf(catalog, port);
  const subnet = catalog.networks
    .find(({ value }) => value.id === port.routingDomainId)
    ?.value.subnets.find(({ vsid }) => vsid === port.vsid);
  const { mode, hosts } = port.placement;
  const fields: Field[] = [
    ['Port', { text: portName(port), tone: 'strong' }],
    ['Id', port.id],
    ['MAC', port.mac],
    ['Addresses', port.addresses.join('\n')],
    ['Subnet', `${port.subnet} (VSID ${port.vsid})`],
    ['Prefixes', subnet?.prefixes.join('\n') ?? ''],
    ['Gateways', subnet?.gateways.join('\n') ?? ''],
    ['Placement', mode === 'any' ? 'any host' : mode === 'list' ? hosts.join(', ') : 'no host'],
    ...changed(listed, nowMs),
  ];
  if (binding === undefined)
    fields.push(['Binding', { text: `none; bind it with: weft port bind ${portName(port)} --tap NAME`, tone: 'warn' }]);
  else {
    const { hostId, providerAddress, device, deviceKind, generation, previousHostId } = binding.value;
    fields.push(
      ['Host', `${hostId} (${providerAddress})`],
      ['Device', `${device} (${deviceKind})`],
      ['Generation', String(generation)],
      ['Moved from', previousHostId],
      ['Bound since', `${formatTime(binding.timeUnixMs)} (${formatDuration(nowMs - binding.timeUnixMs)} ago)`],
    );
  }
  if (state !== undefined) fields.push(['State', state]);
  return formatFields(fields, options);
}

/** The same in general: what the documents and the wide table say. */
function describeRow(
  kind: Kind,
  catalog: Catalog,
  reference: Reference,
  nowMs: number,
  options: Options,
  state?: string,
): string | undefined {
  const name = formatReference(reference);
  if (kind === 'Port') {
    const listed = catalog.ports.find(({ value }) => portName(value) === name);
    return listed === undefined ? undefined : describePort(catalog, listed, nowMs, options, state);
  }
  if (kind === 'Tenant') {
    const listed = catalog.tenants.find(({ value }) => value.name === name);
    if (listed === undefined) return undefined;
    const networks = catalog.networks.filter(({ value }) => value.tenant === name);
    const ports = catalog.ports.filter(({ value }) => value.tenant === name).length;
    return formatFields(
      [
        ['Tenant', { text: name, tone: 'strong' }],
        ['Id', listed.value.id],
        ['Networks', networks.map(({ value }) => value.name).join('\n')],
        ['Ports', String(ports)],
        ...changed(listed, nowMs),
      ],
      options,
    );
  }
  if (kind === 'VirtualNetwork') {
    const listed = catalog.networks.find(({ value }) => `${value.tenant}/${value.name}` === name);
    if (listed === undefined) return undefined;
    const { id, networkId, subnets, routes } = listed.value;
    const ports = catalog.ports.filter(({ value }) => value.routingDomainId === id);
    const bound = ports.filter(({ value }) => bindingOf(catalog, value) !== undefined).length;
    return formatFields(
      [
        ['VirtualNetwork', { text: name, tone: 'strong' }],
        ['Routing domain', id],
        ['Network id', String(networkId)],
        [
          'Subnets',
          subnets
            .map(
              (subnet) =>
                `${subnet.name}  VSID ${subnet.vsid}  ${subnet.prefixes.map((prefix, i) => `${prefix} gateway ${subnet.gateways[i] ?? 'none'}`).join(', ')}`,
            )
            .join('\n'),
        ],
        ['Routes', routes.map((route) => `${route.prefix} → ${route.kind === 'blackhole' ? 'blackhole' : route.nextHop}`).join('\n')],
        ['Ports', `${ports.length}, ${bound} of them bound`],
        ...changed(listed, nowMs),
      ],
      options,
    );
  }
  if (kind === 'VirtualSubnet') {
    for (const listed of catalog.networks) {
      const subnet = listed.value.subnets.find((candidate) => `${listed.value.tenant}/${listed.value.name}/${candidate.name}` === name);
      if (subnet === undefined) continue;
      const ports = catalog.ports.filter(({ value }) => value.routingDomainId === listed.value.id && value.vsid === subnet.vsid);
      return formatFields(
        [
          ['VirtualSubnet', { text: name, tone: 'strong' }],
          ['VSID', String(subnet.vsid)],
          ['Prefixes', subnet.prefixes.join('\n')],
          ['Gateways', subnet.gateways.join('\n')],
          [
            'Ports',
            ports
              .map(
                ({ value }) =>
                  `${value.name}  ${value.mac}  ${value.addresses.join(', ')}  ${bindingOf(catalog, value)?.value.hostId ?? 'unbound'}`,
              )
              .join('\n'),
          ],
          ...changed(listed, nowMs),
        ],
        options,
      );
    }
    return undefined;
  }
  const row = selectRows(kind, catalog, nowMs, { reference })[0];
  if (row === undefined) return undefined;
  const fields: Field[] = [[kind, { text: row.name, tone: 'strong' }]];
  for (const [key, value] of Object.entries({ ...row.document.metadata, ...row.document.spec, ...row.document.status })) {
    if (key !== 'name' && value !== null) fields.push([titleOf(key), Array.isArray(value) ? value.map(plain).join('\n') : plain(value)]);
  }
  return formatFields(fields, options);
}

/** `{host: gw-a, interfaces: {internet: eth1}}` */
function plain(value: unknown): string {
  if (Array.isArray(value)) return value.map(plain).join(', ');
  if (typeof value !== 'object' || value === null) return String(value);
  return `{${Object.entries(value)
    .filter(([, part]) => !(Array.isArray(part) && part.length === 0))
    .map(([key, part]) => `${key}: ${plain(part)}`)
    .join(', ')}}`;
}

/** `providerAddress` as people write it: `Provider address`; `underlayMtu`: `Underlay MTU`. */
function titleOf(key: string): string {
  const words = key.replaceAll(/[A-Z]/g, (letter) => ` ${letter.toLowerCase()}`).replace(/ mtu$/, ' MTU');
  return words.charAt(0).toUpperCase() + words.slice(1);
}

/** What the port's host says of it: state, and the frames dropped. */
async function livePort(
  session: Session,
  catalog: Catalog,
  port: Port,
): Promise<{ status?: PortStatus; drops: ReturnType<typeof explainDrop>[]; error?: string }> {
  const binding = bindingOf(catalog, port)?.value;
  const host = catalog.hosts.find(({ value }) => value.id === binding?.hostId)?.value;
  if (host === undefined) return { drops: [] };
  const [[status], [drops]] = await Promise.all([
    askHosts(session, [host], { kind: 'status', value: {} }, 'status'),
    askHosts(session, [host], { kind: 'drops', value: {} }, 'drops'),
  ]);
  const found = status?.ok === true ? status.result.portStatus.find((candidate) => candidate.portId === port.id) : undefined;
  const counters = drops?.ok === true ? drops.result.counters.filter((counter) => counter.portId === port.id) : [];
  return {
    ...(found === undefined ? {} : { status: found }),
    drops: counters.map((counter) => explainDrop(host.id, counter, [port])),
    ...(status?.ok === false ? { error: status.error } : {}),
  };
}

export function registerDescribe(program: Command, deps: Deps): void {
  program
    .command('describe')
    .summary('everything about one resource')
    .description(
      `Shows one resource with what belongs to it; a port also with what its host says of it, and the frames dropped there.\nKinds: ${kinds.map((kind) => kind.plural).join(', ')}.`,
    )
    .argument('<kind>', 'kind, singular or plural')
    .argument('<name>', 'for example coke/net/web1')
    .option('--tenant <name>', 'tenant, when the name leaves it out')
    .option('--network <name>', 'network, when the name leaves it out')
    .option('--json', 'print JSON')
    .addHelpText('after', examples('weft describe port coke/net/web1', 'weft describe network coke/net', 'weft describe host host-a'))
    .action(async (word: string, name: string, options: { tenant?: string; network?: string; json?: boolean }, command: Command) => {
      const kind = parseKind(word);
      const reference = parseReference(kind, name, options);
      await withSession(deps, command, async (session) => {
        const catalog = await readCatalog(
          session,
          kind === 'Principal'
            ? ['Principal']
            : kind === 'Gateway'
              ? ['Gateway', 'Assignment']
              : ['Tenant', 'VirtualNetwork', 'Port', 'PortBinding', 'Host'],
        );
        const nowMs = deps.now();
        const port = kind === 'Port' ? catalog.ports.find(({ value }) => portName(value) === formatReference(reference))?.value : undefined;
        const live = port === undefined ? undefined : await livePort(session, catalog, port);
        const page = describeRow(kind, catalog, reference, nowMs, deps.io, live?.status?.state);
        if (page === undefined)
          throw notFound(
            kind,
            formatReference(reference),
            selectRows(kind, catalog, nowMs, {}).map((row) => row.name),
          );
        if (options.json === true) {
          const [row] = selectRows(kind, catalog, nowMs, { reference });
          deps.io.out(toJson({ ...row?.document, ...(live === undefined ? {} : { live }) }));
          return;
        }
        deps.io.out(page);
        if (live?.error !== undefined) deps.io.note(`the port's host does not answer: ${live.error}`);
        if (live !== undefined && live.drops.length > 0) {
          const packets = live.drops.reduce((sum, drop) => sum + drop.packets, 0);
          deps.io.out(
            `\n${paint(`Dropped: ${formatCount(packets)} frames`, 'strong', deps.io.color)}\n${formatDrops(live.drops, deps.io)}`,
          );
        }
      });
    });
}
