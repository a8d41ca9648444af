import { Descriptor } from './descriptor.ts';
import { guard, guardAsync } from './errors.ts';
import { BpfLink, tcxAttachTypes } from './link.ts';
import { type NativeProgramInfo, native } from './native.ts';
import { openPinned } from './pins.ts';
import { decodeSkBuff, encodeSkBuff, type SkBuffInput, type SkBuffOutput } from './sk-buff.ts';

/** Where tc runs a program: on what arrives at the interface, or on what leaves by it. */
export type TcDirection = 'ingress' | 'egress';

/** Place in a clsact qdisc. */
export interface ClsactPlace {
  /** Default 1. */
  readonly handle?: number;
  /** Lower runs earlier. Default 1. */
  readonly priority?: number;
}

/** Options of {@link BpfProgram.attachTcx}. */
export interface TcxOptions {
  /** Before or after the programs that are there. Default `last`. */
  readonly position?: 'first' | 'last';
}

/** Options of {@link BpfProgram.testRun}. */
export interface TestRunOptions {
  /** From the Ethernet header on; 14 to some 3,700 bytes. */
  readonly data: Uint8Array;
  /** Only for programs on sk_buffs. */
  readonly ctx?: SkBuffInput;
  /** Runs on the same buffer, changes kept; `durationNs` is the mean. Default 1. */
  readonly repeat?: number;
  /** Room for the resulting frame. Default 65,536. */
  readonly dataOutBytes?: number;
}

export interface TestRunResult {
  /** Signed 32 bits, such as TC_ACT_UNSPEC -1. */
  readonly retval: number;
  /** The frame afterwards. */
  readonly data: Uint8Array;
  /** All zero for programs that do not run on sk_buffs. */
  readonly ctx: SkBuffOutput;
  readonly durationNs: number;
}

// BPF_PROG_TYPE_*, linux/bpf.h, whose test context is __sk_buff.
const skBuffProgramTypes: ReadonlySet<number> = new Set([3, 4, 8, 10, 11, 12, 19]);
// BPF_F_BEFORE and BPF_F_AFTER, linux/bpf.h: without a neighbour named, first and last of all.
const tcxPositions = { first: 1 << 3, last: 1 << 4 } as const;

/** A program that the kernel has accepted. */
export class BpfProgram extends Descriptor {
  readonly name: string;

  private constructor(fd: number, name: string) {
    super(fd);
    this.name = name;
  }

  /** Takes over a descriptor. `name` defaults to the kernel's, which is cut to 15 characters. */
  static fromFd(fd: number, name?: string): BpfProgram {
    return new BpfProgram(fd, name ?? guard('inspect a program', () => native().programInfo(fd)).name);
  }

  /** @throws {BpfError} `WEFT_ERR_BPF_NOT_FOUND`, `WEFT_ERR_BPF_PIN_KIND`. */
  static fromPin(path: string): BpfProgram {
    return BpfProgram.fromFd(openPinned(path, 'prog'));
  }

  protected get label(): string {
    return `program "${this.name}"`;
  }

  info(): NativeProgramInfo {
    return guard(`inspect ${this.label}`, () => native().programInfo(this.fd));
  }

  /**
   * Attaches by a tcx link (Linux 6.6): detached when the last descriptor and pin of the link is gone. The interface is one of the calling
   * thread's network namespace.
   *
   * @throws {BpfError} `WEFT_ERR_BPF_NOT_FOUND` (interface), `WEFT_ERR_BPF_NOT_SUPPORTED` (old kernel), `WEFT_ERR_BPF_NOT_PERMITTED`.
   */
  attachTcx(ifindex: number, direction: TcDirection, options: TcxOptions = {}): BpfLink {
    const flags = options.position === undefined ? 0 : tcxPositions[options.position];
    const fd = guard(`attach ${this.label} to tcx ${direction} of interface ${ifindex}`, () =>
      native().createLink(this.fd, ifindex, tcxAttachTypes[direction], flags),
    );
    return BpfLink.fromFd(fd);
  }

  /**
   * As {@link attachTcx}, on a thread of libuv's pool: the kernel waits some 10 ms for packets on their way, which the caller need not. The
   * interface is one of the network namespace of the thread at the time of the call; the program may be closed meanwhile. A process that ends
   * first leaves nothing attached.
   */
  async attachTcxAsync(ifindex: number, direction: TcDirection, options: TcxOptions = {}): Promise<BpfLink> {
    const flags = options.position === undefined ? 0 : tcxPositions[options.position];
    const fd = await guardAsync(`attach ${this.label} to tcx ${direction} of interface ${ifindex}`, () =>
      native().createLinkAsync(this.fd, ifindex, tcxAttachTypes[direction], flags),
    );
    return BpfLink.fromFd(fd);
  }

  /**
   * Attaches to a clsact qdisc, which is made if need be, and replaces in one step what is at that place. Stays when this process ends, until
   * `detachClsact` or the end of the interface. For kernels without tcx.
   */
  attachClsact(ifindex: number, direction: TcDirection, place: ClsactPlace = {}): void {
    const { handle = 1, priority = 1 } = place;
    guard(`attach ${this.label} to clsact ${direction} of interface ${ifindex}`, () =>
      native().attachClsact(this.fd, ifindex, direction === 'ingress', handle, priority),
    );
  }

  /**
   * Runs the program on a frame, in the kernel and off every interface (BPF_PROG_TEST_RUN). Redirects are returned, not done; helpers that look
   * at interfaces see the calling thread's network namespace.
   *
   * @throws {BpfError} `WEFT_ERR_BPF_TEST_RUN_REFUSED`: frame too short or long, or a field of `ctx` that can't be set.
   */
  testRun(options: TestRunOptions): TestRunResult {
    const { data, ctx = {}, repeat = 1, dataOutBytes = 65_536 } = options;
    const context = skBuffProgramTypes.has(this.info().type) ? encodeSkBuff(ctx) : null;
    const result = guard(`run ${this.label} on ${data.byteLength} bytes`, () =>
      native().testRun(this.fd, data, context, repeat, dataOutBytes),
    );
    return { retval: result.retval, data: result.data, ctx: decodeSkBuff(result.context), durationNs: result.durationNs };
  }
}

/** Detaches what {@link BpfProgram.attachClsact} put there. The qdisc stays. @returns Whether there was something. */
export function detachClsact(ifindex: number, direction: TcDirection, place: ClsactPlace = {}): boolean {
  const { handle = 1, priority = 1 } = place;
  return guard(`detach from clsact ${direction} of interface ${ifindex}`, () =>
    native().detachClsact(ifindex, direction === 'ingress', handle, priority),
  );
}

/** @returns The id of the program at that place, or `undefined`. */
export function queryClsact(ifindex: number, direction: TcDirection, place: ClsactPlace = {}): number | undefined {
  const { handle = 1, priority = 1 } = place;
  const id = guard(`query clsact ${direction} of interface ${ifindex}`, () =>
    native().queryClsact(ifindex, direction === 'ingress', handle, priority),
  );
  return id === 0 ? undefined : id;
}
