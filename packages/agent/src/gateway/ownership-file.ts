import type { Durable } from '@weft/election';
import { ownershipFileCodec } from '@weft/model';
import type { SyncedFile } from './synced-file.ts';

/** @returns Undefined if there is no file, or it is damaged: either way the node has forgotten what it promised, and `onDamage` is told why. */
export async function readOwnershipFile(file: Pick<SyncedFile, 'read'>, onDamage: (reason: string) => void): Promise<Durable | undefined> {
  try {
    const bytes = await file.read();
    return bytes === undefined ? undefined : ownershipFileCodec.decode(bytes);
  } catch (error) {
    onDamage((error as Error).message);
    return undefined;
  }
}
