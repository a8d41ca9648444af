import { getU24, setU24 } from '@weft/packet';

// The MAC address of a subnet's gateway is computed, not stored: 02:57:46 and the 24 bits of the VSID (docs/datapath-contract.md
// section 1). It is the same on every host, so a VM that moves keeps its ARP entry. No port may have a MAC with that prefix.

const PREFIX = 0x025746;

/** The gateway's MAC address in a virtual subnet: a fresh buffer of 6 bytes. */
export function gatewayMac(vsid: number): Uint8Array {
  const mac = new Uint8Array(6);
  writeGatewayMac(mac, 0, vsid);
  return mac;
}

/** Writes the gateway's MAC address of `vsid` to the 6 bytes at `offset`. */
export function writeGatewayMac(bytes: Uint8Array, offset: number, vsid: number): void {
  setU24(bytes, offset, PREFIX);
  setU24(bytes, offset + 3, vsid);
}

/** True if the 6 bytes at `offset` are the gateway's MAC address of `vsid`. */
export function isGatewayMac(bytes: Uint8Array, offset: number, vsid: number): boolean {
  return getU24(bytes, offset) === PREFIX && getU24(bytes, offset + 3) === vsid;
}

const PORT_PREFIX = 0x025747;

/** The MAC address of the network gateway's own port in its subnet `vsid` (docs/gateway-contract.md section 1). */
export function gatewayPortMac(vsid: number): Uint8Array {
  const mac = new Uint8Array(6);
  setU24(mac, 0, PORT_PREFIX);
  setU24(mac, 3, vsid);
  return mac;
}
