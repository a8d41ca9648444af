import { gatewayMac } from '@weft/forwarding';
import { buildIcmpEchoFrame, buildTcpFrame, buildUdpFrame, buildVxlanFrame, parseMac } from '@weft/packet';
import { PORTS, type PortName, type WorldPort } from './world.ts';

export type Family = 4 | 6;
export const FAMILIES: readonly Family[] = [4, 6];

/** What differs from the frame that everybody would send. */
export interface FrameChanges {
  readonly sourceMac?: string | Uint8Array;
  readonly destinationMac?: string | Uint8Array;
  readonly source?: string;
  readonly destination?: string;
  readonly ttl?: number;
  readonly vlanId?: number;
}

export const addressOf = (of: WorldPort, family: Family): string => (family === 4 ? of.ca4 : of.ca6);
export const gatewayOf = (of: WorldPort, family: Family): string => (family === 4 ? of.gateway4 : of.gateway6);

function fields(from: PortName, to: PortName, family: Family, changes: FrameChanges) {
  const source = PORTS[from];
  const destination = PORTS[to];
  return {
    sourceMac: source.mac,
    destinationMac: source.vsid === destination.vsid ? parseMac(destination.mac) : gatewayMac(source.vsid),
    source: addressOf(source, family),
    destination: addressOf(destination, family),
    ...changes,
  };
}

/** A ping of one VM to another, through the gateway if they are in different subnets. */
export function echo(from: PortName, to: PortName, family: Family = 4, changes: FrameChanges = {}, data = 'ping'): Uint8Array {
  return buildIcmpEchoFrame({ ...fields(from, to, family, changes), identifier: 1, sequence: 1 }, new TextEncoder().encode(data));
}

/** A UDP datagram, by default with ports of its own. */
export function datagram(
  from: PortName,
  to: PortName,
  payload: string | Uint8Array,
  options: FrameChanges & { readonly family?: Family; readonly sourcePort?: number } = {},
): Uint8Array {
  const { family = 4, sourcePort = 7000, ...changes } = options;
  const data = typeof payload === 'string' ? new TextEncoder().encode(payload) : payload;
  return buildUdpFrame({ ...fields(from, to, family, changes), sourcePort, destinationPort: 7001 }, data);
}

export function tcpSegment(
  from: PortName,
  to: PortName,
  payload: Uint8Array,
  options: FrameChanges & { readonly family?: Family } = {},
): Uint8Array {
  const { family = 4, ...changes } = options;
  return buildTcpFrame(
    { ...fields(from, to, family, changes), sourcePort: 8000, destinationPort: 8001, sequence: 1000, flags: 0x18 },
    payload,
  );
}

/** Outer fields of a tunnel frame. */
export interface OuterChanges {
  readonly sourceMac: Uint8Array;
  readonly destinationMac: Uint8Array;
  readonly source: Uint8Array;
  readonly destination: Uint8Array;
  readonly vni: number;
}

export function tunnelled(outer: OuterChanges, inner: Uint8Array): Uint8Array {
  return buildVxlanFrame(outer, inner);
}
