import type { DropReason } from '@weft/model';
import type { ForwardingContext } from './context.ts';
import type { ForwardingTables, PortEntry } from './tables.ts';
import { drop, type Gso, type Verdict } from './verdict.ts';

/** A frame from a port, past the checks of Ethernet: what every later step is handed. */
export interface PortFrame {
  readonly tables: ForwardingTables;
  readonly context: ForwardingContext;
  readonly ifindex: number;
  readonly port: PortEntry;
  readonly frame: Uint8Array;
  /** Undefined unless its size is above 0. */
  readonly gso: Gso | undefined;
}

export function dropFor(from: PortFrame, reason: DropReason): Verdict {
  return drop(reason, from.port.vsid);
}
