import { DatapathError } from '../errors.ts';
import { runCommand } from './command.ts';
import { type DeviceInfo, findDevice, requireDevice } from './devices.ts';

/**
 * Makes the VXLAN device that takes GSO frames apart, in metadata mode: it has no VNI and no peers of its own, and learns nothing. Without its
 * UDP socket the kernel would not even join received segments (GRO). Idempotent; brings the device up.
 *
 * @throws {DatapathError} `WEFT_ERR_DATAPATH_NO_DEVICE` if a device of that name is something else; `WEFT_ERR_DATAPATH_COMMAND`, for example if
 *   another VXLAN device has the port.
 */
export function ensureTunnelDevice(name: string, udpPort: number): DeviceInfo {
  const found = findDevice(name);
  if (found === undefined) {
    runCommand('ip', ['link', 'add', name, 'type', 'vxlan', 'external', 'dstport', String(udpPort), 'nolearning', 'udp6zerocsumrx']);
  } else {
    const data = found.linkinfo?.info_data ?? {};
    if (found.linkinfo?.info_kind !== 'vxlan' || data['external'] !== true || data['port'] !== udpPort) {
      throw new DatapathError(
        'WEFT_ERR_DATAPATH_NO_DEVICE',
        `Cannot use "${name}" as tunnel device: it is not an external VXLAN device of port ${udpPort}; remove it, or name another`,
      );
    }
  }
  runCommand('ip', ['link', 'set', 'dev', name, 'addrgenmode', 'none', 'up']);
  return requireDevice(name);
}

/** Removes the device. Idempotent. */
export function removeTunnelDevice(name: string): void {
  if (findDevice(name)?.linkinfo?.info_kind === 'vxlan') runCommand('ip', ['link', 'delete', 'dev', name]);
}
