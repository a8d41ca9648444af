import type {
  Assignment,
  GatewayAlarm,
  GatewayMemberUse,
  GatewayPart,
  GatewayShardStatus,
  GatewayStateLag,
  GatewayStatusResult,
  GatewayTakeover,
} from '@weft/model';
import { isEmptyMember } from '@weft/model';
import type { Asked, HostAnswer } from './hosts-asked.ts';

// Out of what each machine says of a gateway: who owns what, and whether they agree. Everybody is believed for himself only.

export type GatewayAnswer = HostAnswer<GatewayStatusResult, Asked>;

export interface MemberRow {
  readonly host: string;
  readonly providerAddress: string;
  readonly answered: boolean;
  readonly state: 'active' | 'draining' | 'drained';
  /** Shards it forwards for now. */
  readonly owns: number;
  /** Shards it is first, and second, in line for. */
  readonly preferred: number;
  readonly standby: number;
  /** Of the shards it is preferred owner of. Undefined: no member has said. */
  readonly networks: number | undefined;
  /** Blocks it grants from, is to give up, and is to get. */
  readonly blocks: number;
  readonly leaving: number;
  readonly coming: number;
  /** What it says of itself. Undefined: it did not answer, or is no gateway (yet). */
  readonly use: GatewayMemberUse | undefined;
}

export interface ShardSummary {
  readonly shard: number;
  /** Whom the highest epoch belongs to; empty: nobody knows one. */
  readonly owner: string;
  readonly epoch: bigint;
  /** For how long at least, ms. */
  readonly sinceMs: number;
  /** Undefined: the owner did not answer. */
  readonly forwards: boolean | undefined;
  /** As its owner says, or else the member that knows most. Undefined: no member has answered. */
  readonly networks: number | undefined;
  readonly members: readonly { readonly host: string; readonly state: string }[];
  readonly lag: GatewayStateLag | undefined;
  /** How it came to its owner, as that says. */
  readonly takeover: GatewayTakeover | undefined;
  /** Who believes something else. */
  readonly disagree: readonly { readonly host: string; readonly owner: string; readonly epoch: bigint }[];
  /** Members that forward besides the owner: a fault, unless a move is under way. */
  readonly alsoForward: readonly string[];
}

export interface GatewaySummary {
  readonly members: readonly MemberRow[];
  readonly shards: readonly ShardSummary[];
  readonly alarms: readonly (GatewayAlarm & { readonly host: string })[];
  readonly silent: readonly { readonly host: string; readonly error: string }[];
  /** Nothing here needs a person. */
  readonly ok: boolean;
}

interface Report extends GatewayShardStatus {
  readonly host: string;
  readonly part: GatewayPart;
}

/** From what members and voters say of themselves. */
export function summarize(assignment: Assignment, answers: readonly GatewayAnswer[]): GatewaySummary {
  const { gatewayId } = assignment;
  const groups = new Map(
    answers.flatMap((answer) => {
      const group = answer.ok ? answer.result.groups.find((one) => one.gatewayId === gatewayId) : undefined;
      return group === undefined ? [] : [[answer.host.id, group] as const];
    }),
  );
  const reports = [...groups].flatMap(([host, { part, shards }]) => shards.map((shard): Report => ({ ...shard, host, part })));
  const shards = assignment.shards.map(({ id }) =>
    shardSummary(
      id,
      reports.filter(({ shard }) => shard === id),
    ),
  );
  const loads = new Map(shards.map(({ shard, networks }) => [shard, networks]));
  const silent = answers.flatMap((answer) => (answer.ok ? [] : [{ host: answer.host.id, error: answer.error }]));
  const alarms = answers.flatMap((answer) =>
    answer.ok
      ? answer.result.alarms
          .filter((alarm) => alarm.gatewayId === '' || alarm.gatewayId === gatewayId)
          .map((alarm) => ({ host: answer.host.id, ...alarm }))
      : [],
  );
  const members = assignment.members.map((member): MemberRow => {
    const group = groups.get(member.hostId);
    return {
      ...memberShare(assignment, member.member, loads),
      host: member.hostId,
      providerAddress: member.providerAddress,
      answered: answers.some((answer) => answer.ok && answer.host.id === member.hostId),
      state: !member.drain ? 'active' : isEmptyMember(assignment, member.member) ? 'drained' : 'draining',
      owns: group?.shards.filter(({ forwards }) => forwards).length ?? 0,
      use: group?.use,
    };
  });
  const ok =
    silent.length === 0 &&
    shards.every((shard) => shard.forwards === true && shard.disagree.length === 0 && shard.alsoForward.length === 0) &&
    alarms.every(({ severity }) => severity !== 'critical');
  return { members, shards, alarms, silent, ok };
}

/** What the assignment gives a member. */
function memberShare(assignment: Assignment, member: number, loads: ReadonlyMap<number, number | undefined>) {
  const count = (choose: (slice: { readonly member: number; readonly movingTo: number }) => boolean): number =>
    assignment.addresses.flatMap(({ slices }) => slices.filter(choose)).reduce((sum, slice) => sum + slice.count, 0);
  const preferred = assignment.shards.filter(({ order }) => order[0] === member);
  return {
    preferred: preferred.length,
    standby: assignment.shards.filter(({ order }) => order[1] === member).length,
    networks: sumOf(preferred.map(({ id }) => loads.get(id))),
    blocks: count((slice) => slice.member === member && slice.movingTo === 0),
    leaving: count((slice) => slice.member === member && slice.movingTo !== 0),
    coming: count((slice) => slice.movingTo === member),
  };
}

function shardSummary(shard: number, reports: readonly Report[]): ShardSummary {
  const known = reports.filter(({ owner }) => owner !== '');
  const top = known.reduce<Report | undefined>((best, one) => (best === undefined || one.epoch > best.epoch ? one : best), undefined);
  const [owner, epoch] = [top?.owner ?? '', top?.epoch ?? 0n];
  const agreeing = known.filter((one) => one.owner === owner && one.epoch === epoch);
  const own = reports.find(({ host }) => host === owner);
  const members = reports.filter(({ part }) => part === 'member');
  return {
    shard,
    owner,
    epoch,
    sinceMs: agreeing.reduce((most, { sinceMs }) => Math.max(most, sinceMs), 0),
    forwards: owner === '' ? false : own?.forwards,
    // Those that forward for networks know which: the owner by all means, others as soon as they have read it.
    networks: own?.part === 'member' ? own.networks : mostOf(members.map(({ networks }) => networks)),
    members: members.map(({ host, state, forwards }) => ({ host, state: state !== '' ? state : forwards ? 'owner' : 'none' })),
    // Who has booted, or has no network of the shard, may know nobody: that is no other opinion.
    disagree: known.filter((one) => !agreeing.includes(one)).map(({ host, owner: whom, epoch: of }) => ({ host, owner: whom, epoch: of })),
    alsoForward: members.filter(({ host, forwards }) => forwards && host !== owner).map(({ host }) => host),
    lag: own?.lag,
    takeover: own?.takeover,
  };
}

function mostOf(counts: readonly number[]): number | undefined {
  return counts.length === 0 ? undefined : Math.max(...counts);
}

/** Undefined if one of them is. */
function sumOf(counts: readonly (number | undefined)[]): number | undefined {
  return counts.reduce((sum, one) => (sum === undefined || one === undefined ? undefined : sum + one), 0);
}
