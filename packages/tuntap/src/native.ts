import { loadNative } from './load-native.ts';

/** What the addon exports. Functions throw errors with `errno`, `errnoName` and `syscall`; {@link guard} makes them typed. */
export interface Native {
  readonly maxFrameBytes: number;
  openTun(name: string, flags: number, vnetHeaderBytes: number, offloads: number): NativeHandle;
  openPacket(
    interfaceName: string,
    vnetHeaderBytes: number,
    receiveBufferBytes: number,
    filter: Uint32Array,
    sendOnly: boolean,
  ): NativeHandle;
  tunIoctl(fd: number, request: 'TUNSETPERSIST' | 'TUNSETOFFLOAD' | 'TUNSETOWNER' | 'TUNSETGROUP', argument: number): void;
  closeFd(fd: number): void;
  linkInfo(name: string): NativeLinkInfo | null;
  setLink(name: string, settings: NativeLinkSettings): void;
  readFrame(fd: number, maxBytes: number): Uint8Array | null;
  writeFrame(fd: number, frame: Uint8Array): void;
  writeFrames(fd: number, frames: readonly Uint8Array[]): number;
  openNetns(path: string): number;
  setNetns(fd: number): void;
  readonly FramePoller: new (
    fd: number,
    buffer: Uint8Array,
    spans: Uint32Array,
    onBatch: (count: number, error: Error | undefined) => void,
  ) => NativeFramePoller;
  readonly FrameLog: new (
    options: {
      interfaceName: string;
      cpu: number;
      matchBytes: Uint8Array;
      inOffset: number;
      outOffset: number;
      sequenceOffset: number;
    },
    onDone: (record: unknown) => void,
  ) => { stop(): void };
  readonly Generator: new (options: NativeGeneratorOptions, onDone: (result: unknown) => void) => { stop(): void; sent(): number };
  readonly TcpEcho: new (options: { address: string; port: number; cpu: number }, onDone: () => void) => { stop(): void };
  readonly TcpProbe: new (
    options: {
      address: string;
      port: number;
      source: string;
      cpu: number;
      durationNs: number;
      connectEach: boolean;
      orderly: boolean;
      ratePerSecond: number;
      count: number;
    },
    onDone: (result: unknown) => void,
  ) => { stop(): void };
  readonly UdpEcho: new (options: { address: string; port: number; cpu: number }, onDone: (echoed: unknown) => void) => { stop(): void };
  readonly Sink: new (options: NativeSinkOptions, onDone: (stats: unknown) => void) => { stop(): void; stats(): unknown };
}

export interface NativeHandle {
  readonly fd: number;
  readonly name: string;
  readonly ifindex: number;
}

export interface NativeLinkInfo {
  readonly ifindex: number;
  readonly up: boolean;
  readonly carrier: boolean;
  readonly mtu: number;
  readonly mac: Uint8Array;
  readonly kind: string;
  readonly mode?: 'tap' | 'tun';
  readonly owner?: number;
  readonly group?: number;
  readonly vnetHdr?: boolean;
  readonly persistent?: boolean;
  readonly multiQueue?: boolean;
  readonly queueCount?: number;
}

export interface NativeLinkSettings {
  readonly up?: boolean;
  readonly arp?: boolean;
  readonly mtu?: number;
  readonly group?: number;
  readonly ipv6AddressGeneration?: boolean;
}

export interface NativeFramePoller {
  resume(): void;
  pause(): void;
  close(): void;
}

/** Numbers below 0 mean "none". */
export interface NativeGeneratorOptions {
  readonly fd: number;
  readonly cpu: number;
  readonly frames: readonly Uint8Array[];
  readonly count: number;
  readonly durationNs: number;
  readonly ratePerSecond: number;
  readonly sequenceOffset: number;
}

export interface NativeSinkOptions {
  readonly fd: number;
  readonly cpu: number;
  readonly headerBytes: number;
  readonly matchOffset: number;
  readonly matchBytes: Uint8Array;
  readonly sequenceOffset: number;
  readonly spin?: boolean;
}

let loaded: Native | undefined;

/** The addon, loaded at first use, so that importing this package never fails on a machine without it. */
export function native(): Native {
  loaded ??= loadNative('weft_tuntap') as Native;
  return loaded;
}
