import { CliError, CliErrorCode } from '../core/errors.ts';

/** What `get`, `describe` and `delete` work on. */
export type Kind =
  | 'Tenant'
  | 'VirtualNetwork'
  | 'VirtualSubnet'
  | 'Port'
  | 'PortBinding'
  | 'Host'
  | 'Principal'
  | 'Gateway'
  | 'GatewayConnection'
  | 'ExternalAddress'
  | 'NatRule'
  | 'CustomerRoute';

/** Those that a manifest makes, and `weft delete` takes away. */
export const manifestKinds: readonly Kind[] = [
  'Tenant',
  'VirtualNetwork',
  'VirtualSubnet',
  'Port',
  'Gateway',
  'GatewayConnection',
  'ExternalAddress',
  'NatRule',
  'CustomerRoute',
];

interface KindNames {
  readonly kind: Kind;
  readonly plural: string;
  readonly aliases: readonly string[];
  /** How one is named on the command line. */
  readonly naming: string;
}

export const kinds: readonly KindNames[] = [
  { kind: 'Tenant', plural: 'tenants', aliases: ['tenant', 't'], naming: 'TENANT' },
  {
    kind: 'VirtualNetwork',
    plural: 'networks',
    aliases: ['network', 'net', 'nets', 'virtualnetwork', 'virtualnetworks', 'vnet', 'vnets'],
    naming: 'TENANT/NETWORK',
  },
  {
    kind: 'VirtualSubnet',
    plural: 'subnets',
    aliases: ['subnet', 'sub', 'virtualsubnet', 'virtualsubnets'],
    naming: 'TENANT/NETWORK/SUBNET',
  },
  { kind: 'Port', plural: 'ports', aliases: ['port', 'p'], naming: 'TENANT/NETWORK/PORT' },
  { kind: 'PortBinding', plural: 'bindings', aliases: ['binding', 'portbinding', 'portbindings', 'b'], naming: 'TENANT/NETWORK/PORT' },
  { kind: 'Host', plural: 'hosts', aliases: ['host', 'h'], naming: 'HOST' },
  { kind: 'Gateway', plural: 'gateways', aliases: ['gateway', 'gw'], naming: 'GATEWAY' },
  {
    kind: 'GatewayConnection',
    plural: 'connections',
    aliases: ['connection', 'conn', 'gatewayconnection', 'gatewayconnections'],
    naming: 'TENANT/NETWORK/CONNECTION',
  },
  {
    kind: 'ExternalAddress',
    plural: 'external-addresses',
    aliases: ['external-address', 'externaladdress', 'externaladdresses', 'external', 'eip'],
    naming: 'TENANT/NETWORK/ADDRESS',
  },
  { kind: 'NatRule', plural: 'nat-rules', aliases: ['nat-rule', 'natrule', 'natrules', 'nat'], naming: 'TENANT/NETWORK/RULE' },
  { kind: 'CustomerRoute', plural: 'routes', aliases: ['route', 'customerroute', 'customerroutes'], naming: 'TENANT/NETWORK/ROUTE' },
  { kind: 'Principal', plural: 'principals', aliases: ['principal', 'user', 'users'], naming: 'NAME' },
];

/**
 * The kind that a word on the command line means: plural, singular, kind or short form, in any case.
 *
 * @throws {CliError} `WEFT_ERR_CLI_USAGE` with the kinds there are.
 */
export function parseKind(word: string): Kind {
  const lower = word.toLowerCase();
  const found = kinds.find((k) => k.plural === lower || k.kind.toLowerCase() === lower || k.aliases.includes(lower));
  if (found !== undefined) return found.kind;
  throw new CliError(CliErrorCode.Usage, `Unknown kind "${word}": must be one of ${kinds.map((k) => k.plural).join(', ')}`);
}

/** Plural and naming of a kind. */
export function namesOf(kind: Kind): KindNames {
  return kinds.find((k) => k.kind === kind)!;
}
