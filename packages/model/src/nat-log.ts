import { parseIp } from '@weft/packet';
import { weft } from '@weft/proto';
import { checked, enumeration, type Message, message, text, u32, u64, u64big } from './codec.ts';

// Who had an external address and port at a time, told by records of whole blocks (RFC 7422, RFC 6888 REQ-12).
//
//   records   granted(epoch 5, A)      released(5, A)   granted(6, B)                    granted(7, C)
//   tenures   |---- A ------------------|                |---- B ------------------------|---- C ...
//                                                              (B's release was lost: C's grant ends it)
//
// A block has one holder at a time: it is granted only by the member whose slice it is in, under a live ownership. So a grant ends whatever came
// before, in the order of epochs, whose order no clock can spoil; times order what happened within an epoch.

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
  /** Undefined: the grant's record is missing. */
  readonly fromMs: number | undefined;
  /** Undefined: not given back as far as the records tell. */
  readonly untilMs: number | undefined;
  /** How it ended: given back, or a later grant of the same block says that it must have. */
  readonly end: 'released' | 'superseded' | 'open';
}

type OpenTenure = { -readonly [K in keyof NatTenure]: NatTenure[K] };

/** All tenures, of all blocks, from records in any order; a record that is there twice counts once. */
export function natTenures(records: Iterable<NatLogRecord>): NatTenure[] {
  const blocks = new Map<string, NatLogRecord[]>();
  for (const record of records) {
    const name = `${record.segment}/${record.address}/${record.firstPort}`;
    const of = blocks.get(name);
    if (of === undefined) blocks.set(name, [record]);
    else of.push(record);
  }
  return [...blocks.values()].flatMap(tenuresOfBlock);
}

function tenuresOfBlock(records: readonly NatLogRecord[]): NatTenure[] {
  const tenures: OpenTenure[] = [];
  for (const record of [...records].sort(compareRecords)) {
    const last = tenures.at(-1);
    if (record.kind === 'granted') {
      if (last !== undefined && isSameTenure(last, record) && last.fromMs === record.timeUnixMs) continue;
      if (last?.end === 'open') Object.assign(last, { untilMs: record.timeUnixMs, end: 'superseded' });
      tenures.push(tenureOf(record, record.timeUnixMs));
    } else if (last !== undefined && isSameTenure(last, record)) {
      // A release that is there twice, or a late one of a tenure that a grant has ended already.
      if (last.end === 'open') Object.assign(last, { untilMs: record.timeUnixMs, end: 'released' });
    } else {
      tenures.push({ ...tenureOf(record, undefined), untilMs: record.timeUnixMs, end: 'released' });
    }
  }
  return tenures;
}

/** Epoch, then time; of one moment what ends comes before what begins. */
function compareRecords(a: NatLogRecord, b: NatLogRecord): number {
  if (a.epoch !== b.epoch) return a.epoch < b.epoch ? -1 : 1;
  if (a.timeUnixMs !== b.timeUnixMs) return a.timeUnixMs - b.timeUnixMs;
  return a.kind === b.kind ? 0 : a.kind === 'released' ? -1 : 1;
}

function isSameTenure(tenure: NatTenure, record: NatLogRecord): boolean {
  return tenure.epoch === record.epoch && tenure.networkId === record.networkId && tenure.ca === record.ca;
}

function tenureOf(record: NatLogRecord, fromMs: number | undefined): OpenTenure {
  const { networkId, ca, segment, address: external, firstPort, portCount, epoch } = record;
  return { networkId, ca, segment, address: external, firstPort, portCount, epoch, fromMs, untilMs: undefined, end: 'open' };
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
  /** Everyone whose tenure touches the time within the tolerance, the holder too; the latest first. */
  readonly candidates: readonly NatTenure[];
}

/** Answers "who had this address and port at that time". */
export function whoHad(tenures: Iterable<NatTenure>, question: NatLogQuestion): NatLogAnswer {
  const { address: external, port, timeMs, segment, toleranceMs = 0 } = question;
  const candidates = [...tenures]
    .filter((one) => one.address === external && (segment === undefined || one.segment === segment))
    .filter(({ firstPort, portCount }) => port >= firstPort && port < firstPort + portCount)
    .filter((one) => covers(one, timeMs, toleranceMs))
    .sort((a, b) => (b.fromMs ?? 0) - (a.fromMs ?? 0));
  const exact = candidates.filter((one) => covers(one, timeMs, 0));
  return { holder: exact.length === 1 ? exact[0] : undefined, candidates };
}

/** The end is not part of it. */
function covers({ fromMs, untilMs }: NatTenure, timeMs: number, toleranceMs: number): boolean {
  return (fromMs === undefined || fromMs - toleranceMs <= timeMs) && (untilMs === undefined || timeMs < untilMs + toleranceMs);
}
