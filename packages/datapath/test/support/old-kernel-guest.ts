import { release } from 'node:os';
import { BpfError, BpfObject, probeFeatures } from '@weft/bpf';
import { DEFAULT_OBJECT_FILE } from '../../src/index.ts';
import { traffic } from './old-kernel-traffic.ts';
import { OracleBench } from './oracle.ts';

// Runs inside a guest with an old kernel, bundled into one file: node guest.mjs SEED COUNT FRAMES. Prints one line of JSON.

const [first = 1, count = 1, frames = 100] = process.argv.slice(2).map(Number);
const started = performance.now();
const bench = open();
const loadMs = Math.round(performance.now() - started);
let tried = 0;
let difference: string | undefined;
for (let seed = first; seed < first + count && difference === undefined; seed++) {
  const outcome = bench.run(seed, frames);
  tried += outcome.tried - outcome.refused;
  const found = outcome.difference;
  if (found) difference = `seed ${found.seed}, frame ${found.index} (${found.label}):\n${found.text}`;
}
const { tcx, adjustRoomDecapL3Ipv6 } = probeFeatures();
bench.close();
console.log(JSON.stringify({ ...(await traffic()), kernel: release(), tcx, adjustRoomDecapL3Ipv6, loadMs, tried, difference }));

/** The verifier's words without its walk, which may be longer than any log. */
function explain(): void {
  for (const program of ['from_port', 'from_tunnel', 'from_underlay']) {
    try {
      const options = { rodata: { cfg_kernel_61: 1 }, programs: [program], verifierLogLevel: 4 } as const;
      const object = BpfObject.open(DEFAULT_OBJECT_FILE, options).load();
      console.error(`${program}: ${object.verifierLog}`);
      object.close();
    } catch (error) {
      console.error(`${program}: ${(error as BpfError).verifierLog}`);
    }
  }
}

function open(): OracleBench {
  try {
    return new OracleBench();
  } catch (error) {
    // The verifier's last words say what it does not like; there may be a megabyte of them.
    if (error instanceof BpfError && error.verifierLog) explain();
    throw (error as Error).message;
  }
}
