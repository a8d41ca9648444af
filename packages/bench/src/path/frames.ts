import { buildUdpFrame, internetChecksum, parseIp, parseMac, pseudoHeaderSum4 } from '@weft/packet';

/** Bytes of the virtio-net header in front of each frame. */
export const VNET_HEADER_BYTES = 10;

/** Who sends what to whom, as the VM sees it. */
export interface FrameInit {
  readonly sourceMac: string;
  readonly destinationMac: string;
  readonly source: string;
  readonly destination: string;
  readonly sourcePort: number;
  readonly destinationPort: number;
  /** TCP flags; default ACK. */
  readonly flags?: number;
}

/**
 * TCP frames with a virtio-net header in front, as a guest's driver hands them to a TAP: checksum left to the device, and a segmentation request when the
 * packet exceeds the MTU. Sequence numbers follow on from frame to frame, so that GRO can put segments of one flow together.
 *
 * @param ipBytes IP length of each frame: 65,000 makes a GSO frame, 1,400 a plain one.
 * @param mtuBytes Tenant MTU; segments are as large as it allows.
 */
export function tcpFrames(init: FrameInit, ipBytes: number, mtuBytes: number, count: number): Uint8Array[] {
  const segment = mtuBytes - 40;
  return Array.from({ length: count }, (_, index) => {
    const frame = new Uint8Array(VNET_HEADER_BYTES + 14 + ipBytes);
    const view = new DataView(frame.buffer);
    const gso = ipBytes > mtuBytes;
    view.setUint8(0, 1); // VIRTIO_NET_HDR_F_NEEDS_CSUM
    view.setUint8(1, gso ? 1 : 0); // VIRTIO_NET_HDR_GSO_TCPV4
    view.setUint16(2, 54, true);
    view.setUint16(4, gso ? segment : 0, true);
    view.setUint16(6, 34, true);
    view.setUint16(8, 16, true);
    const ethernet = VNET_HEADER_BYTES;
    frame.set(parseMac(init.destinationMac), ethernet);
    frame.set(parseMac(init.sourceMac), ethernet + 6);
    view.setUint16(ethernet + 12, 0x0800);
    const ip = ethernet + 14;
    view.setUint8(ip, 0x45);
    view.setUint16(ip + 2, ipBytes);
    view.setUint16(ip + 6, 0x4000);
    view.setUint8(ip + 8, 64);
    view.setUint8(ip + 9, 6);
    frame.set(parseIp(init.source).subarray(12), ip + 12);
    frame.set(parseIp(init.destination).subarray(12), ip + 16);
    view.setUint16(ip + 10, internetChecksum(frame, ip, 20));
    const tcp = ip + 20;
    view.setUint16(tcp, init.sourcePort);
    view.setUint16(tcp + 2, init.destinationPort);
    view.setUint32(tcp + 4, (index * (ipBytes - 40)) >>> 0);
    view.setUint32(tcp + 8, 1);
    view.setUint8(tcp + 12, 5 << 4);
    view.setUint8(tcp + 13, init.flags ?? 0x10);
    view.setUint16(tcp + 14, 65_535);
    // What a device that finishes the checksum finds there: the folded pseudo header.
    let sum = pseudoHeaderSum4(frame, ip + 12, frame, ip + 16, 6, ipBytes - 20);
    while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
    view.setUint16(tcp + 16, sum);
    return frame;
  });
}

/** The smallest UDP frame, with a virtio-net header and no checksum. */
export function udpFrame(init: Omit<FrameInit, 'flags'>, payload: Uint8Array = new Uint8Array(18)): Uint8Array {
  const frame = buildUdpFrame(init, payload);
  frame.fill(0, 40, 42);
  const whole = new Uint8Array(VNET_HEADER_BYTES + frame.length);
  whole.set(frame, VNET_HEADER_BYTES);
  return whole;
}
