/** Codes of {@link BpfError}; each message says what to do. */
export type BpfErrorCode =
  /** The addon is not built. */
  | 'WEFT_ERR_BPF_NOT_BUILT'
  /** EPERM or EACCES: CAP_BPF with CAP_NET_ADMIN, or CAP_SYS_ADMIN, is missing; or the map is frozen or read-only. */
  | 'WEFT_ERR_BPF_NOT_PERMITTED'
  /** The path of a pin is not on a bpffs. */
  | 'WEFT_ERR_BPF_NO_BPFFS'
  /** No such object file, pin, map, program, variable, struct or interface. */
  | 'WEFT_ERR_BPF_NOT_FOUND'
  /** The pin, key or link exists already. */
  | 'WEFT_ERR_BPF_EXISTS'
  /** A pinned map differs from what the object asks for. */
  | 'WEFT_ERR_BPF_PIN_MISMATCH'
  /** The pin is of another kind: a program where a map was asked for, and so on. */
  | 'WEFT_ERR_BPF_PIN_KIND'
  /** Not a BPF object that libbpf understands. */
  | 'WEFT_ERR_BPF_BAD_OBJECT'
  /** The kernel's verifier refused a program; `verifierLog` says why. */
  | 'WEFT_ERR_BPF_VERIFIER_REJECTED'
  /** The map has as many entries as it may (E2BIG, ENOSPC). */
  | 'WEFT_ERR_BPF_MAP_FULL'
  /** A key, value or buffer of the wrong size, or a number out of its range. */
  | 'WEFT_ERR_BPF_BAD_ARGUMENT'
  /** A frame or context that BPF_PROG_TEST_RUN does not take. */
  | 'WEFT_ERR_BPF_TEST_RUN_REFUSED'
  /** This kernel or map type can't do it. */
  | 'WEFT_ERR_BPF_NOT_SUPPORTED'
  /** Used after close(), or before load(). */
  | 'WEFT_ERR_BPF_CLOSED'
  /** Every other errno; see `errno` and `syscall`. */
  | 'WEFT_ERR_BPF_SYSCALL';

/** A refusal by the kernel, libbpf or this package. */
export class BpfError extends Error {
  override readonly name: string = 'BpfError';
  readonly code: BpfErrorCode;
  /** Positive errno (or libbpf's own number from 4000 on), 0 when no call failed. */
  readonly errno: number;
  readonly errnoName: string;
  /** The bpf(2) command or libbpf function, empty when none failed. */
  readonly syscall: string;
  /** The kernel's verifier log, empty if there is none. */
  readonly verifierLog: string;
  /** What libbpf warned of meanwhile. */
  readonly libbpfLog: string;

  constructor(code: BpfErrorCode, message: string, cause?: NativeError) {
    super(message, cause && { cause });
    this.code = code;
    this.errno = cause?.errno ?? 0;
    this.errnoName = cause?.errnoName ?? '';
    this.syscall = cause?.syscall ?? '';
    this.verifierLog = cause?.verifierLog ?? '';
    this.libbpfLog = cause?.libbpfLog ?? '';
  }
}

/** The errors that the addon throws. */
export interface NativeError extends Error {
  readonly errno: number;
  readonly errnoName: string;
  readonly syscall: string;
  readonly verifierLog?: string;
  readonly libbpfLog?: string;
}

/** Runs `call`; an error of the addon becomes a {@link BpfError} whose message starts with `Cannot <action>`. */
export function guard<T>(action: string, call: () => T): T {
  try {
    return call();
  } catch (error) {
    throw isNativeError(error) ? explain(action, error) : error;
  }
}

/** The same for a call that ends later. */
export async function guardAsync<T>(action: string, call: () => Promise<T>): Promise<T> {
  try {
    return await call();
  } catch (error) {
    throw isNativeError(error) ? explain(action, error) : error;
  }
}

function isNativeError(error: unknown): error is NativeError {
  return error instanceof Error && 'errnoName' in error && 'syscall' in error && !(error instanceof BpfError);
}

function explain(action: string, error: NativeError): BpfError {
  const [code, advice] = diagnose(error);
  return new BpfError(code, `Cannot ${action}: ${error.syscall} failed with ${error.errnoName}; ${advice}`, error);
}

function diagnose(error: NativeError): [BpfErrorCode, string] {
  const { errnoName, syscall } = error;
  if (syscall === 'bpf_object__load' && (error.verifierLog ?? '') !== '') {
    return ['WEFT_ERR_BPF_VERIFIER_REJECTED', `${lastComplaint(error.verifierLog ?? '')} (the whole log is in verifierLog)`];
  }
  switch (errnoName) {
    case 'EPERM':
    case 'EACCES':
      return ['WEFT_ERR_BPF_NOT_PERMITTED', permissionAdvice(syscall)];
    case 'ENOENT':
    case 'ENODEV':
      return [
        'WEFT_ERR_BPF_NOT_FOUND',
        syscall === 'BPF_LINK_CREATE' ? 'no such interface in this network namespace' : 'it does not exist',
      ];
    case 'EEXIST':
      return ['WEFT_ERR_BPF_EXISTS', 'it exists already; remove it first'];
    case 'E2BIG':
    case 'ENOSPC':
      if (syscall.startsWith('BPF_MAP'))
        return ['WEFT_ERR_BPF_MAP_FULL', 'the map holds maxEntries entries; delete some or create it larger'];
      if (syscall === 'BPF_PROG_TEST_RUN') return ['WEFT_ERR_BPF_TEST_RUN_REFUSED', 'data does not fit the buffer; set dataOutBytes'];
      break;
    case 'EINVAL':
    case 'EMSGSIZE':
      if (syscall === 'BPF_PROG_TEST_RUN')
        return [
          'WEFT_ERR_BPF_TEST_RUN_REFUSED',
          'frames need 14 to some 3,700 bytes (IPv4 34, IPv6 54), and contexts only fields that the kernel lets be set',
        ];
      if (syscall === 'BPF_LINK_CREATE') return ['WEFT_ERR_BPF_NOT_SUPPORTED', 'this kernel has no tcx links (6.6 has); use attachClsact'];
      break;
    case 'EOPNOTSUPP':
    case 'ENOTSUPP':
      return ['WEFT_ERR_BPF_NOT_SUPPORTED', 'this kernel or map type has no such operation'];
    case 'EBADF':
      return ['WEFT_ERR_BPF_CLOSED', 'it is closed or not loaded; call load() first'];
  }
  if (syscall === 'bpf_object__open')
    return ['WEFT_ERR_BPF_BAD_OBJECT', `build it with \`clang -O2 -g -target bpf -c\`; libbpf says: ${oneLine(error)}`];
  return ['WEFT_ERR_BPF_SYSCALL', oneLine(error)];
}

function permissionAdvice(syscall: string): string {
  if (syscall === 'BPF_MAP_UPDATE_ELEM' || syscall === 'BPF_MAP_UPDATE_BATCH' || syscall === 'BPF_MAP_DELETE_ELEM')
    return 'the map is frozen or read-only, or CAP_BPF is missing';
  return 'run as root or with CAP_BPF and CAP_NET_ADMIN (CAP_SYS_ADMIN on kernels before 5.8)';
}

/** The verifier ends with statistics; the line before them is its reason. */
function lastComplaint(log: string): string {
  const lines = log.trim().split('\n');
  const statistics = lines.findLastIndex((line) => line.startsWith('processed '));
  return (lines[statistics > 0 ? statistics - 1 : lines.length - 1] ?? '').trim();
}

function oneLine(error: NativeError): string {
  return (error.libbpfLog ?? '').trim().replaceAll('\n', ' | ') || error.message;
}
