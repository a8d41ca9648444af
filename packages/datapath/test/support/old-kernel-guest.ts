import { release } from 'node:os';
import { BpfError, BpfObject, probeFeatures } from '@weft/bpf';
import { DEFAULT_OBJECT_FILE } from '../../src/index.ts';
import { Lab } from './lab.ts';
import { traffic } from './old-kernel-traffic.ts';
import { OracleBench } from './oracle.ts';

// Runs inside a guest with an old kernel, bundled into one file: node guest.mjs SEED COUNT FRAMES. Prints one line of JSON.

const [first = 1, count = 1, frames = 100] = process.argv.slice(2).map(Number);
const timesMs: Record<string, number> = { start: Math.round(performance.now()) };
/** An emulated machine is slow, loading programs most of all: one lab serves all checks, the oracle's on its first host. */
const lab = open();
timesMs['load two hosts'] = Math.round(performance.now());
const bench = new OracleBench(undefined, {}, lab.a);
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
timesMs['oracle'] = Math.round(performance.now());
const report = await traffic(lab);
timesMs['traffic'] = Math.round(performance.now());
console.log(JSON.stringify({ ...report, kernel: release(), tcx, adjustRoomDecapL3Ipv6, timesMs, tried, difference }));

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

function open(): Lab {
  try {
    return new Lab({ testClock: true, maxEntries: { lookup: 4096, l2: 4096, route: 4096, speaker: 1024, shard: 64, subnet: 1024 } });
  } catch (error) {
    // The verifier's last words say what it does not like; there may be a megabyte of them.
    if (error instanceof BpfError && error.verifierLog) explain();
    throw (error as Error).message;
  }
}
