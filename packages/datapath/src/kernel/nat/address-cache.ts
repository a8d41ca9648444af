// A gateway's events name the same addresses over and over: its own, VMs', servers'. Making an array for each of them was most of what reading an event took.

const ADDRESS_BYTES = 16;
const PLACES = 1_024;

const known: (Uint8Array | undefined)[] = new Array<Uint8Array | undefined>(PLACES).fill(undefined);

/** The 16 bytes of an address at byte `at`. Others may have been given the same array: nobody writes into it. */
export function addressAt(view: DataView, at: number): Uint8Array {
  const [a, b, c, d] = [view.getUint32(at), view.getUint32(at + 4), view.getUint32(at + 8), view.getUint32(at + 12)];
  const place = (Math.imul(d ^ (c << 7) ^ Math.imul(b ^ a, 0x85eb_ca6b), 0x9e37_79b1) >>> 22) % PLACES;
  const one = known[place];
  if (one !== undefined && isSame(one, view, at)) return one;
  const copy = new Uint8Array(ADDRESS_BYTES);
  for (let i = 0; i < ADDRESS_BYTES; i++) copy[i] = view.getUint8(at + i);
  known[place] = copy;
  return copy;
}

function isSame(address: Uint8Array, view: DataView, at: number): boolean {
  for (let i = ADDRESS_BYTES - 1; i >= 0; i--) if (address[i] !== view.getUint8(at + i)) return false;
  return true;
}
