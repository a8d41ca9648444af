import { loadNative } from './load-native.ts';

/** What the addon exports. Functions throw errors with `errno`, `errnoName` and `syscall`; {@link guard} makes them typed. */
export interface Native {
  readonly Object: new (source: string | Uint8Array, name: string, verifierLogLevel: number) => NativeObject;
  /** Record i of a batch stands from `places[2 * i]` on, `places[2 * i + 1]` bytes long, in the bytes handed over: those given here, or longer ones. */
  readonly RingBuffer: new (
    mapFd: number,
    onBatch: (count: number, bytes: Uint8Array) => void,
    bytes: Uint8Array,
    places: Uint32Array,
  ) => NativeRingBuffer;

  mapInfo(fd: number): NativeMapInfo;
  mapLookup(fd: number, key: Uint8Array, valueBytes: number): Uint8Array | null;
  mapUpdate(fd: number, key: Uint8Array, value: Uint8Array, flags: number): void;
  mapDelete(fd: number, key: Uint8Array): boolean;
  mapNextKey(fd: number, key: Uint8Array | null, keyBytes: number): Uint8Array | null;
  mapFreeze(fd: number): void;
  createMap(type: number, name: string, keySize: number, valueSize: number, maxEntries: number, flags: number): number;
  updateBatch(fd: number, keys: Uint8Array, values: Uint8Array, count: number, keyBytes: number, valueBytes: number, flags: number): number;
  deleteBatch(fd: number, keys: Uint8Array, count: number, keyBytes: number): number;
  lookupBatch(
    fd: number,
    cursor: Uint8Array,
    isFirst: boolean,
    keys: Uint8Array,
    values: Uint8Array,
    room: number,
  ): { readonly count: number; readonly status: 'more' | 'end' | 'small' | 'unsupported' };

  programInfo(fd: number): NativeProgramInfo;
  testRun(
    fd: number,
    data: Uint8Array,
    context: Uint8Array | null,
    repeat: number,
    dataOutBytes: number,
  ): { readonly retval: number; readonly data: Uint8Array; readonly context?: Uint8Array; readonly durationNs: number };

  attachClsact(programFd: number, ifindex: number, isIngress: boolean, handle: number, priority: number): number;
  detachClsact(ifindex: number, isIngress: boolean, handle: number, priority: number): boolean;
  queryClsact(ifindex: number, isIngress: boolean, handle: number, priority: number): number;
  createLink(programFd: number, ifindex: number, attachType: number, flags: number): number;
  /** Rejects with errors like those that the others throw. */
  createLinkAsync(programFd: number, ifindex: number, attachType: number, flags: number): Promise<number>;
  updateLink(linkFd: number, programFd: number): void;
  detachLink(linkFd: number): void;
  linkInfo(fd: number): { type: number; id: number; programId: number; ifindex: number; attachType: number };

  pin(fd: number, path: string): void;
  openPin(path: string): { readonly fd: number; readonly kind: 'map' | 'prog' | 'link' | '' };
  closeFd(fd: number): void;

  isBpffs(path: string): boolean;
  mountBpffs(path: string): void;
  unmount(path: string): void;
  probeTcx(): number;
  kernelEnumerators(names: readonly string[]): Readonly<Record<string, number>> | null;
  libbpfVersion(): string;

  lengthenTurns(factor: number): number;
}

export interface NativeObject {
  maps(): (MapDefinition & { readonly internal: boolean })[];
  programs(): { readonly name: string; readonly section: string; readonly type: number }[];
  variables(): GlobalVariable[];
  setVariable(section: string, offset: number, bytes: Uint8Array): void;
  setMaxEntries(map: string, maxEntries: number): void;
  reuseMap(map: string, fd: number): void;
  setAutoload(program: string, autoload: boolean): void;
  load(): string;
  mapFd(name: string): number;
  programFd(name: string): number;
  structLayout(name: string): StructLayout | null;
  close(): void;
}

/** What makes two maps interchangeable. */
export interface MapDefinition {
  readonly name: string;
  /** `BPF_MAP_TYPE_*` */
  readonly type: number;
  /** Bytes. */
  readonly keySize: number;
  /** Bytes; for per-CPU types those of one CPU's value. */
  readonly valueSize: number;
  readonly maxEntries: number;
  /** `BPF_F_*` of creation. */
  readonly flags: number;
}

export interface NativeMapInfo extends MapDefinition {
  readonly id: number;
}

export interface NativeProgramInfo {
  /** At most 15 characters. */
  readonly name: string;
  /** `BPF_PROG_TYPE_*` */
  readonly type: number;
  readonly id: number;
  /** Instructions that the verifier walked through, 0 on old kernels. */
  readonly verifiedInstructions: number;
  readonly jitedBytes: number;
  /** 0 unless `kernel.bpf_stats_enabled` is set. */
  readonly runCount: number;
  readonly runTimeNs: number;
}

/** A global variable of an object and its place. */
export interface GlobalVariable {
  readonly section: string;
  readonly name: string;
  readonly offset: number;
  readonly size: number;
}

/** Layout of a C struct or union, in bytes. */
export interface StructLayout {
  readonly size: number;
  readonly fields: readonly StructField[];
}

/** A member; those of anonymous structs and unions stand for themselves. */
export interface StructField {
  readonly name: string;
  readonly offset: number;
  readonly size: number;
  /** Of a bit field: first bit within the byte at `offset`, and its width. */
  readonly bitOffset?: number;
  readonly bitSize?: number;
}

export interface NativeRingBuffer {
  consume(): number;
  /** No wake-up until `wake()`. */
  rest(): void;
  wake(): void;
  close(): void;
}

let loaded: Native | undefined;

/** The addon, loaded at first use, so that importing this package never fails on a machine without it. */
export function native(): Native {
  loaded ??= loadNative('weft_bpf') as Native;
  return loaded;
}
