import type { ErrorLimit } from './error-limit.ts';
import type { GatewayTables } from './gateway/gateway-tables.ts';
import type { Nat } from './gateway/nat.ts';
import type { Probe } from './gateway/probe.ts';
import type { Trace } from './trace.ts';

/** What a decision knows besides the frame and the tables: the programs' configuration and the time. */
export interface ForwardingContext {
  /** This host's provider address, 16 bytes. */
  readonly pa: Uint8Array;
  /** Destination port of tunnels, 4789 unless configured otherwise. */
  readonly udpPort: number;
  /** Nanoseconds of the boot clock. */
  readonly nowBootNs: bigint;
  /** This host's part as a gateway; absent, it has none. */
  readonly gateway?:
    | {
        readonly tables: GatewayTables;
        readonly nat: Nat;
        /** Device that answers to probes leave by. */
        readonly underlayIfindex?: number;
        /** Told of each answer to a probe, before it is passed. */
        readonly onProbeReply?: (pa: Uint8Array, reply: Probe) => void;
      }
    | undefined;
  /** Errors told so far; absent, each is told. */
  readonly errors?: ErrorLimit | undefined;
  /** Records each step when given; costs nothing when not. */
  readonly trace?: Trace | undefined;
}
