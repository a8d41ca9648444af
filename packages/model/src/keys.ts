import { parseIp, parseMac, parsePrefix } from '@weft/packet';
import { WeftError } from './errors.ts';
import type { BucketName, WeftRecord } from './records.ts';

// Keys and subjects carry ids only, never what tenants wrote. In keys an address is the hex of its 16 bytes, a MAC the hex of its 6:
// colons and dots have meanings in NATS.

const GUID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/;
const HOST_ID = /^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/;
const PUBLIC_KEY = /^[UNC][A-Z2-7]{55}$/;
const REQUEST_ID = /^[A-Za-z0-9_-]{8,64}$/;

export function isGuid(text: string): boolean {
  return GUID.test(text);
}
/** A host id is also a NATS token and a lab's namespace name: 1 to 63 of a-z, 0-9, -. */
export function isHostId(text: string): boolean {
  return HOST_ID.test(text);
}
export function isRequestId(text: string): boolean {
  return REQUEST_ID.test(text);
}

/** 32 hex digits of the address's 16 bytes. */
export function addressToken(address: string): string {
  return hex(parseIp(address));
}
/** The address's 32 hex digits, `-`, and the length in bits of the 16-byte form. */
export function prefixToken(prefix: string): string {
  const { address, length } = parsePrefix(prefix);
  return `${hex(address)}-${length}`;
}
/** 12 hex digits. */
export function macToken(mac: string): string {
  return hex(parseMac(mac));
}

/** Keys of bucket `config`. */
export const configKey = {
  tenant: (id: string): string => `tenant.${guid(id)}`,
  network: (rdid: string): string => `network.${guid(rdid)}`,
  port: (rdid: string, portId: string): string => `port.${guid(rdid)}.${guid(portId)}`,
  principal: (publicKey: string): string => `principal.${checked(publicKey, PUBLIC_KEY, 'public key')}`,
  intent: (requestId: string): string => `intent.${checked(requestId, REQUEST_ID, 'request id')}`,
  vsidClaim: (vsid: number): string => `claim.vsid.${uint(vsid)}`,
  networkIdClaim: (networkId: number): string => `claim.network-id.${uint(networkId)}`,
  /** `nameId`: the id that a tenant's network name stands for, whatever its routing domain id. */
  networkNameClaim: (tenantId: string, nameId: string): string => `claim.network-name.${guid(tenantId)}.${guid(nameId)}`,
  addressClaim: (rdid: string, address: string): string => `claim.ca.${guid(rdid)}.${addressToken(address)}`,
  macClaim: (vsid: number, mac: string): string => `claim.mac.${uint(vsid)}.${macToken(mac)}`,
  gateway: (id: string): string => `gateway.${guid(id)}`,
  /** A number of a segment, pool or shard. */
  numberClaim: (number: number): string => `claim.number.${uint(number)}`,
  externalClaim: (segment: number, address: string): string => `claim.external.${uint(segment)}.${addressToken(address)}`,
  externalPrefixClaim: (segment: number, prefix: string): string => `claim.external-prefix.${uint(segment)}.${prefixToken(prefix)}`,
  /** The network that a segment is forwarded to. */
  forwardClaim: (segment: number): string => `claim.forward.${uint(segment)}`,
  /** That a shard serves a network. */
  shardClaim: (shard: number, rdid: string): string => `claim.shard.${uint(shard)}.${guid(rdid)}`,
} as const;

/** Prefixes for snapshots of bucket `config`. */
export const configPrefix = {
  tenants: 'tenant',
  networks: 'network',
  ports: (rdid: string): string => `port.${guid(rdid)}`,
  allPorts: 'port',
  principals: 'principal',
  intents: 'intent',
  claims: 'claim',
  vsidClaims: 'claim.vsid',
  networkIdClaims: 'claim.network-id',
  networkNameClaims: (tenantId: string): string => `claim.network-name.${guid(tenantId)}`,
  addressClaims: (rdid: string): string => `claim.ca.${guid(rdid)}`,
  macClaims: (vsid: number): string => `claim.mac.${uint(vsid)}`,
  gateways: 'gateway',
  numberClaims: 'claim.number',
  externalClaims: (segment: number): string => `claim.external.${uint(segment)}`,
  externalPrefixClaims: (segment: number): string => `claim.external-prefix.${uint(segment)}`,
  shardClaims: (shard: number): string => `claim.shard.${uint(shard)}`,
  allShardClaims: 'claim.shard',
} as const;

/** Key of bucket `gateways`. */
export function assignmentKey(gatewayId: string): string {
  return `assignment.${guid(gatewayId)}`;
}

/** Key of bucket `gateways`: the newest grant of a shard. */
export function grantKey(gatewayId: string, shard: number): string {
  return `grant.${guid(gatewayId)}.${uint(shard)}`;
}
/** All recorded grants of a gateway. */
export function grantPrefix(gatewayId: string): string {
  return `grant.${guid(gatewayId)}`;
}
/** All assignments. */
export const assignmentPrefix = 'assignment';

/** Key of bucket `mapping`. */
export function mappingKey(rdid: string, vsid: number, portId: string): string {
  return `${guid(rdid)}.${uint(vsid)}.${guid(portId)}`;
}
/** All bindings of a network. */
export function mappingPrefix(rdid: string): string {
  return guid(rdid);
}
/** Key of bucket `hosts`. */
export function hostKey(hostId: string): string {
  return checked(hostId, HOST_ID, 'host id');
}

/** Ports that share a subject of the NAT log. */
const NAT_LOG_PORTS = 1_024;

export const subjects = {
  configEvents: (rdid: string): string => `weft.v1.event.config.${guid(rdid)}`,
  mappingEvents: (rdid: string): string => `weft.v1.event.mapping.${guid(rdid)}`,
  /** config records of no network: tenants, principals. */
  installationEvents: 'weft.v1.event.installation',
  hostEvents: 'weft.v1.event.hosts',
  /** A gateway and its assignment. */
  gatewayEvents: (gatewayId: string): string => `weft.v1.event.gateway.${guid(gatewayId)}`,
  allGatewayEvents: 'weft.v1.event.gateway.*',
  digest: (rdid: string): string => `weft.v1.event.digest.${guid(rdid)}`,
  /** Between the voters and members of a gateway group: ballots, votes. */
  ballots: (gatewayId: string): string => `weft.v1.ownership.ballot.${guid(gatewayId)}`,
  /** From its owners to hosts: grant certificates. */
  grants: (gatewayId: string): string => `weft.v1.ownership.grant.${guid(gatewayId)}`,
  controller: 'weft.v1.cmd.controller',
  host: (hostId: string): string => `weft.v1.cmd.host.${checked(hostId, HOST_ID, 'host id')}`,
  audit: (bucket: BucketName): string => `weft.v1.audit.${bucket}`,
  /** The NAT log of 1,024 ports of an external address: few enough to read, and not so many subjects that NATS's memory would feel them. */
  natLog: (segment: number, address: string, port: number): string =>
    `weft.v1.natlog.${uint(segment)}.${addressToken(address)}.${Math.floor(port / NAT_LOG_PORTS)}`,
  /** The same of any segment; without a port, of the whole address. */
  natLogOf: (address: string, port: number | undefined): string =>
    `weft.v1.natlog.*.${addressToken(address)}.${port === undefined ? '*' : Math.floor(port / NAT_LOG_PORTS)}`,
} as const;

/** What a key says, taken apart. */
export type ParsedKey =
  | { readonly kind: 'tenant'; readonly id: string }
  | { readonly kind: 'network'; readonly routingDomainId: string }
  | { readonly kind: 'port'; readonly routingDomainId: string; readonly portId: string }
  | { readonly kind: 'principal'; readonly publicKey: string }
  | { readonly kind: 'intent'; readonly requestId: string }
  | { readonly kind: 'claim'; readonly what: ClaimKind; readonly tokens: readonly string[] }
  | { readonly kind: 'binding'; readonly routingDomainId: string; readonly vsid: number; readonly portId: string }
  | { readonly kind: 'host'; readonly hostId: string }
  | { readonly kind: 'gateway'; readonly gatewayId: string }
  | { readonly kind: 'assignment'; readonly gatewayId: string }
  | { readonly kind: 'grant'; readonly gatewayId: string; readonly shard: number };

export type ClaimKind =
  | 'vsid'
  | 'network-id'
  | 'network-name'
  | 'ca'
  | 'mac'
  | 'number'
  | 'external'
  | 'external-prefix'
  | 'forward'
  | 'shard';

const CLAIM_TOKENS: Record<ClaimKind, readonly RegExp[]> = {
  vsid: [/^[1-9]\d{0,7}$/],
  'network-id': [/^[1-9]\d{0,9}$/],
  'network-name': [GUID, GUID],
  ca: [GUID, /^[0-9a-f]{32}$/],
  mac: [/^[1-9]\d{0,7}$/, /^[0-9a-f]{12}$/],
  number: [/^[1-9]\d{0,9}$/],
  external: [/^[1-9]\d{0,9}$/, /^[0-9a-f]{32}$/],
  'external-prefix': [/^[1-9]\d{0,9}$/, /^[0-9a-f]{32}-\d{1,3}$/],
  forward: [/^[1-9]\d{0,9}$/],
  shard: [/^[1-9]\d{0,9}$/, GUID],
};

/** Takes a key apart. Undefined for a key that no record of that bucket has. */
export function parseKey(bucket: BucketName, key: string): ParsedKey | undefined {
  const tokens = key.split('.');
  const [first, second, third] = tokens as [string, string | undefined, string | undefined];
  if (bucket === 'hosts') return tokens.length === 1 && HOST_ID.test(first) ? { kind: 'host', hostId: first } : undefined;
  if (bucket === 'mapping') {
    if (tokens.length !== 3 || !GUID.test(first) || !CLAIM_TOKENS.vsid[0]!.test(second!) || !GUID.test(third!)) return undefined;
    return { kind: 'binding', routingDomainId: first, vsid: Number(second), portId: third! };
  }
  if (second === undefined) return undefined;
  if (bucket === 'gateways' && first === 'grant')
    return tokens.length === 3 && GUID.test(second) && CLAIM_TOKENS.number[0]!.test(third!)
      ? { kind: 'grant', gatewayId: second, shard: Number(third) }
      : undefined;
  if (bucket === 'gateways')
    return tokens.length === 2 && first === 'assignment' && GUID.test(second) ? { kind: 'assignment', gatewayId: second } : undefined;
  if (first === 'claim') {
    const rules = Object.hasOwn(CLAIM_TOKENS, second) ? CLAIM_TOKENS[second as ClaimKind] : undefined;
    const rest = tokens.slice(2);
    if (rules === undefined || rest.length !== rules.length || !rules.every((rule, i) => rule.test(rest[i]!))) return undefined;
    return { kind: 'claim', what: second as ClaimKind, tokens: rest };
  }
  if (first === 'port') {
    if (tokens.length !== 3 || !GUID.test(second) || !GUID.test(third!)) return undefined;
    return { kind: 'port', routingDomainId: second, portId: third! };
  }
  if (tokens.length !== 2) return undefined;
  if (first === 'tenant') return GUID.test(second) ? { kind: 'tenant', id: second } : undefined;
  if (first === 'network') return GUID.test(second) ? { kind: 'network', routingDomainId: second } : undefined;
  if (first === 'gateway') return GUID.test(second) ? { kind: 'gateway', gatewayId: second } : undefined;
  if (first === 'principal') return PUBLIC_KEY.test(second) ? { kind: 'principal', publicKey: second } : undefined;
  if (first === 'intent') return REQUEST_ID.test(second) ? { kind: 'intent', requestId: second } : undefined;
  return undefined;
}

/** True if the record is one that may stand under that key: readers refuse a record put where it does not belong. */
export function keyFits(bucket: BucketName, key: string, record: WeftRecord): boolean {
  const parsed = parseKey(bucket, key);
  if (parsed === undefined || parsed.kind !== record.kind) return false;
  switch (record.kind) {
    case 'tenant':
      return (parsed as { id: string }).id === record.value.id;
    case 'network':
      return (parsed as { routingDomainId: string }).routingDomainId === record.value.id;
    case 'port': {
      const { routingDomainId, portId } = parsed as { routingDomainId: string; portId: string };
      return routingDomainId === record.value.routingDomainId && portId === record.value.id;
    }
    case 'binding': {
      const { routingDomainId, vsid, portId } = parsed as { routingDomainId: string; vsid: number; portId: string };
      return routingDomainId === record.value.routingDomainId && vsid === record.value.vsid && portId === record.value.portId;
    }
    case 'host':
      return (parsed as { hostId: string }).hostId === record.value.id;
    case 'principal':
      return (parsed as { publicKey: string }).publicKey === record.value.key;
    case 'intent':
      return (parsed as { requestId: string }).requestId === record.value.requestId;
    case 'gateway':
      return (parsed as { gatewayId: string }).gatewayId === record.value.id;
    case 'assignment':
      return (parsed as { gatewayId: string }).gatewayId === record.value.gatewayId;
    case 'grant': {
      const { gatewayId, shard } = parsed as { gatewayId: string; shard: number };
      return gatewayId === record.value.gatewayId && shard === record.value.shard && record.value.certificate.ballot.shards.includes(shard);
    }
    case 'claim':
      return true;
  }
}

/** Subject on which a committed record is announced. Undefined where nobody listens: claims and intents. */
export function eventSubject(bucket: BucketName, key: string): string | undefined {
  const parsed = parseKey(bucket, key);
  switch (parsed?.kind) {
    case 'network':
    case 'port':
      return subjects.configEvents(parsed.routingDomainId);
    case 'binding':
      return subjects.mappingEvents(parsed.routingDomainId);
    case 'host':
      return subjects.hostEvents;
    case 'gateway':
    case 'assignment':
      return subjects.gatewayEvents(parsed.gatewayId);
    case 'tenant':
    case 'principal':
      return subjects.installationEvents;
    default:
      return undefined;
  }
}

/** How people call a record: `Port coke/net/web1`. */
export function resourceName(record: WeftRecord): string {
  switch (record.kind) {
    case 'tenant':
      return `Tenant ${record.value.name}`;
    case 'network':
      return `VirtualNetwork ${record.value.tenant}/${record.value.name}`;
    case 'port':
      return `Port ${record.value.tenant}/${record.value.network}/${record.value.name}`;
    case 'binding':
      return `PortBinding ${record.value.routingDomainId}/${record.value.portId}`;
    case 'host':
      return `Host ${record.value.id}`;
    case 'principal':
      return `Principal ${record.value.name}`;
    case 'claim':
      return `Claim ${record.value.ownerKey}`;
    case 'intent':
      return `Intent ${record.value.requestId}`;
    case 'gateway':
      return `Gateway ${record.value.name}`;
    case 'assignment':
      return `Assignment ${record.value.gateway}`;
    case 'grant':
      return `Grant ${record.value.gatewayId}/${record.value.shard}`;
  }
}

function guid(text: string): string {
  return checked(text, GUID, 'id (a GUID in lower case without braces)');
}

function uint(value: number): string {
  if (Number.isInteger(value) && value > 0 && value <= 0xffffffff) return String(value);
  throw new WeftError('WEFT_ERR_MODEL_KEY', `Cannot make a key of the number ${value}: must be an integer between 1 and 4294967295`, {
    value,
  });
}

function checked(text: string, form: RegExp, what: string): string {
  if (form.test(text)) return text;
  throw new WeftError('WEFT_ERR_MODEL_KEY', `Cannot make a key of ${JSON.stringify(text)}: must be a ${what}`, { value: text });
}

function hex(bytes: Uint8Array): string {
  let text = '';
  for (const byte of bytes) text += byte.toString(16).padStart(2, '0');
  return text;
}
