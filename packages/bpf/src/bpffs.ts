import { makeDirectories } from './directories.ts';
import { BpfError, guard } from './errors.ts';
import { native } from './native.ts';

const defaultPath = '/sys/fs/bpf';

/**
 * Mounts a bpffs at `path` unless one is there. Missing folders are made, except below /sys, where they can't be.
 *
 * `ip netns exec` mounts a fresh /sys, which hides pins: enter the network namespace alone (`nsenter --net=…`).
 *
 * @returns Whether it was mounted now.
 * @throws {BpfError} `WEFT_ERR_BPF_NOT_PERMITTED`, `WEFT_ERR_BPF_NO_BPFFS` if the folder can't be made.
 */
export function mountBpffs(path: string = defaultPath): boolean {
  if (isBpffs(path)) return false;
  try {
    makeDirectories(path);
  } catch (error) {
    throw new BpfError('WEFT_ERR_BPF_NO_BPFFS', `Cannot mount a bpffs at ${path}: ${(error as Error).message}`);
  }
  guard(`mount a bpffs at ${path}`, () => native().mountBpffs(path));
  return true;
}

/** Whether `path` exists and lies on a bpffs. */
export function isBpffs(path: string = defaultPath): boolean {
  return native().isBpffs(path);
}

/** Undoes {@link mountBpffs}; pins that exist nowhere else are gone. For tests. */
export function unmountBpffs(path: string): void {
  guard(`unmount the bpffs at ${path}`, () => native().unmount(path));
}
