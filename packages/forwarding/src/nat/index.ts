export { applyNatEvent, type NatSnapshotRow, restoreNat, snapshotNat } from './apply.ts';
export * from './events.ts';
export { poolStart } from './holder.ts';
export { type NatTables, PortMapping } from './port-mapping.ts';
export * from './rows.ts';
export { type FragmentRow, NAT_TABLES, NatState, type NatStore, type QueueEntry } from './state.ts';
export { natSweep, type SweepInput, type SweepResult } from './sweep.ts';
export { TCP } from './tcp.ts';
