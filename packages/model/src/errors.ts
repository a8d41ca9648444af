/**
 * The errors of Weft's control plane. `code` is a contract (`docs/errors.md` lists them); `message` says action, value, rule and what to
 * do; `details` repeats the values for programs.
 */
export class WeftError extends Error {
  override readonly name: string = 'WeftError';
  readonly code: WeftErrorCode;
  readonly details: Readonly<Record<string, unknown>>;

  constructor(code: WeftErrorCode, message: string, details: Readonly<Record<string, unknown>> = {}, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
    this.details = details;
  }
}

/** Code to what it means and what to do: the source of `docs/errors.md`. Codes are never given another meaning. */
export const WEFT_ERRORS = {
  WEFT_ERR_MODEL_ENCODE: 'A value does not fit its field. A fault of the program that wrote it: report it.',
  WEFT_ERR_MODEL_DECODE: 'A record can not be read: damaged, out of range, or of a newer Weft. It is refused; upgrade, or find its writer.',
  WEFT_ERR_MODEL_KEY: 'A key or an id is not of the form that keys have. Give ids, not names.',
  WEFT_ERR_MANIFEST_SYNTAX: 'A manifest is not YAML, or too large. See file and line.',
  WEFT_ERR_MANIFEST_KIND: 'apiVersion or kind is not one Weft knows.',
  WEFT_ERR_MANIFEST_UNKNOWN_KEY: 'A manifest has a key Weft does not know; the nearest known one is named.',
  WEFT_ERR_MANIFEST_MISSING: 'A manifest lacks a key that must be there.',
  WEFT_ERR_MANIFEST_VALUE: 'A value in a manifest has the wrong type or form.',
  WEFT_ERR_RULE_NAME: 'A name must be 1 to 63 of a-z, 0-9 and -, not begin or end with -.',
  WEFT_ERR_RULE_DUPLICATE: 'A resource is in the manifests twice. Remove one.',
  WEFT_ERR_RULE_TENANT_UNKNOWN: 'The tenant named does not exist. Apply it first, or together with this.',
  WEFT_ERR_RULE_NETWORK_UNKNOWN: 'The virtual network named does not exist in that tenant. Apply it first, or together with this.',
  WEFT_ERR_RULE_SUBNET_UNKNOWN: 'The virtual subnet named does not exist in that network. Apply it first, or together with this.',
  WEFT_ERR_RULE_RDID: 'A routing domain id must be a GUID in lower case without braces, and free.',
  WEFT_ERR_RULE_IMMUTABLE: 'This field can not be changed after creation. Delete the resource and make it again.',
  WEFT_ERR_RULE_VSID_RANGE: 'A VSID must be from 4096 to 16777214 (RFC 7637).',
  WEFT_ERR_RULE_VSID_USED: 'The VSID belongs to another virtual subnet. Take another, or leave it out.',
  WEFT_ERR_RULE_PREFIX: 'A prefix must be in canonical form without host bits, at most one per family, and usable by hosts.',
  WEFT_ERR_RULE_PREFIX_OVERLAP: 'Two virtual subnets of one network overlap. Take another prefix.',
  WEFT_ERR_RULE_GATEWAY: 'A gateway must be a usable address of its prefix, one per prefix.',
  WEFT_ERR_RULE_ADDRESS: 'An address must be in canonical form (dotted quad; RFC 5952 for IPv6).',
  WEFT_ERR_RULE_ADDRESS_OUTSIDE: 'A customer address must lie in a prefix of its subnet.',
  WEFT_ERR_RULE_ADDRESS_RESERVED: "A customer address can't be the gateway's, the network's or the broadcast address.",
  WEFT_ERR_RULE_ADDRESS_USED: 'The customer address belongs to another port of the network.',
  WEFT_ERR_RULE_MAC: 'A MAC must be lower case with colons, unicast, not zero, and not begin with 02:57:46 or 02:57:47 (the gateways).',
  WEFT_ERR_RULE_MAC_USED: 'The MAC belongs to another port of the same subnet.',
  WEFT_ERR_RULE_ROUTE: "A route's prefix must be canonical, not a subnet's own, and once; its kind known.",
  WEFT_ERR_RULE_NEXT_HOP: "A route's next hop must be a customer address of the network, of the prefix's family.",
  WEFT_ERR_RULE_PLACEMENT: 'Placement must be "any", or a list of host ids.',
  WEFT_ERR_RULE_GATEWAY_UNKNOWN: 'The gateway named does not exist. An admin applies it, before or together with this.',
  WEFT_ERR_RULE_GATEWAY_OTHER: 'All connections of a network go through one gateway. Name that one, or delete the others first.',
  WEFT_ERR_RULE_GATEWAY_SUBNET: "The subnet is the gateway's own: Weft makes and removes it, and no port may be put there.",
  WEFT_ERR_RULE_HOST_UNKNOWN: 'A member or witness must be a host that has registered itself, and be named once. Start its agent first.',
  WEFT_ERR_RULE_MEMBER: 'A member of a gateway needs one interface for each segment, and each interface serves one.',
  WEFT_ERR_RULE_MEMBER_NOT_DRAINED:
    'A member that still has shards or blocks of ports can not be removed. Drain it first (`weft gateway drain`), or force it when it is gone for good.',
  WEFT_ERR_RULE_GATEWAY_MEMBER: 'Only members of the gateway are drained and undrained. The rule names them.',
  WEFT_ERR_RULE_GATEWAY_MOVE:
    'Shards are moved to a member of their gateway that is not drained, and must exist. The message names members and shards.',
  WEFT_ERR_RULE_SEGMENT:
    'A segment must be sound (prefixes, next hops, MTU); a network is forwarded only to one that is open to its tenant and has no pool open to others, and one network to one.',
  WEFT_ERR_RULE_POOL:
    'A pool must be sound and apart from others; a network uses only pools of its gateway that are open to its tenant, and external addresses of the segment of its connection.',
  WEFT_ERR_RULE_SHARDS: 'A gateway has 1 to 256 shards.',
  WEFT_ERR_RULE_CONNECTION: 'A connection has what its mode needs and nothing else; its mode stays.',
  WEFT_ERR_RULE_CONNECTION_SECOND: 'A network has at most one connection of mode nat or forward, and one peering with each other network.',
  WEFT_ERR_RULE_CONNECTION_MISSING:
    'This needs a connection that the network does not have. Apply a GatewayConnection first, or together with it.',
  WEFT_ERR_RULE_IPV6_PREFIX: "The connection's IPv6 prefix must be one that the pool hands out, free, and fit the network's own.",
  WEFT_ERR_RULE_PEERING:
    "A peering's prefixes: what is offered must be the network's own; what is accepted must overlap nothing that it has or accepts elsewhere.",
  WEFT_ERR_RULE_PEERING_SHARD:
    'Networks that peer must be served by one gateway and one shard. Connect one of the two anew, after the peering.',
  WEFT_ERR_RULE_EXTERNAL_UNKNOWN: 'The external address named does not exist in that network. Apply it first, or together with this.',
  WEFT_ERR_RULE_EXTERNAL_OUTSIDE: 'An external address must be one that its pool hands out: of its addresses, and not one of the shared.',
  WEFT_ERR_RULE_EXTERNAL_USED: 'The external address belongs to another. Take another, or leave it out.',
  WEFT_ERR_RULE_POOL_EMPTY: 'The pool has no free address to hand out. An admin adds some.',
  WEFT_ERR_RULE_NAT_RULE: 'A NAT rule must fit the external address it names: its use, its family, and what other rules do with it.',
  WEFT_ERR_RULE_NAT_TARGET: 'The target of a NAT rule must be a customer address in a subnet of the same network.',
  WEFT_ERR_RULE_PORTS: 'Ports are 1 to 65535, at most 1,024 a rule, and each port of an external address has one meaning.',
  WEFT_ERR_RULE_IN_USE: 'What is still used can not be deleted. The message names the users.',
  WEFT_ERR_RULE_LIMIT: 'More of these than this version carries in one document. Split the network.',
  WEFT_ERR_RULE_NOT_FOUND: 'The resource named does not exist.',
  WEFT_ERR_TRUST_SIGNATURE: 'A signature does not hold. The record or request is refused; find its sender.',
  WEFT_ERR_TRUST_UNKNOWN_KEY: 'The signer is no principal of this installation. An admin adds it: `weft principal add`.',
  WEFT_ERR_TRUST_ROLE: "The signer's role does not allow this.",
  WEFT_ERR_TRUST_TENANT: 'The signer may not act for this tenant.',
  WEFT_ERR_TRUST_KEY: 'The key a record stands under is not the one its content asks for: a record put where it does not belong.',
  WEFT_ERR_TRUST_HOST: "The signer is not the host that the record is about, or the record's provider address is not that host's.",
  WEFT_ERR_TRUST_PLACEMENT: "The port's placement does not allow this host.",
  WEFT_ERR_TRUST_GENERATION:
    'A binding has a higher generation than its key can have had writes: made up by its signer, to keep the port from others. Retire that host, and bind the port again.',
  WEFT_ERR_TRUST_STALE_REQUEST: 'The request is older than 5 minutes, or from the future. Compare the clocks.',
  WEFT_ERR_TRUST_TARGET: 'The request was meant for another target.',
  WEFT_ERR_BUS_DISCONNECTED: 'NATS is not reachable. Nothing was sent; what forwards keeps forwarding. Weft keeps trying.',
  WEFT_ERR_BUS_TIMEOUT: 'NATS or the answering program did not answer in time.',
  WEFT_ERR_BUS_NO_RESPONDER: 'Nobody serves this: is a controller, or that host’s agent, running?',
  WEFT_ERR_BUS_CLOSED: 'The bus was closed by its own program.',
  WEFT_ERR_BUS_API: 'NATS refused the call; the message has its words.',
  WEFT_ERR_BUS_BUCKET_MISMATCH: 'The bucket exists with other settings than asked. Change the option, or the bucket.',
  WEFT_ERR_BUS_BUCKET_MISSING: 'The bucket does not exist: was the installation initialised?',
  WEFT_ERR_BUS_STORE_LOST: 'The bucket is younger, or its revisions lower, than what was seen before: the store was lost. Stop and ask.',
  WEFT_ERR_BUS_SERVER_VERSION: 'nats-server is older than 2.9.10, or JetStream is off.',
  WEFT_ERR_IDENTITY_FILE: 'A seed file can not be read, is not a seed, or others may read it.',
  WEFT_ERR_CONTROLLER_CONFLICT: 'Others changed the same resources again and again meanwhile. Nothing was changed; try again.',
  WEFT_ERR_CONTROLLER_REPEATED: 'This request id was carried out before. See `weft diff`; a new request has a new id.',
  WEFT_ERR_CONTROLLER_UNKNOWN_OUTCOME:
    'NATS failed in the middle. The request is resumed by a controller when NATS is back; see `weft diff`.',
  WEFT_ERR_CONTROLLER_STALE:
    'What the step rests on has changed meanwhile, or is being changed. Read the assignment again and repeat it if it still holds.',
  WEFT_ERR_CONTROLLER_COMMAND: 'The request holds no command that this program serves.',
  WEFT_ERR_CONTROLLER_INTERNAL:
    'The controller failed while it worked on the request: a fault of Weft. Its log has the details; report it.',
  WEFT_ERR_CONTROLLER_VSIDS_EXHAUSTED: 'No free VSID was found.',
} as const;

export type WeftErrorCode = keyof typeof WEFT_ERRORS;

/** True for errors of Weft's own with that code. */
export function hasCode(error: unknown, code: WeftErrorCode): error is WeftError {
  return error instanceof WeftError && error.code === code;
}
