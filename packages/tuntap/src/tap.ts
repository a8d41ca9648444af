import { guard, TunTapError } from './errors.ts';
import { DescriptorSource, type FrameSource } from './frame-source.ts';
import { checkInterfaceName } from './names.ts';
import { native } from './native.ts';

/** What the reader of a device does itself, so that the kernel need not: checksums, cutting TCP (`tso4`, `tso6`), ECN, cutting UDP. */
export type TapOffload = 'csum' | 'tso4' | 'tso6' | 'ecn' | 'uso4' | 'uso6';

/** Options of {@link openTap}. */
export interface TapOptions {
  /** 1 to 15 bytes. */
  readonly name: string;
  /** Ethernet frames (`tap`, default) or IP packets (`tun`). */
  readonly mode?: 'tap' | 'tun';
  /** Several descriptors, one queue each. All openers of one device must agree. Default false. */
  readonly multiQueue?: boolean;
  /** A virtio-net header in front of each frame, without which there are no offloads. Default false. */
  readonly vnetHdr?: boolean;
  /** 10 (default) or 12, as with mergeable receive buffers. Only with `vnetHdr`. */
  readonly vnetHeaderBytes?: 10 | 12;
  /** What frames read from here may still need. Only with `vnetHdr`; TCP and UDP cutting need `csum`. Default none. */
  readonly offloads?: readonly TapOffload[];
  /** The device outlives the descriptor. Default: as it is (a new one does not). */
  readonly persistent?: boolean;
  /** Fail with `WEFT_ERR_TUNTAP_BUSY` if the device exists. Default false. */
  readonly exclusive?: boolean;
}

/** An open queue of a TAP or TUN device. */
export interface TapDevice extends FrameSource {
  setPersistent(persistent: boolean): void;
  setOffloads(offloads: readonly TapOffload[]): void;
}

// linux/if_tun.h
export const tunFlags = {
  tun: 0x0001,
  tap: 0x0002,
  noPacketInformation: 0x1000,
  multiQueue: 0x0100,
  vnetHdr: 0x4000,
  exclusive: 0x8000,
} as const;
const offloadBits: Readonly<Record<TapOffload, number>> = { csum: 0x01, tso4: 0x02, tso6: 0x04, ecn: 0x08, uso4: 0x20, uso6: 0x40 };

/**
 * Opens a queue of a TAP or TUN device, which is made if it does not exist. Descriptors are non-blocking and closed on exec; frames carry
 * no packet information (IFF_NO_PI).
 *
 * The device is looked for in the network namespace of the calling thread; see `inNetns`. If it is up, it takes frames when this returns; on
 * kernels before 6.8 some milliseconds later, and what is sent to it until then is lost.
 *
 * @throws {TunTapError} `…_BAD_NAME`, `…_BAD_OPTION`, `…_NO_DEVICE_NODE`, `…_NOT_PERMITTED`, `…_BUSY`, `…_KIND_MISMATCH`.
 * @see Linux Documentation/networking/tuntap.rst
 */
export function openTap(options: TapOptions): TapDevice {
  checkInterfaceName(options.name);
  const vnetHeaderBytes = options.vnetHdr ? (options.vnetHeaderBytes ?? 10) : 0;
  const flags = flagsOf(options);
  const offloads = offloadMask(options.offloads ?? [], options.vnetHdr ?? false);
  const handle = guard(`open ${options.mode ?? 'tap'} "${options.name}"`, options.name, () =>
    native().openTun(options.name, flags, vnetHeaderBytes, offloads),
  );
  const tap = new TunDescriptor(handle, vnetHeaderBytes);
  try {
    if (options.persistent !== undefined) tap.setPersistent(options.persistent);
    return tap;
  } catch (error) {
    tap.close();
    throw error;
  }
}

class TunDescriptor extends DescriptorSource implements TapDevice {
  setPersistent(persistent: boolean): void {
    const fd = this.openFd('change');
    guard(`make "${this.name}" ${persistent ? 'persistent' : 'temporary'}`, this.name, () =>
      native().tunIoctl(fd, 'TUNSETPERSIST', persistent ? 1 : 0),
    );
  }

  setOffloads(offloads: readonly TapOffload[]): void {
    const fd = this.openFd('change');
    const mask = offloadMask(offloads, this.vnetHeaderBytes > 0);
    guard(`set offloads of "${this.name}" to [${offloads.join(', ')}]`, this.name, () => native().tunIoctl(fd, 'TUNSETOFFLOAD', mask));
  }
}

function flagsOf(options: TapOptions): number {
  const mode = options.mode ?? 'tap';
  if (mode !== 'tap' && mode !== 'tun') throw badOption(`Cannot use mode ${JSON.stringify(mode)}: must be "tap" or "tun"`);
  return (
    tunFlags[mode] |
    tunFlags.noPacketInformation |
    (options.multiQueue ? tunFlags.multiQueue : 0) |
    (options.vnetHdr ? tunFlags.vnetHdr : 0) |
    (options.exclusive ? tunFlags.exclusive : 0)
  );
}

function offloadMask(offloads: readonly TapOffload[], vnetHdr: boolean): number {
  let mask = 0;
  for (const offload of offloads) {
    const bit = offloadBits[offload];
    if (bit === undefined)
      throw badOption(`Cannot use offload ${JSON.stringify(offload)}: must be one of ${Object.keys(offloadBits).join(', ')}`);
    mask |= bit;
  }
  if (mask !== 0 && !vnetHdr)
    throw badOption(`Cannot use offloads [${offloads.join(', ')}] without vnetHdr: the header says what a frame still needs`);
  if (mask !== 0 && (mask & offloadBits.csum) === 0) throw badOption(`Cannot use offloads [${offloads.join(', ')}] without "csum"`);
  return mask;
}

function badOption(message: string): TunTapError {
  return new TunTapError('WEFT_ERR_TUNTAP_BAD_OPTION', message);
}
