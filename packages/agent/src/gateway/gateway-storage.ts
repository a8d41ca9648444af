import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { SyncedFile } from './synced-file.ts';

/** Small files that are on disk when `write` resolves. */
export interface GatewayStorage {
  file(name: string): Pick<SyncedFile, 'read' | 'write'>;
  names(): readonly string[];
}

export function gatewayStorage(directory: string): GatewayStorage {
  return { file: (name) => new SyncedFile(join(directory, name)), names: () => readdirSync(directory) };
}
