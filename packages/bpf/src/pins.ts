import { existsSync } from 'node:fs';
import { basename, dirname } from 'node:path';
import { makeDirectories } from './directories.ts';
import { BpfError, guard } from './errors.ts';
import { type MapDefinition, native } from './native.ts';

/** Pins a descriptor; see `Descriptor.pin`. */
export function pinDescriptor(fd: number, path: string, label: string): void {
  const directory = dirname(path);
  makeDirectory(directory);
  if (!native().isBpffs(directory)) {
    throw new BpfError(
      'WEFT_ERR_BPF_NO_BPFFS',
      `Cannot pin ${label} at ${path}: ${directory} is not on a bpffs; call mountBpffs() or pick a path below /sys/fs/bpf`,
    );
  }
  // The kernel says EPERM, which would lead astray.
  if (basename(path).includes('.')) {
    throw new BpfError('WEFT_ERR_BPF_BAD_ARGUMENT', `Cannot pin ${label} at ${path}: a name on a bpffs must not contain "."`);
  }
  guard(`pin ${label} at ${path}`, () => native().pin(fd, path));
}

function makeDirectory(directory: string): void {
  try {
    makeDirectories(directory);
  } catch (error) {
    throw new BpfError(
      'WEFT_ERR_BPF_NO_BPFFS',
      `Cannot make ${directory} for a pin: ${(error as Error).message}; names on a bpffs must not contain "."`,
    );
  }
}

/**
 * Opens a pin of one kind.
 *
 * @throws {BpfError} `WEFT_ERR_BPF_NOT_FOUND`, `WEFT_ERR_BPF_PIN_KIND`, `WEFT_ERR_BPF_NOT_PERMITTED`.
 */
export function openPinned(path: string, kind: 'map' | 'prog' | 'link'): number {
  const pinned = guard(`open the pin ${path}`, () => native().openPin(path));
  if (pinned.kind === kind) return pinned.fd;
  native().closeFd(pinned.fd);
  throw new BpfError(
    'WEFT_ERR_BPF_PIN_KIND',
    `Cannot open ${path} as a ${kind}: it is a ${pinned.kind || 'BPF object of an unknown kind'}`,
  );
}

/**
 * Opens the map pinned at `path` if it is what `wanted` asks for.
 *
 * @returns A descriptor for the caller to close, or `undefined` if there is no such pin.
 * @throws {BpfError} `WEFT_ERR_BPF_PIN_MISMATCH`, naming each difference.
 */
export function openMatchingMap(path: string, wanted: MapDefinition): number | undefined {
  if (!existsSync(path)) return undefined;
  const fd = openPinned(path, 'map');
  try {
    checkMatches(fd, wanted, path);
    return fd;
  } catch (error) {
    native().closeFd(fd);
    throw error;
  }
}

/** @throws {BpfError} `WEFT_ERR_BPF_PIN_MISMATCH`. */
export function checkMatches(fd: number, wanted: MapDefinition, where: string): void {
  const found = guard(`inspect ${where}`, () => native().mapInfo(fd));
  const expected: MapDefinition = { ...wanted, maxEntries: effectiveMaxEntries(wanted) };
  const actual: MapDefinition = { ...found, flags: isDeviceMap(found.type) ? found.flags & ~readOnlyForPrograms : found.flags };
  const differences = compared
    .filter((field) => expected[field] !== actual[field])
    .map((field) => `${field} is ${actual[field]}, must be ${expected[field]}`);
  if (differences.length === 0) return;
  throw new BpfError(
    'WEFT_ERR_BPF_PIN_MISMATCH',
    `Cannot reuse ${where} as map "${wanted.name}": ${differences.join('; ')}; remove the pin, or use a path of another layout version`,
  );
}

const compared = ['type', 'keySize', 'valueSize', 'maxEntries', 'flags'] as const;

// The kernel sets BPF_F_RDONLY_PROG on DEVMAP and DEVMAP_HASH by itself.
const readOnlyForPrograms = 0x80;
const isDeviceMap = (type: number): boolean => type === 14 || type === 25;

/** libbpf rounds a ring buffer (type 27) up to a power of two of pages, as the kernel demands. */
function effectiveMaxEntries({ type, maxEntries }: MapDefinition): number {
  if (type !== 27) return maxEntries;
  let size = 4096;
  while (size < maxEntries) size *= 2;
  return size;
}
