import type { NatQuery } from '@weft/model';
import { formatIp, IP_PROTOCOL, parseIp } from '@weft/packet';
import type { Command } from 'commander';
import { CliError, CliErrorCode } from '../core/errors.ts';
import type { Session } from '../core/session.ts';
import { type Catalog, notFound, portName, readCatalog } from '../resources/catalog.ts';
import { parseReference, type Reference } from '../resources/reference.ts';
import { unknownGateway } from './gateway-status.ts';
import type { Asked, HostAnswer } from './hosts-asked.ts';

// What the commands about port mapping have in common: who is asked, which rows are wanted, and names instead of numbers.

/** A scan of a million rows on a busy member takes seconds. */
export const SCAN_TIMEOUT_MS = 15_000;
/** As many as one member tells at once. */
export const LIMIT_MAX = 4_000;

export interface NatOptions {
  readonly tenant?: string;
  readonly network?: string;
  readonly inside?: string;
  readonly address?: string;
  readonly port?: string;
  readonly remote?: string;
  readonly remotePort?: string;
  readonly protocol?: string;
  readonly gateway?: string;
  readonly limit: string;
  readonly json?: boolean;
}

/** Options that choose rows. */
export function rowOptions(command: Command): Command {
  return command
    .option('--tenant <name>', 'only networks of this tenant')
    .option('--network <name>', 'only this network (TENANT/NETWORK, or NETWORK with --tenant)')
    .option('--inside <address>', 'only of this customer address')
    .option('--address <address>', 'only by this external address')
    .option('--port <port>', 'only by this external port')
    .option('--protocol <name>', 'only tcp, udp, icmp, icmpv6, or a number')
    .option('--gateway <name>', 'ask the members of this gateway only')
    .option('--limit <count>', `at most so many rows, up to ${LIMIT_MAX}; how many are left out is said`, '200')
    .option('--json', 'print JSON');
}

const KINDS = ['Gateway', 'Assignment', 'VirtualNetwork', 'Port'];

/** @throws {CliError} When the gateway named is not there. */
export async function readNatCatalog(
  session: Session,
  gateway: string | undefined,
): Promise<{ catalog: Catalog; members: readonly { readonly id: string }[] }> {
  const catalog = await readCatalog(session, KINDS);
  const chosen = catalog.gateways.filter(({ value }) => gateway === undefined || value.name === gateway);
  if (gateway !== undefined && chosen.length === 0) throw unknownGateway(catalog, gateway);
  const ids = new Set(chosen.map(({ value }) => value.id));
  const hosts = catalog.assignments.flatMap(({ value }) => (ids.has(value.gatewayId) ? value.members.map(({ hostId }) => hostId) : []));
  return { catalog, members: [...new Set(hosts)].map((id) => ({ id })) };
}

/** What chooses networks. */
export interface NetworkOptions {
  readonly tenant?: string;
  readonly network?: string;
}

/** The network that the options name. @throws {CliError} When it can't be read. */
export function networkReference({ tenant, network }: NetworkOptions): Reference | undefined {
  return network === undefined ? undefined : parseReference('VirtualNetwork', network, { tenant });
}

/** Numbers of the networks that the options name; empty: any. @throws {CliError} When there is no such network. */
export function networkIds({ networks }: Pick<Catalog, 'networks'>, options: NetworkOptions): number[] {
  const { tenant, network } = options;
  if (tenant === undefined && network === undefined) return [];
  const reference = networkReference(options);
  const found = networks.filter(({ value }) =>
    reference === undefined ? value.tenant === tenant : value.tenant === reference.tenant && value.name === reference.name,
  );
  if (found.length > 0) return found.map(({ value }) => value.networkId);
  if (reference === undefined) throw new CliError(CliErrorCode.NotFound, `Tenant "${tenant}" has no network`);
  throw notFound(
    'VirtualNetwork',
    `${reference.tenant}/${reference.name}`,
    networks.map(({ value }) => `${value.tenant}/${value.name}`),
  );
}

/** What the options say; of networks only whether it can be read. @throws {CliError} When it can not: before anybody is asked. */
export function readQuery(options: NatOptions): Omit<NatQuery, 'networkIds'> {
  networkReference(options);
  return {
    customerAddress: addressOf('--inside', options.inside),
    externalAddress: addressOf('--address', options.address),
    externalPort: portOf('--port', options.port),
    remoteAddress: addressOf('--remote', options.remote),
    remotePort: portOf('--remote-port', options.remotePort),
    protocol: protocolOf(options.protocol),
    limit: limitOf(options.limit),
  };
}

export function limitOf(text: string, max: number = LIMIT_MAX): number {
  const limit = Number(text);
  if (Number.isInteger(limit) && limit >= 1 && limit <= max) return limit;
  throw new CliError(CliErrorCode.Usage, `Cannot use --limit "${text}": must be a whole number, 1 to ${max}`);
}

export function addressOf(option: string, text: string | undefined): string {
  if (text === undefined) return '';
  try {
    // As records and members write it: fd00::1, however it was typed.
    return formatIp(parseIp(text));
  } catch (error) {
    throw new CliError(CliErrorCode.Usage, `Cannot use ${option} "${text}": must be an IP address`, { cause: error });
  }
}

export function portOf(option: string, text: string | undefined): number {
  if (text === undefined) return 0;
  const port = Number(text);
  if (/^\d+$/.test(text) && port >= 1 && port <= 65_535) return port;
  throw new CliError(CliErrorCode.Usage, `Cannot use ${option} "${text}": must be a port, 1 to 65535`);
}

const PROTOCOLS: Readonly<Record<string, number>> = {
  tcp: IP_PROTOCOL.tcp,
  udp: IP_PROTOCOL.udp,
  icmp: IP_PROTOCOL.icmp,
  icmpv6: IP_PROTOCOL.icmpv6,
};

export function protocolName(protocol: number): string {
  return Object.entries(PROTOCOLS).find(([, number]) => number === protocol)?.[0] ?? String(protocol);
}

function protocolOf(text: string | undefined): number {
  if (text === undefined) return 0;
  const number = PROTOCOLS[text.toLowerCase()] ?? (/^\d+$/.test(text) ? Number(text) : 0);
  if (number >= 1 && number <= 255) return number;
  throw new CliError(CliErrorCode.Usage, `Cannot use --protocol "${text}": must be tcp, udp, icmp, icmpv6, or a number from 1 to 255`);
}

/** `10.0.0.1:80`, `[2001:db8::1]:80`; without a port the address alone. */
export function endpoint(address: string, port: number): string {
  if (port === 0) return address;
  return address.includes(':') ? `[${address}]:${port}` : `${address}:${port}`;
}

/** Puts names to what gateways tell by numbers. */
export interface NatNames {
  /** `coke/net`; of one that is gone its number. */
  network(networkId: number): string;
  /** `coke/net/web1`: the port that has the address today; empty: none. */
  port(networkId: number, customerAddress: string): string;
}

export function natNames({ networks, ports }: Pick<Catalog, 'networks' | 'ports'>): NatNames {
  const byId = new Map(networks.map(({ value }) => [value.networkId, value]));
  const byAddress = new Map(
    ports.flatMap(({ value }) => value.addresses.map((address) => [`${value.routingDomainId} ${address}`, value] as const)),
  );
  return {
    network(networkId) {
      const found = byId.get(networkId);
      return found === undefined ? `#${networkId}` : `${found.tenant}/${found.name}`;
    },
    port(networkId, customerAddress) {
      const found = byAddress.get(`${byId.get(networkId)?.id} ${customerAddress}`);
      return found === undefined ? '' : portName(found);
    },
  };
}

/** The first rows of what all members together have told, how many there are besides, and who has told nothing. */
export function cutToLimit<T>(
  rows: readonly T[],
  answers: readonly HostAnswer<{ readonly leftOut: number }, Asked>[],
  limit: number,
): {
  readonly rows: readonly T[];
  readonly leftOut: number;
  readonly silent: readonly { readonly host: string; readonly error: string }[];
} {
  const told = rows.slice(0, limit);
  return {
    rows: told,
    leftOut: rows.length - told.length + answers.reduce((sum, answer) => sum + (answer.ok ? answer.result.leftOut : 0), 0),
    silent: answers.flatMap((answer) => (answer.ok ? [] : [{ host: answer.host.id, error: answer.error }])),
  };
}
