import { parseIp } from '@weft/packet';
import { weft } from '@weft/proto';
import { bool, checked, enumeration, type Message, message, text, u32, u64, u64big } from './codec.ts';

// Who had an external address and port at a time, told by records of whole blocks (RFC 7422, RFC 6888 REQ-12).
//
//   records   granted(epoch 5, A)      released(5, A)   granted(6, B)                    granted(7, C)
//   tenures   |---- A ------------------|                |---- B ------------------------|---- C ...
//                                                              (B's release was lost: C's grant ends it)
//
// A block has one holder at a time: it is granted only by the member whose slice it is in, under a live ownership. So a grant ends whatever came
// before, in the order of epochs, whose order no clock can spoil. Within an epoch one machine grants, and its boot clock orders; wall clocks are for
// people's questions only. A grant is told again now and then: what it says of the time differs if the clock was stepped meanwhile, and that is kept,
// as nobody can tell which of the two times was right.

/** A block of ports that was granted to someone, or given back. */
export interface NatLogRecord {
  readonly kind: 'granted' | 'released';
  /** By the clock of the member that tells. */
  readonly timeUnixMs: number;
  readonly group: string;
  /** Host id of the member that tells. */
  readonly member: string;
  /** Of the ownership under which the block was granted; a release repeats it. */
  readonly epoch: bigint;
  readonly segment: number;
  readonly address: string;
  readonly firstPort: number;
  readonly portCount: number;
  readonly networkId: number;
  readonly ca: string;
  /** With epoch and holder it tells a grant from other grants of the same block. */
  readonly version: number;
  /** By the boot clock of the member that tells. */
  readonly grantedBootNs: bigint;
  /** Told again: the time was worked out from the boot clock. */
  readonly isInterim: boolean;
}

function isIp(value: string): boolean {
  try {
    parseIp(value);
    return true;
  } catch {
    return false;
  }
}

const address = checked(text, (value) => (isIp(value) ? undefined : `is ${JSON.stringify(value.slice(0, 64))}, must be an IP address`));

/** `weft.v1.NatLogRecord` */
export const natLogRecordCodec: Message<NatLogRecord> = message('NatLogRecord', weft.v1.NatLogRecord, {
  kind: enumeration<NatLogRecord['kind']>({ granted: 1, released: 2 }),
  timeUnixMs: u64,
  group: text,
  member: text,
  epoch: u64big,
  segment: u32,
  address,
  firstPort: u32,
  portCount: u32,
  networkId: u32,
  ca: address,
  version: u32,
  grantedBootNs: u64big,
  isInterim: bool,
}) as Message<NatLogRecord>;

/** A time in which one holder had a block. */
export interface NatTenure {
  readonly networkId: number;
  readonly ca: string;
  readonly segment: number;
  readonly address: string;
  readonly firstPort: number;
  readonly portCount: number;
  readonly epoch: bigint;
  readonly group: string;
  /** Who told of it first. */
  readonly member: string;
  /** Undefined: the grant's record is missing. */
  readonly fromMs: number | undefined;
  /** Undefined: not given back as far as the records tell. */
  readonly untilMs: number | undefined;
  /** How it ended: given back, or a later grant of the same block says that it must have. */
  readonly end: 'released' | 'superseded' | 'open';
  /** By how much the times that were told of it differ: a clock was stepped meanwhile, or members' clocks are apart. */
  readonly spreadMs: number;
}

/** All tenures, of all blocks, from records in any order; a record that is there twice counts once. Of each block in the order in which they were. */
export function natTenures(records: Iterable<NatLogRecord>): NatTenure[] {
  const blocks = groupBy(records, (record) => `${record.segment}/${record.address}/${record.firstPort}`);
  return [...blocks.values()].flatMap(tenuresOfBlock);
}

function tenuresOfBlock(records: readonly NatLogRecord[]): NatTenure[] {
  const grants = groupBy(records, (record) => `${record.epoch}/${record.networkId}/${record.ca}/${record.version}`);
  const clocks = granters(records);
  const placed = [...grants.values()]
    .map((told) => ({ tenure: tenureOf(told), place: placeOf(told, clocks) }))
    .sort((a, b) => compareEpochs(a.tenure, b.tenure) || a.place - b.place);
  return placed.map(({ tenure }, i) => {
    const next = placed[i + 1]?.tenure;
    const untilMs = next?.fromMs ?? next?.untilMs;
    if (tenure.end !== 'open' || untilMs === undefined) return tenure;
    return { ...tenure, untilMs, end: 'superseded', spreadMs: Math.max(tenure.spreadMs, backwards(tenure.fromMs, untilMs)) };
  });
}

function compareEpochs(a: { readonly epoch: bigint }, b: { readonly epoch: bigint }): number {
  return a.epoch === b.epoch ? 0 : a.epoch < b.epoch ? -1 : 1;
}

interface GranterClock {
  readonly member: string;
  /** Unix time at which its boot clock was 0, as it said last. */
  readonly bootUnixMs: number;
}

/** Who granted in each epoch: the one who told of grants as they were made. */
function granters(records: readonly NatLogRecord[]): ReadonlyMap<bigint, GranterClock> {
  const found = new Map<bigint, GranterClock & { readonly atNs: bigint }>();
  for (const { kind, isInterim, epoch, member, timeUnixMs, grantedBootNs: atNs } of records) {
    if (kind !== 'granted' || isInterim || (found.get(epoch)?.atNs ?? -1n) > atNs) continue;
    found.set(epoch, { member, atNs, bootUnixMs: timeUnixMs - toMs(atNs) });
  }
  return found;
}

/** Where a tenure stands among those of its epoch: in ms of the granter's boot clock, put on the wall so that those told by others only have a place, too. */
function placeOf(told: readonly NatLogRecord[], clocks: ReadonlyMap<bigint, GranterClock>): number {
  const clock = clocks.get(told[0]!.epoch);
  const own = clock && told.find(({ member }) => member === clock.member);
  if (own !== undefined) return clock!.bootUnixMs + toMs(own.grantedBootNs);
  return Math.min(...told.map(({ timeUnixMs }) => timeUnixMs));
}

/** What was told of one grant. */
function tenureOf(told: readonly NatLogRecord[]): NatTenure {
  const first = told.find(({ isInterim }) => !isInterim) ?? told[0]!;
  const { networkId, ca, segment, address: external, firstPort, portCount, epoch, group, member } = first;
  const times = (kind: NatLogRecord['kind']): number[] =>
    told.flatMap((one) => (one.kind === kind && !(kind === 'granted' && isBeforeBoot(one)) ? [one.timeUnixMs] : []));
  const [from, until] = [times('granted'), times('released')];
  const spread = (of: readonly number[]): number => (of.length === 0 ? 0 : Math.max(...of) - Math.min(...of));
  const fromMs = from.length === 0 ? undefined : Math.min(...from);
  const untilMs = until.length === 0 ? undefined : Math.max(...until);
  return {
    ...{ networkId, ca, segment, address: external, firstPort, portCount, epoch, group, member, fromMs, untilMs },
    end: untilMs === undefined ? 'open' : 'released',
    spreadMs: Math.max(spread(from), spread(until), backwards(fromMs, untilMs)),
  };
}

/** An end before the beginning: the clock went back in between, and nobody told the beginning again. By how much. */
function backwards(fromMs: number | undefined, untilMs: number | undefined): number {
  return fromMs === undefined || untilMs === undefined ? 0 : Math.max(0, fromMs - untilMs);
}

/** Told by a machine that has booted since: on its boot clock the grant is as old as the boot, and no older. */
function isBeforeBoot({ isInterim, grantedBootNs }: NatLogRecord): boolean {
  return isInterim && grantedBootNs <= 1n;
}

function groupBy<T>(items: Iterable<T>, name: (item: T) => string): Map<string, T[]> {
  const groups = new Map<string, T[]>();
  for (const item of items) {
    const of = groups.get(name(item));
    if (of === undefined) groups.set(name(item), [item]);
    else of.push(item);
  }
  return groups;
}

function toMs(bootNs: bigint): number {
  return Number(bootNs / 1_000_000n);
}

export interface NatLogQuestion {
  readonly address: string;
  readonly port: number;
  readonly timeMs: number;
  /** Default: any. */
  readonly segment?: number;
  /** How far the clocks of members, and of whoever asks, may be apart. Default 0. */
  readonly toleranceMs?: number;
}

/** Who had a port: the one holder at that time, and others who may have been meant since clocks differ. */
export interface NatLogAnswer {
  /** Undefined: nobody as far as the records tell, or more than one. */
  readonly holder: NatTenure | undefined;
  /** Everyone whose tenure touches the time within the tolerance and what is uncertain of its own times, the holder too; the latest first. */
  readonly candidates: readonly NatTenure[];
}

/** Answers "who had this address and port at that time". */
export function whoHad(tenures: Iterable<NatTenure>, question: NatLogQuestion): NatLogAnswer {
  const { address: external, port, timeMs, segment, toleranceMs = 0 } = question;
  const candidates = [...tenures]
    .filter((one) => one.address === external && (segment === undefined || one.segment === segment))
    .filter(({ firstPort, portCount }) => port >= firstPort && port < firstPort + portCount)
    .filter((one) => covers(one, timeMs, toleranceMs + one.spreadMs))
    .sort((a, b) => (b.fromMs ?? 0) - (a.fromMs ?? 0));
  const exact = candidates.filter((one) => covers(one, timeMs, 0));
  return { holder: exact.length === 1 ? exact[0] : undefined, candidates };
}

/** The end is not part of it. */
function covers({ fromMs, untilMs }: NatTenure, timeMs: number, toleranceMs: number): boolean {
  return (fromMs === undefined || fromMs - toleranceMs <= timeMs) && (untilMs === undefined || timeMs < untilMs + toleranceMs);
}
