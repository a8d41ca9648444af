import type { OwnershipMemory } from '@weft/model';
import type { GatewayStorage } from './gateway-storage.ts';
import { readOwnershipFile } from './ownership-file.ts';
import type { SyncedFile } from './synced-file.ts';

/** By what this machine remembers its promises, for each group that it votes in, or did: the number that was made with each group's file. */
export class OwnershipMemories {
  readonly #storage: GatewayStorage;
  readonly #instances = new Map<string, number>();

  constructor(storage: GatewayStorage) {
    this.#storage = storage;
  }

  /** From the files, before any group is known: a host record without them would take the voter out of its list. */
  async recall(): Promise<void> {
    for (const name of this.#storage.names()) {
      const group = /^ownership-([0-9a-f-]{36})\.bin$/.exec(name)?.[1];
      if (group === undefined) continue;
      const state = await readOwnershipFile(this.file(group), () => {});
      if (state !== undefined) this.#instances.set(group, state.instance);
    }
  }

  /** @returns Whether this is news. */
  note(group: string, instance: number): boolean {
    if (this.#instances.get(group) === instance) return false;
    this.#instances.set(group, instance);
    return true;
  }

  list(): readonly OwnershipMemory[] {
    return [...this.#instances]
      .map(([gatewayId, instance]) => ({ gatewayId, instance }))
      .sort((a, b) => (a.gatewayId < b.gatewayId ? -1 : 1));
  }

  file(group: string): Pick<SyncedFile, 'read' | 'write'> {
    return this.#storage.file(`ownership-${group}.bin`);
  }
}
