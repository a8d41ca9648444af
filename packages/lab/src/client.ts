import type { Bus, Identity } from '@weft/bus';
import type { Command, ListedRecord, Port, Result } from '@weft/model';
import { LabError } from './errors.ts';

/** What a command of that kind is answered with. */
export type ResultOf<K extends Result['kind']> = (Result & { readonly kind: K })['value'];

/** Asks the lab's controllers and hosts, as its admin. */
export class LabClient {
  readonly bus: Bus;
  readonly admin: Identity;

  constructor(bus: Bus, admin: Identity) {
    this.bus = bus;
    this.admin = admin;
  }

  /** Asks a controller or a host and gives the answer. @throws {LabError} When it refuses, with the problems. */
  async ask<K extends Result['kind']>(target: string, command: Command, kind: K, timeoutMs = 10_000): Promise<ResultOf<K>> {
    const { response } = await this.bus.request(target, command, { identity: this.admin, timeoutMs });
    const [problem] = response.problems;
    if (problem !== undefined) {
      throw new LabError(
        'WEFT_ERR_LAB_REFUSED',
        `${target} refused ${command.kind}: ${problem.code} ${problem.resource} ${problem.path} ${problem.value}: ${problem.rule}`,
      );
    }
    if (response.result?.kind !== kind)
      throw new LabError('WEFT_ERR_LAB_REFUSED', `${target} answered ${command.kind} with ${response.result?.kind ?? 'nothing'}`);
    return response.result.value as ResultOf<K>;
  }

  /** All records there are. */
  async list(): Promise<readonly ListedRecord[]> {
    const listed: ListedRecord[] = [];
    const all = { kinds: [], tenant: '', network: '', name: '' };
    for (let after: string | undefined; ; ) {
      const page = await this.ask('controller', { kind: 'list', value: after === undefined ? all : { ...all, after } }, 'list');
      listed.push(...page.records);
      after = page.next;
      if (after === undefined) return listed;
    }
  }

  /** @throws {LabError} When there is none of that path. */
  async port(path: string, known?: readonly ListedRecord[]): Promise<Port> {
    const records = known ?? (await this.list());
    for (const { record } of records) {
      if (record?.kind === 'port' && `${record.value.tenant}/${record.value.network}/${record.value.name}` === path) return record.value;
    }
    throw new LabError('WEFT_ERR_LAB_START', `There is no port ${path}: the lab file must have a Port document for it`);
  }
}
