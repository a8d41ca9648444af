import { type FrameSource, linkState, openPacketSocket, TunTapError } from '@weft/tuntap';
import { type ExternalDeviceState, readExternalDevices } from './external-devices.ts';

/** The physical segments, as this machine has them. */
export interface ExternalWires {
  /** Says in a text what of these devices changes often: whether they are there, their carrier, MAC address and MTU. Takes next to no time. */
  mark(names: ReadonlySet<string>): string;
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

  mark(names: ReadonlySet<string>): string {
    return [...names]
      .map((name) => {
        const state = linkState(name);
        return state === undefined ? name : [name, state.ifindex, state.hasCarrier, state.mtu, ...state.mac].join(' ');
      })
      .join('\n');
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
