import { type NatEvent, NatEventKind } from '@weft/forwarding';
import { blockKey, decodeBlockHead, decodeMapping, decodePort, decodeSession, decodeSourceState, mappingKey, sessionKey } from './codec.ts';
import { NAT_EVENT_BLOCK, NAT_EVENT_MAPPING, NAT_EVENT_SESSION } from './layout.ts';

/**
 * Reads one record of the ring buffer `map_nat_events`.
 * @returns The event; undefined for a kind that this version does not know, whose loss the agent makes good by a snapshot.
 */
export function decodeNatEvent(record: Uint8Array): NatEvent | undefined {
  return decodeNatEventAt(new DataView(record.buffer, record.byteOffset, record.byteLength), 0);
}

/** The same of the record that begins at byte `at`. */
export function decodeNatEventAt(view: DataView, at: number): NatEvent | undefined {
  const kind = view.getUint32(at + NAT_EVENT_BLOCK.kind, true) as NatEventKind;
  const timeBootNs = view.getBigUint64(at + NAT_EVENT_BLOCK.timeBootNs, true);
  switch (kind) {
    case NatEventKind.BLOCK_GRANTED:
    case NatEventKind.BLOCK_RELEASED:
      return {
        kind,
        timeBootNs,
        key: blockKey.decode(view, at + NAT_EVENT_BLOCK.key),
        block: decodeBlockHead(view, at + NAT_EVENT_BLOCK.block),
        source: decodeSourceState(view, at + NAT_EVENT_BLOCK.source),
      };
    case NatEventKind.MAPPING_ADDED:
    case NatEventKind.MAPPING_RETIRED:
    case NatEventKind.PORT_RETURNED: {
      const E = NAT_EVENT_MAPPING;
      const linkReference = view.getUint32(at + E.linkReference, true);
      return {
        kind,
        timeBootNs,
        key: mappingKey.decode(view, at + E.key),
        mapping: decodeMapping(view, at + E.mapping),
        source: decodeSourceState(view, at + E.source),
        port: { reference: view.getUint32(at + E.reference, true), port: decodePort(view, at + E.port) },
        link: linkReference === 0 ? undefined : { reference: linkReference, port: decodePort(view, at + E.link) },
      };
    }
    case NatEventKind.SESSION_ADDED:
    case NatEventKind.SESSION_CHANGED:
    case NatEventKind.SESSION_RETIRED:
      return {
        kind,
        timeBootNs,
        key: sessionKey.decode(view, at + NAT_EVENT_SESSION.key),
        session: decodeSession(view, at + NAT_EVENT_SESSION.session),
      };
    default:
      return undefined;
  }
}
