import {
  bytes,
  checked,
  type Field,
  list,
  type Message,
  message,
  optional,
  requiredOneof,
  text,
  u32,
  u64,
  u64big,
  WeftError,
} from '@weft/model';
import { weft } from '@weft/proto';
import type { NatSnapshotRow } from './apply.ts';
import { writeChanges, writeEvent } from './changes-writer.ts';
import { type NatEvent, NatEventKind, type PortChange } from './events.ts';
import {
  BLOCK_PORTS,
  BLOCKS_END,
  emptyPort,
  FIRST_BLOCK,
  type NatAddress,
  type NatBlock,
  type NatKey,
  type NatMapping,
  type NatPort,
  type NatSession,
  type NatSourceState,
} from './rows.ts';

// Port mapping's state as it travels to a standby: proto/weft/v1/nat_state.proto, one line a message.

const pb = weft.v1;
type Head = Omit<NatBlock, 'ports'>;
type IndexedPort = Omit<NatPort, 'sessions'> & { readonly index: number };
interface BlockRow {
  readonly key: NatKey<'block'>;
  readonly head: Head;
  readonly ports: readonly IndexedPort[];
}
interface SourceRow {
  readonly key: NatKey<'source'>;
  readonly state: NatSourceState;
  readonly addresses: readonly NatAddress[];
}
interface MappingRow {
  readonly key: NatKey<'mapping'>;
  readonly mapping: NatMapping;
}
interface SessionRow {
  readonly key: NatKey<'session'>;
  readonly session: NatSession;
}
type Row =
  | { readonly kind: 'block'; readonly value: BlockRow }
  | { readonly kind: 'source'; readonly value: SourceRow }
  | { readonly kind: 'mapping'; readonly value: MappingRow }
  | { readonly kind: 'session'; readonly value: SessionRow };

interface BlockAbout {
  readonly key: NatKey<'block'>;
  readonly head: Head;
  readonly source: NatSourceState;
}
interface WirePortChange {
  readonly reference: number;
  readonly port: IndexedPort;
}
interface MappingAbout {
  readonly key: NatKey<'mapping'>;
  readonly mapping: NatMapping;
  readonly source: NatSourceState;
  readonly port: WirePortChange;
  readonly link: WirePortChange | undefined;
}
type About =
  | { readonly kind: 'block'; readonly value: BlockAbout }
  | { readonly kind: 'mapping'; readonly value: MappingAbout }
  | { readonly kind: 'session'; readonly value: SessionRow };
interface WireEvent {
  readonly kind: number;
  readonly timeBootNs: bigint;
  readonly about: About;
}

const address = checked(bytes, (value) => (value.length === 16 ? undefined : `has ${value.length} bytes, must have 16`));
const upTo = (max: number): Field<number> => checked(u32, (value) => (value <= max ? undefined : `is ${value}, must be at most ${max}`));
const port16 = upTo(0xffff);
const byte = upTo(0xff);
const blockNumber = checked(u32, (value) =>
  value >= FIRST_BLOCK && value < BLOCKS_END ? undefined : `is ${value}, must be ${FIRST_BLOCK} to ${BLOCKS_END - 1}`,
);

const blockKey: Message<NatKey<'block'>> = message('NatBlockKey', pb.NatBlockKey, { segment: u32, address, block: blockNumber });
const head: Message<Head> = message('NatBlockHead', pb.NatBlockHead, {
  ...{ networkId: u32, pool: u32, ca: address, epoch: u64big, grantedBootNs: u64big },
  ...{ next: u32, addressIndex: upTo(7), version: u32 },
});
const port: Message<IndexedPort> = message('NatPort', pb.NatPort, {
  ...{ index: upTo(BLOCK_PORTS - 1), state: upTo(2), protocol: byte, insidePort: port16, next: u32, version: u32 },
  freeAtBootNs: u64big,
});
const sourceKey: Message<NatKey<'source'>> = message('NatSourceKey', pb.NatSourceKey, { networkId: u32, pool: u32, ca: address });
const sourceState: Message<NatSourceState> = message('NatSourceState', pb.NatSourceState, {
  ...{ version: u32, freeHead: u32, freeTail: u32, freeCount: u32, fresh: u32, freshLeft: u32, newest: u32 },
  ...{ blocks: u32, mappings: u32, flags: u32, addressCount: upTo(8), idleBootNs: u64big },
});
const external: Message<NatAddress> = message('NatExternal', pb.NatExternal, { segment: u32, address });
const mappingKey: Message<NatKey<'mapping'>> = message('NatMappingKey', pb.NatMappingKey, {
  ...{ networkId: u32, ca: address, port: port16, protocol: byte },
});
const mapping: Message<NatMapping> = message('NatMapping', pb.NatMapping, {
  ...{ pool: u32, segment: u32, address, externalPort: port16, ticket: u64big },
});
const sessionKey: Message<NatKey<'session'>> = message('NatSessionKey', pb.NatSessionKey, {
  ...{ segment: u32, address, remote: address, externalPort: port16, remotePort: port16, protocol: byte },
});
const session: Message<NatSession> = message('NatSession', pb.NatSession, {
  ...{ networkId: u32, ca: address, insidePort: port16, kind: upTo(1), flags: byte, revision: u32 },
  ...{ expiresBootNs: u64big, toldBootNs: u64big, ticket: u64big },
});
const sessionRow: Message<SessionRow> = message('NatStateSession', pb.NatStateSession, { key: sessionKey, session });

const row: Message<{ readonly row: Row }> = message('NatStateRow', pb.NatStateRow, {
  row: requiredOneof<Row>({
    block: message<BlockRow>('NatStateBlock', pb.NatStateBlock, {
      ...{ key: blockKey, head },
      ports: checked(list(port), (ports) => (ports.length <= BLOCK_PORTS ? undefined : `has ${ports.length} entries`)),
    }),
    source: message<SourceRow>('NatStateSource', pb.NatStateSource, {
      ...{ key: sourceKey, state: sourceState },
      addresses: checked(list(external), (addresses) => (addresses.length <= 8 ? undefined : `has ${addresses.length} entries`)),
    }),
    mapping: message<MappingRow>('NatStateMapping', pb.NatStateMapping, { key: mappingKey, mapping }),
    session: sessionRow,
  }),
});

const portChange: Message<WirePortChange> = message('NatPortChange', pb.NatPortChange, { reference: u32, port });
const event: Message<WireEvent> = message('NatStateEvent', pb.NatStateEvent, {
  kind: upTo(0xff),
  timeBootNs: u64big,
  about: requiredOneof<About>({
    block: message<BlockAbout>('NatBlockEvent', pb.NatBlockEvent, { key: blockKey, head, source: sourceState }),
    mapping: message<MappingAbout>('NatMappingEvent', pb.NatMappingEvent, {
      ...{ key: mappingKey, mapping, source: sourceState, port: portChange, link: optional(portChange) },
    }),
    session: sessionRow,
  }),
});

/** What travels; the rest of the message says whose it is. */
export type NatStateBody =
  | { readonly kind: 'hello'; readonly value: { readonly version: number } }
  | { readonly kind: 'welcome'; readonly value: object }
  | { readonly kind: 'begin'; readonly value: { readonly networks: readonly NatStateScope[] } }
  | { readonly kind: 'rows'; readonly value: readonly NatSnapshotRow[] }
  | { readonly kind: 'end'; readonly value: object }
  | { readonly kind: 'changes'; readonly value: readonly NatEvent[] }
  | { readonly kind: 'applied'; readonly value: { readonly refusedNetworks: readonly number[] } };

/** A network that is told of, the shard that serves it, and the epoch by which the teller owns that. */
export interface NatStateScope {
  readonly networkId: number;
  readonly shard: number;
  readonly epoch: bigint;
}

export interface NatStateMessage {
  readonly from: string;
  readonly to: string;
  readonly stream: number;
  readonly sequence: number;
  readonly sentBootNs: bigint;
  readonly body: NatStateBody;
}

const as = <T, W>(field: Field<W>, to: (value: T) => W, from: (wire: W) => T): Field<T> => ({
  toWire: (value) => field.toWire(to(value)),
  fromWire: (raw) => from(field.fromWire(raw)),
});

const rows = as<readonly NatSnapshotRow[], { readonly rows: readonly { readonly row: Row }[] }>(
  message('NatSnapshotRows', pb.NatSnapshotRows, { rows: list(row) }),
  (values) => ({ rows: values.map((value) => ({ row: toRow(value) })) }),
  (wire) => wire.rows.map((one) => fromRow(one.row)),
);
const changes = as<readonly NatEvent[], { readonly events: readonly WireEvent[] }>(
  message('NatChanges', pb.NatChanges, { events: list(event) }),
  (values) => ({ events: values.map(toEvent) }),
  (wire) => wire.events.map(fromEvent),
);
const empty = (name: string, generated: Parameters<typeof message>[1]): Message<object> => message<object>(name, generated, {});

/** The codec as it follows from the fields alone. */
export const natStateFields: Message<NatStateMessage> = message('NatStateMessage', pb.NatStateMessage, {
  ...{ from: text, to: text, stream: u64, sequence: u64, sentBootNs: u64big },
  body: requiredOneof<NatStateBody>({
    hello: message('NatStateHello', pb.NatStateHello, { version: u32 }),
    welcome: empty('NatStateWelcome', pb.NatStateWelcome),
    begin: message('NatSnapshotBegin', pb.NatSnapshotBegin, {
      networks: list(message<NatStateScope>('NatStateScope', pb.NatStateScope, { networkId: u32, shard: u32, epoch: u64big })),
    }),
    rows,
    end: empty('NatSnapshotEnd', pb.NatSnapshotEnd),
    changes,
    applied: message('NatApplied', pb.NatApplied, { refusedNetworks: list(u32) }),
  }),
});

/** `weft.v1.NatStateMessage`. Decoding refuses what no owner would say: addresses, ports, blocks and references out of range, events of an unknown kind. */
export const natStateCodec: Message<NatStateMessage> = {
  ...natStateFields,
  encode: (value) =>
    value.body.kind === 'changes'
      ? writeChanges(
          value,
          value.body.value.map((event) => ({ write: (writer) => writeEvent(writer, event) })),
        )
      : natStateFields.encode(value),
};

function toRow(value: NatSnapshotRow): Row {
  switch (value.table) {
    case 'block': {
      const { ports, ...blockHead } = value.value;
      // A port that nobody has used yet says nothing.
      const used = ports.flatMap((one, index) => (one.state === 0 && one.version === 0 ? [] : [indexed(one, index)]));
      return { kind: 'block', value: { key: value.key, head: blockHead, ports: used } };
    }
    case 'source': {
      const { addresses, ...state } = value.value;
      return { kind: 'source', value: { key: value.key, state, addresses } };
    }
    case 'mapping':
      return { kind: 'mapping', value: { key: value.key, mapping: value.value } };
    case 'session':
      return { kind: 'session', value: { key: value.key, session: value.value } };
  }
}

function fromRow(wire: Row): NatSnapshotRow {
  switch (wire.kind) {
    case 'block': {
      const ports = Array.from({ length: BLOCK_PORTS }, emptyPort);
      for (const { index, ...one } of wire.value.ports) ports[index] = { ...one, sessions: 0 };
      return { table: 'block', key: wire.value.key, value: { ...wire.value.head, ports } };
    }
    case 'source':
      return { table: 'source', key: wire.value.key, value: { ...wire.value.state, addresses: [...wire.value.addresses] } };
    case 'mapping':
      return { table: 'mapping', key: wire.value.key, value: wire.value.mapping };
    case 'session':
      return { table: 'session', key: wire.value.key, value: wire.value.session };
  }
}

function indexed({ sessions: _, ...one }: Readonly<NatPort>, index: number): IndexedPort {
  return { ...one, index };
}

function toChange({ reference, port: one }: PortChange): WirePortChange {
  return { reference, port: indexed(one, reference & (BLOCK_PORTS - 1)) };
}

/** The network that a row of a snapshot is about. */
export function networkOfRow(value: NatSnapshotRow): number {
  return value.table === 'mapping' || value.table === 'source' ? value.key.networkId : value.value.networkId;
}

/** The network that an event is about. */
export function networkOfEvent(value: NatEvent): number {
  if ('session' in value) return value.session.networkId;
  if ('block' in value) return value.block.networkId;
  return value.key.networkId;
}

function fromChange({ reference, port: { index: _, ...one } }: WirePortChange): PortChange {
  return { reference, port: { ...one, sessions: 0 } };
}

function toEvent(value: NatEvent): WireEvent {
  const { kind, timeBootNs } = value;
  return { kind, timeBootNs, about: toAbout(value) };
}

function toAbout(value: NatEvent): About {
  if ('session' in value) return { kind: 'session', value: { key: value.key, session: value.session } };
  if ('block' in value) return { kind: 'block', value: { key: value.key, head: value.block, source: value.source } };
  const { key, mapping: of, source, port: changed, link } = value;
  return { kind: 'mapping', value: { key, mapping: of, source, port: toChange(changed), link: link && toChange(link) } };
}

const ABOUT: Readonly<Record<number, About['kind']>> = {
  [NatEventKind.BLOCK_GRANTED]: 'block',
  [NatEventKind.BLOCK_RELEASED]: 'block',
  [NatEventKind.MAPPING_ADDED]: 'mapping',
  [NatEventKind.MAPPING_RETIRED]: 'mapping',
  [NatEventKind.PORT_RETURNED]: 'mapping',
  [NatEventKind.SESSION_ADDED]: 'session',
  [NatEventKind.SESSION_CHANGED]: 'session',
  [NatEventKind.SESSION_RETIRED]: 'session',
};

function fromEvent({ kind, timeBootNs, about }: WireEvent): NatEvent {
  if (ABOUT[kind] !== about.kind) {
    throw new WeftError('WEFT_ERR_MODEL_DECODE', `Cannot decode NatStateEvent: kind ${kind} is not one of a ${about.kind}`, {
      path: 'kind',
    });
  }
  switch (about.kind) {
    case 'block': {
      const { key, head: block, source } = about.value;
      return { kind, timeBootNs, key, block, source } as NatEvent;
    }
    case 'mapping': {
      const { key, mapping: of, source, port: changed, link } = about.value;
      return { kind, timeBootNs, key, mapping: of, source, port: fromChange(changed), link: link && fromChange(link) } as NatEvent;
    }
    case 'session':
      return { kind, timeBootNs, key: about.value.key, session: about.value.session } as NatEvent;
  }
}
