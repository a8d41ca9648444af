import type { DropReason } from '@weft/model';
import type { ForwardingContext } from '../context.ts';
import type { InnerPacket } from '../inner-packet.ts';
import type { ForwardingTables } from '../tables.ts';
import { drop, type Gso, type Verdict } from '../verdict.ts';
import type { GatewayTables } from './gateway-tables.ts';
import type { Nat } from './nat.ts';

/** A plain IP frame inside the gateway: what every step is handed. */
export interface GatewayFrame {
  readonly tables: ForwardingTables;
  readonly gateway: GatewayTables;
  readonly nat: Nat;
  readonly context: ForwardingContext;
  /** Cut to its packet. Not written to: rewriting makes a copy. */
  readonly frame: Uint8Array;
  readonly packet: InnerPacket;
  readonly gso: Gso | undefined;
  /** The subnet that drops are counted for; 0 as long as the network is not known. */
  readonly countedVsid: number;
}

export function dropAt(from: GatewayFrame, reason: DropReason): Verdict {
  return drop(reason, from.countedVsid);
}
