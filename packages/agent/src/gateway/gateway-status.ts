import type {
  GatewayAlarm,
  GatewayMemberUse,
  GatewayStateLag,
  GatewayStatusResult,
  GatewayTakeover,
  GatewayTakeoverStep,
} from '@weft/model';
import type { ConditionCode, Conditions } from '../conditions.ts';
import type { Gateways } from './gateways.ts';
import type { Takeover } from './shard-states.ts';

/** How far the standby of a shard is behind, as the stream of state knows it. */
export interface ShardLag extends GatewayStateLag {
  readonly shard: number;
}

export interface GatewayStatusParts {
  readonly hostId: string;
  readonly nowMs: number;
  readonly gateways: Pick<Gateways, 'involved' | 'directory'>;
  readonly conditions: Pick<Conditions, 'entries'>;
  /** Of the groups of which this machine is a member. Undefined: it has no such role. */
  readonly use?: (gatewayId: string) => GatewayMemberUse | undefined;
  readonly lags?: readonly ShardLag[];
}

const CODES: ReadonlySet<ConditionCode> = new Set<ConditionCode>([
  'GATEWAYS_NOT_READ',
  'GATEWAY_OWNERSHIP',
  'GATEWAY_TABLES',
  'EXTERNAL_DEVICE',
  'EXTERNAL_DEVICE_SHARED',
  'CONTROL_PORT',
  'NAT_LOG_BEHIND',
  'NAT_LOG_LOST',
  'NAT_LOG_NOT_SAVED',
]);
/** `<group> <alarm code> …`: what the subjects of ownership's conditions are. */
const OWNERSHIP_SUBJECT = /^([0-9a-f-]{36}) (\S+)/;

/** What this machine knows of gateway groups. @param gatewayId Only this one; empty: all. */
export function gatewayStatus(parts: GatewayStatusParts, gatewayId: string): GatewayStatusResult {
  const { hostId, nowMs, gateways, use, lags = [] } = parts;
  const groups = gateways
    .involved()
    .filter(({ id }) => gatewayId === '' || id === gatewayId)
    .map(({ id, part, config, shards }) => ({
      gatewayId: id,
      part,
      configId: config.config,
      incarnation: config.incarnation,
      shards: shards.map(({ sinceMs, takeover, ...view }) => ({
        ...view,
        takeover: takeover === undefined ? undefined : takeoverOf(takeover, nowMs),
        sinceMs: Math.max(0, Math.round(nowMs - sinceMs)),
        networks: gateways.directory.networksOf(view.shard).length,
        lag: lagOf(lags, view.shard),
      })),
      use: part === 'member' ? use?.(id) : undefined,
    }));
  return {
    hostId,
    groups,
    alarms: alarms(parts.conditions).filter((one) => [one.gatewayId, gatewayId].includes('') || one.gatewayId === gatewayId),
  };
}

/** Its steps in the order in which they were done. */
function takeoverOf({ times, atMs }: Takeover, nowMs: number): GatewayTakeover {
  const { kind, from, epoch, silentBeforeMs, votesMs, ...ms } = times;
  const step = (name: GatewayTakeoverStep['step'], after: number | undefined, host = ''): GatewayTakeoverStep[] =>
    after === undefined ? [] : [{ step: name, host, afterUs: microseconds(after) }];
  const steps = [
    ...step('answered', ms.answeredMs),
    ...step('ballot', ms.ballotMs),
    ...Object.entries(votesMs).flatMap(([voter, after]) => step('vote', after, voter)),
    ...step('opened', ms.openedMs),
    ...step('told', ms.toldMs),
    ...step('done', ms.announcedMs),
  ];
  return {
    ...{ kind, from, epoch: BigInt(epoch), agoMs: Math.max(0, Math.round(nowMs - atMs)) },
    silentBeforeUs: silentBeforeMs === undefined ? 0 : microseconds(silentBeforeMs),
    steps: steps.sort((a, b) => a.afterUs - b.afterUs),
  };
}

function microseconds(ms: number): number {
  return Math.max(0, Math.round(ms * 1_000));
}

function lagOf(lags: readonly ShardLag[], shard: number): GatewayStateLag | undefined {
  const found = lags.find((one) => one.shard === shard);
  if (found === undefined) return undefined;
  const { shard: _, lagMsP99, lagMsLast, ...lag } = found;
  // Whole milliseconds travel; rounded up, as a lag of less than one is one.
  return { ...lag, lagMsP99: Math.ceil(lagMsP99), lagMsLast: Math.ceil(lagMsLast) };
}

/** Conditions that have to do with gateways; those of ownership by its own codes, which docs/ownership.md explains. */
function alarms(conditions: Pick<Conditions, 'entries'>): GatewayAlarm[] {
  return conditions.entries().flatMap(({ code, subject, severity, message, sinceMs, count }) => {
    if (!CODES.has(code)) return [];
    const [, group, alarm] = OWNERSHIP_SUBJECT.exec(subject) ?? [];
    return [{ gatewayId: group ?? '', code: alarm ?? code, severity, message, sinceMs, count }];
  });
}
