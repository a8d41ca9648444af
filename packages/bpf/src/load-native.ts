import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import { fileURLToPath } from 'node:url';
import { BpfError } from './errors.ts';

const packageRoot = new URL('../', import.meta.url);
const require = createRequire(import.meta.url);

/**
 * Loads an addon of this package: the one built in place (`build/Release`), else a prebuilt one (`prebuilds/linux-<arch>`). The same two
 * places serve the sources and `dist`, since both lie one folder below the package.
 *
 * @throws {BpfError} `WEFT_ERR_BPF_NOT_BUILT`, with the command that builds it.
 */
export function loadNative(name: string): unknown {
  const places = [`build/Release/${name}.node`, `prebuilds/linux-${process.arch}/${name}.node`];
  for (const place of places) {
    const path = fileURLToPath(new URL(place, packageRoot));
    if (existsSync(path)) return require(path);
  }
  throw new BpfError(
    'WEFT_ERR_BPF_NOT_BUILT',
    `Cannot load ${name}: neither ${places.join(' nor ')} exists in ${fileURLToPath(packageRoot)}; ` +
      'run `npm run build:native -w @weft/bpf` (needs libbpf-dev)',
  );
}
