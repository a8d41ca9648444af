import { ENCAPSULATION_BYTES } from '@weft/forwarding';
import { internetChecksum, setU16 } from '@weft/packet';
import { type Segmentation, segmentFrame } from './segment.ts';

const IP_OFFSET = 14;
const UDP_OFFSET = 34;

/**
 * Cuts the inner frame of an encapsulated one; each segment gets the tunnel's headers with its own lengths. All have the same outer source port,
 * so they stay in order.
 *
 * @param frame As `encapsulate` made it: 50 bytes of outer headers, no UDP checksum.
 * @returns As {@link segmentFrame}.
 */
export function segmentTunnelFrame(frame: Uint8Array, segmentation: Segmentation): Uint8Array[] | undefined {
  return segmentFrame(frame.subarray(ENCAPSULATION_BYTES), segmentation)?.map((inner) => {
    const outer = new Uint8Array(ENCAPSULATION_BYTES + inner.length);
    outer.set(frame.subarray(0, ENCAPSULATION_BYTES));
    outer.set(inner, ENCAPSULATION_BYTES);
    setU16(outer, IP_OFFSET + 2, outer.length - IP_OFFSET);
    setU16(outer, IP_OFFSET + 10, 0);
    setU16(outer, IP_OFFSET + 10, internetChecksum(outer, IP_OFFSET, UDP_OFFSET - IP_OFFSET));
    setU16(outer, UDP_OFFSET + 4, outer.length - UDP_OFFSET);
    return outer;
  });
}
