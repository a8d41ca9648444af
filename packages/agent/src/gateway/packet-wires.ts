import { type FrameSource, type LinkState, linkState, openPacketSocket, TunTapError } from '@weft/tuntap';
import { type ExternalDeviceState, readExternalDevices } from './external-devices.ts';

/** What of a device changes often. */
export type ExternalLinkState = Pick<ExternalDeviceState, 'ifindex' | 'mac' | 'mtuBytes' | 'carrier'>;

/** The physical segments, as this machine has them. */
export interface ExternalWires {
  /** What of these devices changes often. Those that are not there are left out. Takes next to no time. */
  look(names: ReadonlySet<string>): Map<string, ExternalLinkState>;
  /** Devices of these names that are there. */
  read(names: ReadonlySet<string>): Promise<Map<string, ExternalDeviceState>>;
  /** Puts a frame on a device's wire. @throws {Error} When the device is gone or down. */
  send(device: string, frame: Uint8Array): void;
  close(): void;
}

type Wire = Pick<FrameSource, 'write' | 'close'>;

/**
 * Devices of this network namespace, written to by one socket each that stays open: the kernel lets go of a packet socket only when no processor is in its receive path any more, which
 * takes it some 10 ms a socket, and a takeover has many frames to send.
 */
export class PacketWires implements ExternalWires {
  readonly #open: (device: string) => Wire;
  readonly #wires = new Map<string, Wire>();

  /** @param open For tests. */
  constructor(open: (device: string) => Wire = (interfaceName) => openPacketSocket({ interfaceName, sendOnly: true })) {
    this.#open = open;
  }

  read(names: ReadonlySet<string>): Promise<Map<string, ExternalDeviceState>> {
    return readExternalDevices(names);
  }

  look(names: ReadonlySet<string>): Map<string, ExternalLinkState> {
    const found = new Map<string, ExternalLinkState>();
    for (const name of names) {
      const state = stateOf(name);
      // As where they are read whole: what has no MAC address reaches no segment.
      if (state === undefined || state.mac.length === 0) continue;
      found.set(name, { ifindex: state.ifindex, mac: state.mac, mtuBytes: state.mtu, carrier: state.hasCarrier });
    }
    return found;
  }

  send(device: string, frame: Uint8Array): void {
    const kept = this.#wires.get(device);
    if (kept !== undefined) {
      try {
        kept.write(frame);
        return;
      } catch (error) {
        if (!isGone(error)) throw error;
        // Another device may have the name by now.
        this.#wires.delete(device);
        kept.close();
      }
    }
    const wire = this.#open(device);
    this.#wires.set(device, wire);
    wire.write(frame);
  }

  close(): void {
    for (const wire of this.#wires.values()) wire.close();
    this.#wires.clear();
  }
}

/** The device that a socket is bound to is there no more. */
function isGone(error: unknown): boolean {
  return error instanceof TunTapError && (error.code === 'WEFT_ERR_TUNTAP_NOT_FOUND' || error.code === 'WEFT_ERR_TUNTAP_GONE');
}

/** A record may name what the kernel could never have (`eth1:0`), or the kernel not answer: that must not end what else is done once a second. */
function stateOf(name: string): LinkState | undefined {
  try {
    return linkState(name);
  } catch (error) {
    if (error instanceof TunTapError) return undefined;
    throw error;
  }
}
