import { guard, TunTapError } from './errors.ts';
import { native } from './native.ts';

/**
 * Runs `fn` with the calling thread in the network namespace at `path` (`/run/netns/<name>` or `/proc/<pid>/ns/net`), and goes back.
 *
 * Only this thread moves, and only for the call: sockets and TAPs opened inside stay in that namespace. So `fn` must be synchronous, and must
 * start nothing that makes threads or asks the thread pool (asynchronous `fs` or `dns` calls): a thread started inside would stay there.
 * Child processes started inside inherit the namespace, which is often what is wanted.
 *
 * @returns What `fn` returns.
 * @throws {TunTapError} `WEFT_ERR_TUNTAP_NOT_FOUND`, `WEFT_ERR_TUNTAP_NOT_PERMITTED` (CAP_SYS_ADMIN), `WEFT_ERR_TUNTAP_ASYNC_IN_NETNS` if `fn`
 *   returned a promise (its first part has run by then). Errors of `fn` pass through.
 */
export function inNetns<T>(path: string, fn: () => T): T {
  const binding = native();
  const target = guard(`open network namespace ${path}`, path, () => binding.openNetns(path));
  try {
    const home = guard('open the own network namespace', path, () => binding.openNetns('/proc/thread-self/ns/net'));
    try {
      guard(`enter network namespace ${path}`, path, () => binding.setNetns(target));
      let result: T;
      try {
        result = fn();
      } finally {
        guard(`return from network namespace ${path}`, path, () => binding.setNetns(home));
      }
      if (isThenable(result)) {
        throw new TunTapError(
          'WEFT_ERR_TUNTAP_ASYNC_IN_NETNS',
          `Cannot run an asynchronous function in ${path}: only its first part would run there; open what is needed synchronously`,
        );
      }
      return result;
    } finally {
      binding.closeFd(home);
    }
  } finally {
    binding.closeFd(target);
  }
}

function isThenable(value: unknown): boolean {
  return typeof value === 'object' && value !== null && 'then' in value && typeof value.then === 'function';
}
