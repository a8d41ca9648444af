// One thread of the stress test: runs a program of the parent's on many frames, as fast as it can. Descriptors are the process's, so they work
// here, too; they stay the parent's to close.
import { parentPort, workerData } from 'node:worker_threads';
import { BpfProgram } from '@weft/bpf';

const { fd, frames, cb, gate, rounds, threads } = workerData;
/** How long to wait for the others before each run: they may have no processor. */
const SPINS = 20_000;
const program = BpfProgram.fromFd(fd);
const flags = new Int32Array(gate);
const answers = [];
Atomics.add(flags, 1, 1);
while (Atomics.load(flags, 0) === 0); // not wait(): all are to begin at once
for (let round = 0; round < rounds; round++) {
  for (const [i, data] of frames.entries()) {
    // In step, so that all are at the same flow.
    if (threads > 1) {
      Atomics.add(flags, 2, 1);
      for (let spin = 0; spin < SPINS && Atomics.load(flags, 2) < (round * frames.length + i + 1) * threads; spin++);
    }
    const result = program.testRun({ data, ctx: { cb }, dataOutBytes: 128 });
    const view = new DataView(result.data.buffer, result.data.byteOffset);
    // Reason, port, last byte of the address: struct gateway_translation stands at 78.
    if (data.length > 100) answers.push([result.ctx.cb[0], view.getUint16(98), result.data[93]]);
  }
}
parentPort.postMessage(answers);
