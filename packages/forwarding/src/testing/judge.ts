import { fromPort } from '../from-port.ts';
import { fromUnderlay } from '../from-underlay.ts';
import { MemoryTables } from '../memory-tables.ts';
import type { ForwardingTables } from '../tables.ts';
import type { Trace } from '../trace.ts';
import type { Verdict } from '../verdict.ts';
import type { GeneratedFrame } from './generate.ts';
import type { World } from './world.ts';

/** The world's rows as tables. */
export function tablesOf(world: World): MemoryTables {
  return new MemoryTables(world.changes);
}

/** The oracle's verdict about a generated frame. */
export function judge(tables: ForwardingTables, world: World, frame: GeneratedFrame, trace?: Trace): Verdict {
  const context = { pa: world.pa, udpPort: world.udpPort, nowBootNs: world.nowBootNs, trace };
  return frame.program === 'from_port' ? fromPort(tables, frame, context) : fromUnderlay(tables, frame, context);
}
