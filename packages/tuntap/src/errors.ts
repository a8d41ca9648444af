import { interfaceHolders } from './holders.ts';

/** Codes of {@link TunTapError}; each message says what to do. */
export type TunTapErrorCode =
  /** The addon is not built. */
  | 'WEFT_ERR_TUNTAP_NOT_BUILT'
  /** /dev/net/tun is missing: the module `tun` is not loaded, or the container has no such device. */
  | 'WEFT_ERR_TUNTAP_NO_DEVICE_NODE'
  /** EPERM or EACCES: CAP_NET_ADMIN (TAPs), CAP_NET_RAW (packet sockets) or CAP_SYS_ADMIN (namespaces) is missing. */
  | 'WEFT_ERR_TUNTAP_NOT_PERMITTED'
  /** EBUSY: another descriptor holds the only queue, or `exclusive` met an existing device. */
  | 'WEFT_ERR_TUNTAP_BUSY'
  /** The device exists as another kind: TUN instead of TAP, single- instead of multi-queue, or no TUN/TAP device at all. */
  | 'WEFT_ERR_TUNTAP_KIND_MISMATCH'
  /** Not a name Linux takes for an interface: empty, over 15 bytes, or with `/`, `%`, `:` or white space. */
  | 'WEFT_ERR_TUNTAP_BAD_NAME'
  /** An option out of its range. */
  | 'WEFT_ERR_TUNTAP_BAD_OPTION'
  /** No such interface or namespace. */
  | 'WEFT_ERR_TUNTAP_NOT_FOUND'
  /** The interface was removed while open. */
  | 'WEFT_ERR_TUNTAP_GONE'
  /** The interface is down: writes are refused with EIO (TAP) or ENETDOWN (packet socket). */
  | 'WEFT_ERR_TUNTAP_DOWN'
  /** The queue towards the kernel is full; try again later. */
  | 'WEFT_ERR_TUNTAP_WOULD_BLOCK'
  /** The frame is refused: shorter than its headers, longer than the MTU, or with a bad virtio-net header. */
  | 'WEFT_ERR_TUNTAP_BAD_FRAME'
  /** Used after close(). */
  | 'WEFT_ERR_TUNTAP_CLOSED'
  /** start() while started. */
  | 'WEFT_ERR_TUNTAP_ALREADY_STARTED'
  /** A function given to inNetns() returned a promise. */
  | 'WEFT_ERR_TUNTAP_ASYNC_IN_NETNS'
  /** Every other errno; see `errno` and `syscall`. */
  | 'WEFT_ERR_TUNTAP_SYSCALL';

/** A refusal by the kernel or by this package, with the errno and the call where there was one. */
export class TunTapError extends Error {
  override readonly name: string = 'TunTapError';
  readonly code: TunTapErrorCode;
  /** Positive errno, 0 when no system call failed. */
  readonly errno: number;
  /** `ENODEV` and so on, empty when no system call failed. */
  readonly errnoName: string;
  /** The system call or ioctl, empty when none failed. */
  readonly syscall: string;

  constructor(code: TunTapErrorCode, message: string, cause?: NativeError) {
    super(message, cause && { cause });
    this.code = code;
    this.errno = cause?.errno ?? 0;
    this.errnoName = cause?.errnoName ?? '';
    this.syscall = cause?.syscall ?? '';
  }
}

/** The errors that the addon throws. */
export interface NativeError extends Error {
  readonly errno: number;
  readonly errnoName: string;
  readonly syscall: string;
}

/** Runs `call`; an error of the addon becomes a {@link TunTapError} whose message starts with `Cannot <action>`. */
export function guard<T>(action: string, interfaceName: string, call: () => T): T {
  try {
    return call();
  } catch (error) {
    throw isNativeError(error) ? explain(action, interfaceName, error) : error;
  }
}

export function isNativeError(error: unknown): error is NativeError {
  return error instanceof Error && 'errnoName' in error && 'syscall' in error && !(error instanceof TunTapError);
}

/** Turns an errno into a code and advice. */
export function explain(action: string, interfaceName: string, error: NativeError): TunTapError {
  const [code, advice] = diagnose(interfaceName, error);
  return new TunTapError(code, `Cannot ${action}: ${error.syscall} failed with ${error.errnoName}; ${advice}`, error);
}

function diagnose(name: string, error: NativeError): [TunTapErrorCode, string] {
  const { errnoName, syscall } = error;
  switch (errnoName) {
    case 'ENOENT':
    case 'ENXIO':
      if (syscall === 'open /dev/net/tun')
        return ['WEFT_ERR_TUNTAP_NO_DEVICE_NODE', 'load the kernel module (`modprobe tun`) or give the container the device /dev/net/tun'];
      return ['WEFT_ERR_TUNTAP_NOT_FOUND', 'it does not exist'];
    case 'ENODEV':
      if (syscall === 'open /dev/net/tun') return ['WEFT_ERR_TUNTAP_NO_DEVICE_NODE', 'load the kernel module (`modprobe tun`)'];
      return ['WEFT_ERR_TUNTAP_NOT_FOUND', 'no such interface in this network namespace'];
    case 'EPERM':
    case 'EACCES':
      return [
        'WEFT_ERR_TUNTAP_NOT_PERMITTED',
        `run with ${capabilityFor(syscall)}, or make the device persistent with this user as its owner`,
      ];
    case 'EBUSY':
      return ['WEFT_ERR_TUNTAP_BUSY', busyAdvice(name)];
    case 'EINVAL':
      if (syscall === 'TUNSETIFF')
        return [
          'WEFT_ERR_TUNTAP_KIND_MISMATCH',
          `"${name}" exists as another kind of device, or as single- instead of multi-queue; remove it or open it as it is`,
        ];
      if (syscall === 'write')
        return ['WEFT_ERR_TUNTAP_BAD_FRAME', 'check the virtio-net header and that the frame holds at least an Ethernet header'];
      break;
    case 'EMSGSIZE':
      return ['WEFT_ERR_TUNTAP_BAD_FRAME', 'the frame is longer than the MTU allows'];
    case 'EIO':
    case 'ENETDOWN':
      return ['WEFT_ERR_TUNTAP_DOWN', `set "${name}" up`];
    case 'EAGAIN':
    case 'ENOBUFS':
      return ['WEFT_ERR_TUNTAP_WOULD_BLOCK', 'the queue is full; try again later'];
    case 'EBADFD':
      return ['WEFT_ERR_TUNTAP_GONE', `"${name}" was removed; open it anew`];
  }
  return ['WEFT_ERR_TUNTAP_SYSCALL', error.message];
}

function capabilityFor(syscall: string): string {
  if (syscall.includes('AF_PACKET')) return 'CAP_NET_RAW';
  return syscall === 'setns' || syscall.startsWith('open /') ? 'CAP_SYS_ADMIN' : 'CAP_NET_ADMIN';
}

function busyAdvice(name: string): string {
  const holders = interfaceHolders(name);
  if (holders.length === 0) return `"${name}" exists already, or a process of another PID namespace holds it`;
  return `"${name}" is held by ${holders.map((holder) => `${holder.command} (pid ${holder.pid})`).join(', ')}; stop that or use multi-queue`;
}
