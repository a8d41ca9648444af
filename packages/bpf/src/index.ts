/**
 * BPF objects through libbpf and Node-API: load, attach, pin, read and write maps in batches, ring buffers, test runs.
 *
 * ```ts
 * mountBpffs();
 * const object = BpfObject.open('from_port.bpf.o', { rodata: { tunnel_port: 4789 }, pinMapsUnder: '/sys/fs/bpf/weft/a/v1' }).load();
 * const link = object.program('from_port').attachTcx(ifindex, 'ingress');
 * link.pin('/sys/fs/bpf/weft/a/v1/link-7');              // outlives this process
 * object.map('lookup').update(key, value);
 * const events = new RingBuffer(object.map('punts'), (record) => handle(record));
 * object.close();                                          // pinned and attached parts live on
 * ```
 *
 * - `BpfObject`: options settle `const volatile` variables, sizes and reused maps before `load()`; a pin of another shape is refused
 *   (`WEFT_ERR_BPF_PIN_MISMATCH`), never adapted.
 * - `BpfMap`, `BpfProgram`, `BpfLink`: each owns a descriptor; those given out by an object are closed with it.
 * - `BpfProgram.testRun`: a frame through a program, in the kernel.
 * - `probeFeatures`: tcx, BTF and helper flags of this kernel.
 *
 * Every refusal is a {@link BpfError} with a code, the errno, the verifier's log where there is one, and advice. The addon is built by
 * `npm run build:native -w @weft/bpf` (needs libbpf-dev) and loaded at first use; Linux only. Calls are synchronous, but for
 * `attachTcxAsync`; interfaces are those of the calling thread's network namespace.
 */
export { isBpffs, mountBpffs, unmountBpffs } from './bpffs.ts';
export { type CreateMapOptions, createMap } from './create-map.ts';
export { BpfError, type BpfErrorCode } from './errors.ts';
export { giveWay } from './give-way.ts';
export { BpfLink, type BpfLinkInfo } from './link.ts';
export { BpfMap, updateFlags } from './map.ts';
export type { MapType } from './map-types.ts';
export type { GlobalVariable, MapDefinition, NativeProgramInfo as BpfProgramInfo, StructField, StructLayout } from './native.ts';
export { BpfObject, type BpfObjectOptions } from './object.ts';
export { possibleCpuCount } from './possible-cpus.ts';
export { type BpfFeatures, probeFeatures, probeTcx } from './probe.ts';
export {
  BpfProgram,
  type ClsactPlace,
  detachClsact,
  queryClsact,
  type TcDirection,
  type TcxOptions,
  type TestRunOptions,
  type TestRunResult,
} from './program.ts';
export { type RingBatch, RingBuffer, type RingOptions, type RingReader } from './ring-buffer.ts';
export type { SkBuffInput, SkBuffOutput } from './sk-buff.ts';
export type { VariableValue } from './variables.ts';
