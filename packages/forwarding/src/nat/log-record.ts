import type { NatLogRecord } from '@weft/model';
import { formatIp } from '@weft/packet';
import { type NatEvent, NatEventKind } from './events.ts';
import { BLOCK_PORTS, type NatBlock, type NatKey } from './rows.ts';

/** Who tells, and how its boot clock stands to the wall clock. */
export interface NatLogContext {
  readonly group: string;
  /** Host id. */
  readonly member: string;
  /** Unix time at which this machine's boot clock was 0, in milliseconds. */
  readonly bootUnixMs: number;
}

/** Whether the NAT log keeps events of this kind: blocks granted and given back, nothing of flows (RFC 6888 REQ-11, REQ-12). */
export function isLogged(kind: number): boolean {
  return kind === NatEventKind.BLOCK_GRANTED || kind === NatEventKind.BLOCK_RELEASED;
}

/** What the NAT log keeps of an event; undefined: nothing. */
export function natLogRecord(event: NatEvent, context: NatLogContext): NatLogRecord | undefined {
  if (event.kind !== NatEventKind.BLOCK_GRANTED && event.kind !== NatEventKind.BLOCK_RELEASED) return undefined;
  const kind = event.kind === NatEventKind.BLOCK_GRANTED ? 'granted' : 'released';
  return { ...blockRecord(event.key, event.block, context), kind, timeUnixMs: unixMs(event.timeBootNs, context), isInterim: false };
}

/** The same of a block that stands in the table: a grant that is told again. */
export function natLogInterim(key: NatKey<'block'>, block: Omit<NatBlock, 'ports'>, context: NatLogContext): NatLogRecord {
  return { ...blockRecord(key, block, context), kind: 'granted', timeUnixMs: unixMs(block.grantedBootNs, context), isInterim: true };
}

function blockRecord(key: NatKey<'block'>, block: Omit<NatBlock, 'ports'>, { group, member }: NatLogContext) {
  return {
    group,
    member,
    epoch: block.epoch,
    segment: key.segment,
    address: formatIp(key.address),
    firstPort: key.block * BLOCK_PORTS,
    portCount: BLOCK_PORTS,
    networkId: block.networkId,
    ca: formatIp(block.ca),
    version: block.version,
    grantedBootNs: block.grantedBootNs,
  };
}

function unixMs(bootNs: bigint, { bootUnixMs }: NatLogContext): number {
  return Math.max(0, Math.round(bootUnixMs) + Number(bootNs / 1_000_000n));
}
