import { createHash } from 'node:crypto';
import { type IdMaker, MAX_VSID, MIN_VSID } from '@weft/model';

// Ids are made of names, not of chance: two controllers that make the same resource at the same time meet under the same key, where CAS
// lets one win; and a request that is resumed by another controller finds what the first one began.

/** A GUID (RFC 9562 version 8) of the parts given: the same for the same parts. */
export function guidOf(...parts: string[]): string {
  const bytes = digest(parts).subarray(0, 16);
  bytes[6] = (bytes[6]! & 0x0f) | 0x80;
  bytes[8] = (bytes[8]! & 0x3f) | 0x80;
  const hex = bytes.toString('hex');
  return [hex.slice(0, 8), hex.slice(8, 12), hex.slice(12, 16), hex.slice(16, 20), hex.slice(20)].join('-');
}

export const ids: IdMaker = {
  tenant: (name) => guidOf('tenant', name),
  network: (tenant, name) => guidOf('network', tenant, name),
  port: (rdid, name) => guidOf('port', rdid, name),
  gateway: (name) => guidOf('gateway', name),
};

/** Where the search for a free VSID begins. */
export function firstVsid(rdid: string, subnet: string): number {
  return MIN_VSID + (digest(['vsid', rdid, subnet]).readUInt32BE(0) % (MAX_VSID - MIN_VSID + 1));
}

export function nextVsid(vsid: number): number {
  return vsid === MAX_VSID ? MIN_VSID : vsid + 1;
}

function digest(parts: readonly string[]): Buffer {
  // JSON keeps ('a', 'bc') and ('ab', 'c') apart.
  return createHash('sha256').update(JSON.stringify(parts)).digest();
}
