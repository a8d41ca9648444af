/** Labs: many Weft hosts on one machine, made from a lab file. What `weft lab`, the demo, the multi-host tests and the benchmarks run on. */
export { LabError, type LabErrorCode } from './errors.ts';
export { instanceName, pinDirectory } from './instance-name.ts';
export { Lab, type LabInit } from './lab.ts';
export { type LabFile, LabFileError, type LabHostSpec, type LabSpec, type LabVmSpec, parseLabFile, type VmKind } from './lab-file.ts';
export { LabVm, type LabVmNote } from './lab-vm.ts';
export type { AcceptedOwner, OwnershipSample, OwnFence, ShardMove } from './ownership/history.ts';
export { OwnershipWatcher } from './ownership/watcher.ts';
export { cutPower, restorePower } from './power.ts';
