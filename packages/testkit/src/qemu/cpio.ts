/** One entry of an archive. `path` without a leading slash; its directories come before it. */
export type CpioEntry =
  | { readonly kind: 'dir'; readonly path: string }
  | { readonly kind: 'file'; readonly path: string; readonly data: Uint8Array; readonly executable?: boolean }
  | { readonly kind: 'symlink'; readonly path: string; readonly target: string }
  | { readonly kind: 'chardev'; readonly path: string; readonly major: number; readonly minor: number };

const MODES = { dir: 0o040755, file: 0o100644, symlink: 0o120777, chardev: 0o020600 } as const;

/**
 * A cpio archive in the "newc" form, the one that Linux unpacks as an initramfs (kernel documentation,
 * driver-api/early-userspace/buffer-format). The result is padded to 512 bytes, so that archives can be put one behind the other.
 *
 * All owners are root and all times 0: equal entries give equal bytes.
 */
export function cpioArchive(entries: readonly CpioEntry[]): Uint8Array {
  const parts: Uint8Array[] = [];
  let size = 0;
  const push = (part: Uint8Array): void => {
    parts.push(part);
    size += part.length;
  };
  const pad = (multiple: number): void => push(new Uint8Array((multiple - (size % multiple)) % multiple));
  const put = (inode: number, mode: number, path: string, data: Uint8Array, device: readonly [number, number]): void => {
    const name = Buffer.from(`${path}\0`);
    const fields = [inode, mode, 0, 0, 1, 0, data.length, 0, 0, device[0], device[1], name.length, 0];
    push(Buffer.from(`070701${fields.map((field) => field.toString(16).padStart(8, '0')).join('')}`));
    push(name);
    pad(4);
    push(data);
    pad(4);
  };
  const none = new Uint8Array(0);
  for (const [index, entry] of entries.entries()) {
    const executable = entry.kind === 'file' && entry.executable === true ? 0o111 : 0;
    const data = entry.kind === 'file' ? entry.data : entry.kind === 'symlink' ? Buffer.from(entry.target) : none;
    put(index + 1, MODES[entry.kind] | executable, entry.path, data, entry.kind === 'chardev' ? [entry.major, entry.minor] : [0, 0]);
  }
  put(0, 0, 'TRAILER!!!', none, [0, 0]);
  pad(512);
  return Buffer.concat(parts, size);
}
