/**
 * TAP and TUN devices, raw packet sockets and network namespaces, through Node-API.
 *
 * ```ts
 * createTap({ name: 'tap-a', vnetHdr: true });             // persistent, as a hypervisor expects it
 * const tap = openTap({ name: 'tap-a', vnetHdr: true, offloads: ['csum', 'tso4', 'tso6'] });
 * tap.start((batch) => {
 *   for (const frame of batch) handle(frame);              // views: valid until this callback returns
 * });
 * tap.writeBatch(frames);
 * tap.close();
 * removeTap('tap-a');
 * ```
 *
 * - `openTap`, `openPacketSocket`: a {@link FrameSource} each: single reads, batched reads driven by the event loop with back-pressure
 *   (`pause`, `resume`), writes. Descriptors are non-blocking and closed on exec, and belong to the object that opened them.
 * - `createTap`, `removeTap`, `inspectTap`: persistent devices without a descriptor, idempotent.
 * - `setLink`: up, MTU, group and ARP of any interface, without a process.
 * - `inNetns`: run a synchronous function in another network namespace.
 * - `startGenerator`, `startSink`: load for benchmarks, in native threads. `startFrameLog`: when numbered frames passed an interface, by the kernel's clock.
 *
 * Every refusal is a {@link TunTapError} with a code, the errno and advice. The addon is built by `npm run build:native -w @weft/tuntap` and
 * loaded at first use; Linux only.
 */
export { TunTapError, type TunTapErrorCode } from './errors.ts';
export type { FrameBatch } from './frame-batch.ts';
export { type FrameLog, type FrameLogOptions, type FrameRecord, startFrameLog } from './frame-log.ts';
export type { FrameSource, StartOptions } from './frame-source.ts';
export { type Generator, type GeneratorOptions, type GeneratorResult, startGenerator } from './generator.ts';
export { type InterfaceHolder, interfaceHolders } from './holders.ts';
export { interfaceIndex, type LinkSettings, type LinkState, linkState, setLink } from './link-settings.ts';
export { inNetns } from './netns.ts';
export { openPacketSocket, type PacketFilterInstruction, type PacketSocketOptions } from './packet-socket.ts';
export { type CreateTapOptions, createTap, inspectTap, removeTap, type TapInfo } from './persistent-tap.ts';
export { type SequenceStats, type Sink, type SinkOptions, type SinkStats, startSink } from './sink.ts';
export { openTap, type TapDevice, type TapOffload, type TapOptions } from './tap.ts';
export { startTcpEcho, startTcpProbe, type TcpProbeOptions, type TcpProbeResult } from './tcp-probe.ts';
export { startUdpEcho } from './udp-echo.ts';
