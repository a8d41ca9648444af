import { spawnSync } from 'node:child_process';
import { existsSync, statSync } from 'node:fs';
import { CliError, CliErrorCode } from './errors.ts';

/**
 * Runs this same command once more inside a network namespace and gives its exit status; undefined when this process is in it already.
 *
 * Only the network namespace is entered: `ip netns exec` would mount a fresh sysfs and hide the BPF pins.
 *
 * @param netns Name under /run/netns.
 * @throws {CliError} `WEFT_ERR_CLI_PROCESS` when there is no such namespace, or it can't be entered.
 */
export function rerunInNetns(netns: string): number | undefined {
  const path = `/run/netns/${netns}`;
  if (!existsSync(path)) {
    throw new CliError(
      CliErrorCode.Process,
      `There is no network namespace "${netns}" (${path}): the lab is not up any more; start it again, or leave --lab and WEFT_LAB away`,
    );
  }
  // The inode of /proc/self/ns/net (followed) is the namespace's identity.
  if (statSync('/proc/self/ns/net').ino === statSync(path).ino) return undefined;
  const argv = process.argv.slice(1);
  const result = spawnSync('nsenter', [`--net=${path}`, process.execPath, ...process.execArgv, ...argv], { stdio: 'inherit' });
  if (result.error !== undefined) {
    throw new CliError(
      CliErrorCode.Process,
      `Cannot enter network namespace "${netns}" with nsenter (package util-linux): ${result.error.message}`,
      {
        cause: result.error,
      },
    );
  }
  return result.status ?? 1;
}
