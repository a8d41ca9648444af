import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { parseIp, parseMac } from '@weft/packet';
import type { ExternalDevice } from '@weft/tables';

const execute = promisify(execFile);
const NONE = new Uint8Array(16);

interface AddressJson {
  readonly ifindex: number;
  readonly ifname: string;
  readonly address?: string;
  readonly mtu: number;
  readonly flags: readonly string[];
  readonly addr_info?: readonly { readonly family: string; readonly local?: string; readonly scope?: string }[];
}

/** A device of this machine that reaches a segment, with what of it changes. */
export interface ExternalDeviceState extends ExternalDevice {
  readonly name: string;
  /** It is up and has a carrier. */
  readonly carrier: boolean;
}

/** Reads devices of this network namespace by iproute2. Those that are not there are left out. */
export async function readExternalDevices(names: ReadonlySet<string>): Promise<Map<string, ExternalDeviceState>> {
  if (names.size === 0) return new Map();
  const { stdout } = await execute('ip', ['-json', 'address', 'show'], { timeout: 10_000, maxBuffer: 64 * 1024 * 1024 });
  return parseExternalDevices(stdout, names);
}

/** @param text What `ip -json address show` says. */
export function parseExternalDevices(text: string, names: ReadonlySet<string>): Map<string, ExternalDeviceState> {
  const found = new Map<string, ExternalDeviceState>();
  for (const link of JSON.parse(text) as AddressJson[]) {
    // A veth's name is followed by its peer's.
    const name = link.ifname.split('@')[0]!;
    if (!names.has(name) || link.address === undefined) continue;
    const own = (family: string): Uint8Array => {
      const address = link.addr_info?.find((one) => one.family === family && one.scope === 'global')?.local;
      return address === undefined ? NONE : parseIp(address);
    };
    found.set(name, {
      name,
      ifindex: link.ifindex,
      mac: parseMac(link.address),
      mtuBytes: link.mtu,
      address4: own('inet'),
      address6: own('inet6'),
      carrier: link.flags.includes('UP') && link.flags.includes('LOWER_UP'),
    });
  }
  return found;
}
