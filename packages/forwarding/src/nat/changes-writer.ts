import { BackwardWriter } from './backward-writer.ts';
import type { NatChange } from './change.ts';
import type { NatEvent, PortChange } from './events.ts';
import { BLOCK_PORTS, type NatBlock, type NatKey, type NatMapping, type NatSession, type NatSourceState } from './rows.ts';

// `weft.v1.NatStateMessage` with changes in it, written by hand: an owner of many new connections writes tens of thousands of them a second, on the processors that forward. The same bytes, to
// the last, as those of the codec, which a test compares. Back to front, so that the length of a part is known when it is to be written.
// How the kernel's own records are written, without an event made of them: packages/datapath/src/kernel/nat/change.ts.

/** What is around the changes. */
export interface ChangesEnvelope {
  readonly from: string;
  readonly to: string;
  readonly stream: number;
  readonly sequence: number;
  readonly sentBootNs: bigint;
}

const shared = new BackwardWriter();

/** The whole message, with its changes in the order given. */
export function writeChanges(
  { from, to, stream, sequence, sentBootNs }: ChangesEnvelope,
  changes: readonly Pick<NatChange, 'write'>[],
): Uint8Array {
  const writer = shared;
  writer.reset();
  for (let i = changes.length - 1; i >= 0; i--) {
    const end = writer.length;
    changes[i]!.write(writer);
    writer.group(1, end);
  }
  writer.group(13, 0);
  writer.fixed64(5, sentBootNs);
  writer.uint(4, sequence);
  writer.uint(3, stream);
  writer.text(2, to);
  writer.text(1, from);
  return writer.take();
}

/** A `weft.v1.NatChange`. */
export function writeEvent(writer: BackwardWriter, value: NatEvent): void {
  const end = writer.length;
  if ('session' in value) {
    session(writer, value.session);
    sessionKey(writer, value.key);
    writer.group(5, end);
  } else if ('block' in value) {
    source(writer, 3, value.source);
    blockHead(writer, value.block);
    blockKey(writer, value.key);
    writer.group(3, end);
  } else {
    if (value.link !== undefined) portChange(writer, 5, value.link);
    portChange(writer, 4, value.port);
    source(writer, 3, value.source);
    mapping(writer, value.mapping);
    mappingKey(writer, value.key);
    writer.group(4, end);
  }
  writer.fixed64(2, value.timeBootNs);
  writer.uint(1, value.kind);
}

function sessionKey(writer: BackwardWriter, key: NatKey<'session'>): void {
  const end = writer.length;
  writer.uint(6, key.protocol);
  writer.uint(5, key.remotePort);
  writer.uint(4, key.externalPort);
  writer.bytes(3, key.remote);
  writer.bytes(2, key.address);
  writer.uint(1, key.segment);
  writer.group(1, end);
}

function session(writer: BackwardWriter, value: Readonly<NatSession>): void {
  const end = writer.length;
  writer.fixed64(9, value.ticket);
  writer.fixed64(8, value.toldBootNs);
  writer.fixed64(7, value.expiresBootNs);
  writer.fixed32(6, value.revision);
  writer.uint(5, value.flags);
  writer.uint(4, value.kind);
  writer.uint(3, value.insidePort);
  writer.bytes(2, value.ca);
  writer.uint(1, value.networkId);
  writer.group(2, end);
}

function mappingKey(writer: BackwardWriter, key: NatKey<'mapping'>): void {
  const end = writer.length;
  writer.uint(4, key.protocol);
  writer.uint(3, key.port);
  writer.bytes(2, key.ca);
  writer.uint(1, key.networkId);
  writer.group(1, end);
}

function mapping(writer: BackwardWriter, value: Readonly<NatMapping>): void {
  const end = writer.length;
  writer.fixed64(5, value.ticket);
  writer.uint(4, value.externalPort);
  writer.bytes(3, value.address);
  writer.uint(2, value.segment);
  writer.uint(1, value.pool);
  writer.group(2, end);
}

function source(writer: BackwardWriter, field: number, value: NatSourceState): void {
  const end = writer.length;
  writer.fixed64(12, value.idleBootNs);
  writer.uint(11, value.addressCount);
  writer.uint(10, value.flags);
  writer.uint(9, value.mappings);
  writer.uint(8, value.blocks);
  writer.uint(7, value.newest);
  writer.uint(6, value.freshLeft);
  writer.uint(5, value.fresh);
  writer.uint(4, value.freeCount);
  writer.uint(3, value.freeTail);
  writer.uint(2, value.freeHead);
  writer.fixed32(1, value.version);
  writer.group(field, end);
}

function portChange(writer: BackwardWriter, field: number, { reference, port }: PortChange): void {
  const end = writer.length;
  writer.fixed64(7, port.freeAtBootNs);
  writer.fixed32(6, port.version);
  writer.uint(5, port.next);
  writer.uint(4, port.insidePort);
  writer.uint(3, port.protocol);
  writer.uint(2, port.state);
  writer.uint(1, reference & (BLOCK_PORTS - 1));
  writer.group(2, end);
  writer.fixed32(1, reference);
  writer.group(field, end);
}

function blockKey(writer: BackwardWriter, key: NatKey<'block'>): void {
  const end = writer.length;
  writer.uint(3, key.block);
  writer.bytes(2, key.address);
  writer.uint(1, key.segment);
  writer.group(1, end);
}

function blockHead(writer: BackwardWriter, value: Omit<NatBlock, 'ports'>): void {
  const end = writer.length;
  writer.fixed32(8, value.version);
  writer.uint(7, value.addressIndex);
  writer.uint(6, value.next);
  writer.fixed64(5, value.grantedBootNs);
  writer.fixed64(4, value.epoch);
  writer.bytes(3, value.ca);
  writer.uint(2, value.pool);
  writer.uint(1, value.networkId);
  writer.group(2, end);
}
