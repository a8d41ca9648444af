import type { NatLogRecord } from '@weft/model';
import { formatIp } from '@weft/packet';
import { type NatEvent, NatEventKind } from './events.ts';
import { BLOCK_PORTS } from './rows.ts';

/** Who tells, and how its boot clock stands to the wall clock. */
export interface NatLogContext {
  readonly group: string;
  /** Host id. */
  readonly member: string;
  /** Unix time at which this machine's boot clock was 0, in milliseconds. */
  readonly bootUnixMs: number;
}

/** What the NAT log keeps of an event: blocks granted and given back, nothing of flows (RFC 6888 REQ-11, REQ-12). */
export function natLogRecord(event: NatEvent, { group, member, bootUnixMs }: NatLogContext): NatLogRecord | undefined {
  if (event.kind !== NatEventKind.BLOCK_GRANTED && event.kind !== NatEventKind.BLOCK_RELEASED) return undefined;
  const { key, block } = event;
  return {
    kind: event.kind === NatEventKind.BLOCK_GRANTED ? 'granted' : 'released',
    timeUnixMs: bootUnixMs + Number(event.timeBootNs / 1_000_000n),
    group,
    member,
    epoch: block.epoch,
    segment: key.segment,
    address: formatIp(key.address),
    firstPort: key.block * BLOCK_PORTS,
    portCount: BLOCK_PORTS,
    networkId: block.networkId,
    ca: formatIp(block.ca),
  };
}
