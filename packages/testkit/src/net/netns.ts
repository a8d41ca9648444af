import { existsSync } from 'node:fs';
import { TestkitError, TestkitErrorCode } from '../core/errors.ts';
import type { Registry } from '../core/registry.ts';
import { type RunOptions, type RunResult, run } from '../core/run.ts';
import { ipBatch, QUIET_SYSCTLS, setSysctls } from './ip.ts';

/** Longest name of a namespace that the test kit makes: a file name has 255 bytes, and people read these. */
const MAX_NETNS_NAME_LENGTH = 80;

/**
 * Makes network namespaces, each with `lo` up and quiet (see `QUIET_SYSCTLS`), recorded before they are made.
 *
 * @throws {TestkitError} `WEFT_ERR_TESTKIT_LAB` when one of the names is taken; none is made or recorded then, as the clean-up would else
 *   remove what isn't the lab's.
 */
export async function createNetns(registry: Registry, names: readonly string[], options: { readonly ipv6?: boolean } = {}): Promise<void> {
  for (const name of names) {
    if (!/^[a-z0-9][a-z0-9._-]*$/.test(name) || name.length > MAX_NETNS_NAME_LENGTH) {
      throw new RangeError(`Cannot name a namespace "${name}": must be 1 to ${MAX_NETNS_NAME_LENGTH} of a-z, 0-9, ".", "_" and "-"`);
    }
  }
  const taken = names.find((name) => existsSync(`/run/netns/${name}`));
  if (taken !== undefined) {
    throw new TestkitError(TestkitErrorCode.Lab, `Cannot make namespace "${taken}": File exists; remove it with "ip netns del ${taken}"`);
  }
  const records = names.map((name) => ({ kind: 'netns', name }) as const);
  await registry.make(records, async () => {
    await ipBatch(names.map((name) => ['netns', 'add', name]));
    await Promise.all(
      names.map(async (name) => {
        await setSysctls(name, options.ipv6 === false ? { ...QUIET_SYSCTLS, 'net.ipv6.conf.default.disable_ipv6': 1 } : QUIET_SYSCTLS);
        await ipBatch([['link', 'set', 'lo', 'up']], name);
      }),
    );
  });
}

/** Something that runs commands: a namespace, a virtual machine. */
export interface Endpoint {
  readonly name: string;
  /** Its commands are busybox's, whose options are fewer. */
  readonly busybox?: boolean;
  exec(argv: readonly string[], options?: ExecOptions): Promise<RunResult>;
}

export type ExecOptions = Pick<RunOptions, 'timeoutMs' | 'input' | 'allowFailure'>;

/** A network namespace as a place to run commands in. */
export class NetnsEndpoint implements Endpoint {
  readonly name: string;
  readonly netns: string;

  constructor(name: string, netns: string) {
    this.name = name;
    this.netns = netns;
  }

  /** @throws {CommandError} As `run` does. */
  exec(argv: readonly string[], options: ExecOptions = {}): Promise<RunResult> {
    if (argv.length === 0) throw new RangeError(`Cannot run an empty command in ${this.name}`);
    return run(argv[0]!, argv.slice(1), { ...options, netns: this.netns });
  }
}
