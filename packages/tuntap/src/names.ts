import { TunTapError } from './errors.ts';

/** IFNAMSIZ of linux/if.h, with the terminating zero. */
const ifNameSize = 16;

/**
 * Checks an interface name by the kernel's rule (`dev_valid_name`), and refuses `%`, which TUNSETIFF would take as a pattern.
 *
 * @throws {TunTapError} `WEFT_ERR_TUNTAP_BAD_NAME`.
 */
export function checkInterfaceName(name: string): void {
  const refuse = (rule: string): never => {
    throw new TunTapError('WEFT_ERR_TUNTAP_BAD_NAME', `Cannot use interface name ${JSON.stringify(name)}: ${rule}`);
  };
  const size = Buffer.byteLength(name);
  if (size === 0 || size >= ifNameSize) refuse(`must be 1 to ${ifNameSize - 1} bytes, is ${size}`);
  if (name === '.' || name === '..' || /[/:%\s\0]/.test(name)) refuse('must not be "." or "..", nor contain "/", ":", "%" or white space');
}
