import { run } from '../core/run.ts';

/** Longest name of a network device: IFNAMSIZ less the closing 0. */
export const MAX_DEVICE_NAME_LENGTH = 15;

/** @throws {RangeError} When no Linux device can have this name. */
export function checkDeviceName(name: string): string {
  if (!/^[A-Za-z0-9._-]+$/.test(name) || name.length > MAX_DEVICE_NAME_LENGTH || name === '.' || name === '..') {
    throw new RangeError(`Cannot name a device "${name}": must be 1 to ${MAX_DEVICE_NAME_LENGTH} of A-Z, a-z, 0-9, ".", "_" and "-"`);
  }
  return name;
}

/**
 * Runs many `ip` commands in one process, in the order given; the first that fails ends it. Each command is a list of words, without
 * the leading `ip`.
 *
 * @throws {CommandError} Naming the number of the line that failed.
 */
export async function ipBatch(commands: readonly (readonly string[])[], netns?: string): Promise<void> {
  if (commands.length === 0) return;
  for (const word of commands.flat()) {
    if (/[\s"'\\#]/.test(word) || word === '')
      throw new RangeError(`Cannot pass "${word}" to ip -batch: no spaces, quotes or "#" in a word`);
  }
  const input = `${commands.map((words) => words.join(' ')).join('\n')}\n`;
  try {
    await run('ip', [...(netns === undefined ? [] : ['-n', netns]), '-batch', '-'], { input });
  } catch (error) {
    // "Command failed -:7" says little without line 7.
    const line = Number(/Command failed -:(\d+)/.exec((error as Error).message)?.[1]);
    if (commands[line - 1] !== undefined) (error as Error).message += ` (ip ${commands[line - 1]!.join(' ')})`;
    throw error;
  }
}

/** Runs an `ip` command with `-j` and returns what it says, parsed. Without output: an empty list. */
export async function ipJson<T>(args: readonly string[], netns?: string): Promise<T[]> {
  const { stdout } = await run('ip', [...(netns === undefined ? [] : ['-n', netns]), '-j', ...args]);
  return stdout.trim() === '' ? [] : (JSON.parse(stdout) as T[]);
}

/** Writes sysctls inside a network namespace, all in one process. Keys with dots, such as `net.ipv4.ip_forward`. */
export async function setSysctls(netns: string | undefined, values: Readonly<Record<string, string | number>>): Promise<void> {
  const settings = Object.entries(values).map(([key, value]) => `${key}=${value}`);
  if (settings.length > 0) await run('sysctl', ['-q', '-w', ...settings], { netns });
}

/**
 * What keeps a namespace silent unless spoken to: no IPv6 router solicitations, no autoconfiguration, no duplicate address detection, no
 * link-local addresses by themselves. Without it captures fill with frames that no test sent. To be set before devices are made, which
 * take their settings from `default`.
 */
export const QUIET_SYSCTLS: Readonly<Record<string, number>> = {
  'net.ipv6.conf.all.accept_ra': 0,
  'net.ipv6.conf.default.accept_ra': 0,
  'net.ipv6.conf.default.autoconf': 0,
  'net.ipv6.conf.default.accept_dad': 0,
  'net.ipv6.conf.default.dad_transmits': 0,
  'net.ipv6.conf.default.router_solicitations': 0,
  'net.ipv6.conf.default.addr_gen_mode': 1,
};

/** MAC address of a device, in lower case with colons. */
export async function macOf(device: string, netns?: string): Promise<string> {
  const [link] = await ipJson<{ address: string }>(['link', 'show', 'dev', device], netns);
  return link!.address;
}
