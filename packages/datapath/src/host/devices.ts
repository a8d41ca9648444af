import { DatapathError } from '../errors.ts';
import { tryCommand } from './command.ts';

/** What `ip -details` says of a device, as far as it is read here. */
export interface DeviceInfo {
  readonly ifindex: number;
  readonly ifname: string;
  readonly flags: readonly string[];
  readonly mtu: number;
  readonly address: string;
  readonly group?: string;
  readonly linkinfo?: { readonly info_kind?: string; readonly info_data?: Readonly<Record<string, unknown>> };
}

/** @returns `undefined` if this network namespace has no device of that name. */
export function findDevice(name: string): DeviceInfo | undefined {
  const { status, stdout } = tryCommand('ip', ['-json', '-details', 'link', 'show', 'dev', name]);
  return status === 0 ? (JSON.parse(stdout) as DeviceInfo[])[0] : undefined;
}

/** @throws {DatapathError} `WEFT_ERR_DATAPATH_NO_DEVICE`. */
export function requireDevice(name: string): DeviceInfo {
  const device = findDevice(name);
  if (device !== undefined) return device;
  throw noDevice(name);
}

export function noDevice(name: string): DatapathError {
  return new DatapathError(
    'WEFT_ERR_DATAPATH_NO_DEVICE',
    `Cannot find device "${name}": this network namespace has no such device; "ip link" lists those it has`,
  );
}

/** The indexes of all devices of this network namespace. Reads no sysfs, which another namespace may have mounted. */
export function deviceIndexes(): Set<number> {
  const { stdout } = tryCommand('ip', ['-json', 'link', 'show']);
  return new Set((JSON.parse(stdout || '[]') as { ifindex: number }[]).map(({ ifindex }) => ifindex));
}
