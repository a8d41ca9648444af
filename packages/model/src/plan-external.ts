import { isHandedOut, poolAddresses } from './address-ranges.ts';
import { shardsWithPool, type WantedAddress } from './assignment.ts';
import type { ExternalAddressSpec, NatRuleSpec } from './commands.ts';
import { diffFields } from './diff.ts';
import type { ExternalAddress, GatewayPool, NatRule } from './gateway-records.ts';
import { configKey } from './keys.ts';
import { type NetworkDraft, type NetworkDrafts, type PlannedItem, replaced } from './network-draft.ts';
import { type GatewayDraft, type GatewayDrafts, poolFor } from './plan-gateway.ts';
import type { ResourceProblems } from './problems.ts';
import { checkName } from './rules.ts';
import { isFamily4, MAX_ASSIGNED_ADDRESSES } from './rules-gateway.ts';
import { MAX_EXTERNAL_ADDRESSES, MAX_NAT_RULES } from './rules-network-gateway.ts';
import { externalAddressSpecView, natRuleSpecView } from './specs-gateway.ts';
import type { GatewayWorld } from './world.ts';

/** What networks with a connection have outside: addresses of their own, and the NAT rules that use them. */
export class ExternalPlanner {
  readonly #world: GatewayWorld;
  readonly #gateways: GatewayDrafts;
  readonly #drafts: NetworkDrafts;

  constructor(world: GatewayWorld, gateways: GatewayDrafts, drafts: NetworkDrafts) {
    this.#world = world;
    this.#gateways = gateways;
    this.#drafts = drafts;
  }

  address(spec: ExternalAddressSpec, draft: NetworkDraft, problems: ResourceProblems): PlannedItem | undefined {
    const found = problems.count;
    checkName(problems, 'metadata.name', spec.name);
    const of = draft.network.gateway;
    const gateway = of && this.#gateways.get(of.gateway);
    if (of === undefined || gateway === undefined) {
      missing(problems, 'metadata.network', spec.network, 'must have a connection to a gateway');
      return undefined;
    }
    const pool = poolFor(gateway, spec.pool, spec.tenant, 'spec.pool', problems);
    const before = of.externalAddresses.find(({ name }) => name === spec.name);
    if (before !== undefined) {
      for (const [field, is, asked] of [
        ['pool', before.pool, spec.pool],
        ['use', before.use, spec.use],
        ['address', before.address, spec.address || before.address],
      ] as const)
        if (is !== asked)
          problems.add(
            'WEFT_ERR_RULE_IMMUTABLE',
            `spec.${field}`,
            asked,
            `must stay ${is}`,
            'delete the external address and make it again',
          );
    }
    if (pool === undefined || problems.count > found) return undefined;
    const address = before?.address ?? this.#choose(spec, pool, gateway, draft, problems);
    if (address === undefined || problems.count > found) return undefined;
    const { name, use } = spec;
    const base = { name, pool: pool.name, poolId: pool.id, segmentId: pool.segmentId, address, use };
    const after: ExternalAddress = before ?? { ...base, number: this.#gateways.number() };
    if (before === undefined) this.#gateways.change(gateway, [wantedAddress(after, of.shard)], []);
    if (gateway.assignment.addresses.length > MAX_ASSIGNED_ADDRESSES)
      problems.add(
        'WEFT_ERR_RULE_LIMIT',
        'spec.pool',
        spec.pool,
        `must be of a gateway with at most ${MAX_ASSIGNED_ADDRESSES} external addresses in use`,
        'use another gateway',
      );
    const externalAddresses = replaced(of.externalAddresses, before, after);
    if (externalAddresses.length > MAX_EXTERNAL_ADDRESSES)
      problems.add(
        'WEFT_ERR_RULE_LIMIT',
        'metadata.name',
        name,
        `must be one of at most ${MAX_EXTERNAL_ADDRESSES} external addresses`,
        'delete some',
      );
    draft.network = { ...draft.network, gateway: { ...of, externalAddresses } };
    return {
      exists: before !== undefined,
      fields: () => diffFields('spec.', before && externalAddressSpecView(before), externalAddressSpecView(after)),
    };
  }

  natRule({ tenant, network, rule }: NatRuleSpec, draft: NetworkDraft, problems: ResourceProblems): PlannedItem | undefined {
    const found = problems.count;
    checkName(problems, 'metadata.name', rule.name);
    const of = draft.network.gateway;
    const gateway = of && this.#gateways.get(of.gateway);
    if (of === undefined || gateway === undefined || !of.connections.some(({ mode }) => mode === 'nat')) {
      missing(problems, 'metadata.network', network, 'must have a connection of mode nat');
      return undefined;
    }
    const path = `spec.${rule.kind}`;
    const pool = rule.pool === '' ? undefined : poolFor(gateway, rule.pool, tenant, `${path}.pool`, problems);
    const nat = of.connections.find(({ mode }) => mode === 'nat')!;
    if (pool !== undefined && pool.segmentId !== nat.segmentId)
      problems.add(
        'WEFT_ERR_RULE_NAT_RULE',
        `${path}.pool`,
        rule.pool,
        `must be on segment ${nat.segment}, as the network's connection`,
        'take another',
      );
    if (pool !== undefined && !shardsWithPool(gateway.assignment, pool.id, [isFamily4(rule.source) ? 4 : 6]).has(of.shard))
      problems.add(
        'WEFT_ERR_RULE_NAT_RULE',
        `${path}.pool`,
        rule.pool,
        "must have a shared address for the network's shard",
        'ask an admin for more shared addresses',
      );
    if (rule.externalAddress !== '' && !of.externalAddresses.some(({ name }) => name === rule.externalAddress))
      problems.add(
        'WEFT_ERR_RULE_EXTERNAL_UNKNOWN',
        `${path}.externalAddress`,
        rule.externalAddress,
        `must be an external address of network ${draft.path} that exists, or is in the same manifests`,
        'add the ExternalAddress',
      );
    if (problems.count > found) return undefined;
    const before = of.natRules.find(({ name }) => name === rule.name);
    const after: NatRule = { ...rule, poolId: pool?.id ?? 0 };
    const natRules = replaced(of.natRules, before, after);
    if (natRules.length > MAX_NAT_RULES)
      problems.add(
        'WEFT_ERR_RULE_LIMIT',
        'metadata.name',
        rule.name,
        `must be one of at most ${MAX_NAT_RULES} NAT rules`,
        'use ranges of ports',
      );
    draft.network = { ...draft.network, gateway: { ...of, natRules } };
    return { exists: before !== undefined, fields: () => diffFields('spec.', before && natRuleSpecView(before), natRuleSpecView(after)) };
  }

  /** The address asked for, or a free one. */
  #choose(
    spec: ExternalAddressSpec,
    pool: GatewayPool,
    { gateway }: GatewayDraft,
    draft: NetworkDraft,
    problems: ResourceProblems,
  ): string | undefined {
    const segment = gateway.segments.find(({ id }) => id === pool.segmentId);
    const drafted = new Set(
      this.#drafts.all.flatMap(({ network }) =>
        (network.gateway?.externalAddresses ?? []).filter((one) => one.segmentId === pool.segmentId).map(({ address }) => address),
      ),
    );
    if (spec.address === '') {
      for (const family of [4, 6] as const) {
        for (const address of poolAddresses(pool, segment, family)) {
          if (drafted.has(address) || this.#world.claimed.has(configKey.externalClaim(pool.segmentId, address))) continue;
          if (isHandedOut(pool, segment, address)) return address;
        }
        // Of an IPv6 prefix the end is never seen.
      }
      problems.add('WEFT_ERR_RULE_POOL_EMPTY', 'spec.pool', spec.pool, 'must have a free address to hand out', 'ask an admin');
      return undefined;
    }
    if (!isHandedOut(pool, segment, spec.address)) {
      const rule = `must be an address that pool ${pool.name} hands out (${pool.addresses.join(', ')}, without the lowest ${pool.shared}, which are shared)`;
      problems.add('WEFT_ERR_RULE_EXTERNAL_OUTSIDE', 'spec.address', spec.address, rule, 'take one of them, or leave it out');
      return undefined;
    }
    const holder = this.#world.held.get(configKey.externalClaim(pool.segmentId, spec.address));
    if (drafted.has(spec.address) || (holder !== undefined && holder !== draft.network.id)) {
      problems.add(
        'WEFT_ERR_RULE_EXTERNAL_USED',
        'spec.address',
        spec.address,
        'must not belong to another',
        'take another, or leave it out',
      );
      return undefined;
    }
    return spec.address;
  }
}

/** What the assignment needs of a network's own address. */
export function wantedAddress({ segmentId, address, use }: ExternalAddress, shard: number): WantedAddress {
  return { segment: segmentId, address, shard, pool: 0, sliced: use !== 'static' };
}

function missing(problems: ResourceProblems, path: string, value: string, rule: string): void {
  problems.add('WEFT_ERR_RULE_CONNECTION_MISSING', path, value, rule, 'add a GatewayConnection');
}
