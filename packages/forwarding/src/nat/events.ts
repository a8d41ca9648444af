import type { NatBlock, NatKey, NatMapping, NatPort, NatSession, NatSourceState } from './rows.ts';

// What changed, with whole keys and values as they are after the change, so that a standby applies an event without asking and without
// working anything out. docs/gateway-contract.md section 7.

/** Kinds of {@link NatEvent}, as in the kernel's records. */
export const NatEventKind = {
  BLOCK_GRANTED: 1,
  BLOCK_RELEASED: 2,
  MAPPING_ADDED: 3,
  MAPPING_RETIRED: 4,
  SESSION_ADDED: 5,
  SESSION_CHANGED: 6,
  SESSION_RETIRED: 7,
  /** Two first packets of one flow met, and the port that one of them had taken went back unused. */
  PORT_RETURNED: 8,
} as const;
export type NatEventKind = (typeof NatEventKind)[keyof typeof NatEventKind];

/** The ports of a block are not told: they are unused when it is granted, and all free when it is released. */
export interface BlockEvent {
  readonly kind: typeof NatEventKind.BLOCK_GRANTED | typeof NatEventKind.BLOCK_RELEASED;
  readonly timeBootNs: bigint;
  readonly key: NatKey<'block'>;
  readonly block: Omit<NatBlock, 'ports'>;
  /** The holder, after the change. */
  readonly source: NatSourceState;
}

/** A port as it is after a change. */
export interface PortChange {
  readonly reference: number;
  readonly port: Readonly<NatPort>;
}

export interface MappingEvent {
  readonly kind: typeof NatEventKind.MAPPING_ADDED | typeof NatEventKind.MAPPING_RETIRED | typeof NatEventKind.PORT_RETURNED;
  readonly timeBootNs: bigint;
  readonly key: NatKey<'mapping'>;
  readonly mapping: Readonly<NatMapping>;
  readonly source: NatSourceState;
  readonly port: PortChange;
  /** The port that was the last of the free list before, and now leads to `port`. */
  readonly link: PortChange | undefined;
}

export interface SessionEvent {
  readonly kind: typeof NatEventKind.SESSION_ADDED | typeof NatEventKind.SESSION_CHANGED | typeof NatEventKind.SESSION_RETIRED;
  readonly timeBootNs: bigint;
  readonly key: NatKey<'session'>;
  readonly session: Readonly<NatSession>;
}

export type NatEvent = BlockEvent | MappingEvent | SessionEvent;
