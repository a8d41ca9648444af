import { existsSync, readdirSync, unlinkSync } from 'node:fs';
import { join } from 'node:path';
import { BpfError, BpfLink, type BpfProgram, detachClsact, probeTcx, queryClsact } from '@weft/bpf';
import { DatapathError } from '../errors.ts';
import { deviceIndexes } from '../host/devices.ts';

// How a program stays on a device when the agent is gone: a tcx link, pinned as link_<program>_<ifindex>. An upgrade replaces the program in
// the pinned link, so that each packet meets the old program or the new one. Kernels without tcx (before 6.6) get a clsact filter, which stays
// by itself and is replaced in one step, too; but others' tc commands can remove it.

/** Place of the clsact filters: "WF", ahead of what others attach. */
export const CLSACT_PLACE = { handle: 0x5746, priority: 1 } as const;
/** One device may be the underlay and lead outside: the programs pass on what isn't theirs. */
const EXTERNAL_CLSACT_PLACE = { handle: 0x5746, priority: 2 } as const;

/** The programs that are attached, by name. */
export type ProgramName = 'from_port' | 'from_underlay' | 'from_tunnel' | 'from_external';

interface UnderWay {
  /** Tells it to give up. */
  readonly cancel: AbortController;
  readonly done: Promise<void>;
}

/** Attaches the programs of one datapath and finds them again. */
export class Attachments {
  readonly #directory: string;
  readonly #usesTcx: boolean;
  /** Attaches under way, by the path of their pin. */
  readonly #underWay = new Map<string, UnderWay>();

  /** @param directory Where links are pinned. */
  constructor(directory: string, usesTcx: boolean = probeTcx()) {
    this.#directory = directory;
    this.#usesTcx = usesTcx;
  }

  /** Attaches, or replaces what is attached. */
  attach(name: ProgramName, program: BpfProgram, ifindex: number): void {
    if (!this.#usesTcx) {
      program.attachClsact(ifindex, 'ingress', placeOf(name));
      return;
    }
    const path = this.#path(name, ifindex);
    if (this.#replace(path, program, ifindex)) return;
    const link = program.attachTcx(ifindex, 'ingress', { position: 'first' });
    try {
      link.pin(path);
    } catch (error) {
      link.detach();
      throw error;
    } finally {
      link.close();
    }
  }

  /**
   * As `attach`, without waiting for the kernel. What is attached is pinned, or closed and so detached: when it was detached or all was
   * closed meanwhile, and when the process ends first.
   */
  async attachAsync(name: ProgramName, program: BpfProgram, ifindex: number): Promise<void> {
    const path = this.#path(name, ifindex);
    const running = this.#underWay.get(path);
    if (running !== undefined) {
      if (!running.cancel.signal.aborted) return await running.done;
      await running.done.catch(() => undefined);
    }
    if (!this.#usesTcx || this.#isLinked(path, ifindex)) {
      this.attach(name, program, ifindex);
      return;
    }
    const cancel = new AbortController();
    const underWay: UnderWay = { cancel, done: this.#link(path, program, ifindex, cancel.signal) };
    this.#underWay.set(path, underWay);
    try {
      await underWay.done;
    } finally {
      if (this.#underWay.get(path) === underWay) this.#underWay.delete(path);
    }
  }

  /** Ends attaches under way; what is attached stays. */
  close(): void {
    const error = new DatapathError(
      'WEFT_ERR_DATAPATH_CLOSED',
      'Cannot attach to a device: the datapath was closed meanwhile; create it anew',
    );
    for (const { cancel } of this.#underWay.values()) cancel.abort(error);
  }

  /** Idempotent; the device may be gone. */
  detach(name: ProgramName, ifindex: number): void {
    if (!this.#usesTcx) {
      if (deviceIndexes().has(ifindex)) detachClsact(ifindex, 'ingress', placeOf(name));
      return;
    }
    const path = this.#path(name, ifindex);
    this.#underWay
      .get(path)
      ?.cancel.abort(
        new DatapathError('WEFT_ERR_DATAPATH_NO_DEVICE', `Cannot attach to device ${ifindex}: it was detached meanwhile; attach again`),
      );
    if (!existsSync(path)) return;
    const link = BpfLink.fromPin(path);
    try {
      unlinkSync(path);
      if (link.info().ifindex !== 0) link.detach();
    } finally {
      link.close();
    }
  }

  /** The devices a program is attached to, ascending. Pins of devices that are gone are removed on the way. */
  attached(name: ProgramName, candidates: readonly number[] = []): number[] {
    if (!this.#usesTcx) {
      const present = deviceIndexes();
      return candidates
        .filter((ifindex) => present.has(ifindex) && queryClsact(ifindex, 'ingress', placeOf(name)) !== undefined)
        .sort(ascending);
    }
    return this.#pinned(name)
      .filter((ifindex) => this.#isLinked(this.#path(name, ifindex), ifindex))
      .sort(ascending);
  }

  /** Replaces `program` wherever it is attached. */
  replaceAll(name: ProgramName, program: BpfProgram, candidates: readonly number[] = []): void {
    for (const ifindex of this.attached(name, candidates)) this.attach(name, program, ifindex);
  }

  async #link(path: string, program: BpfProgram, ifindex: number, cancelled: AbortSignal): Promise<void> {
    let link: BpfLink;
    try {
      link = await program.attachTcxAsync(ifindex, 'ingress', { position: 'first' });
    } catch (error) {
      // Someone who did not want to wait was first: the kernel takes a program once a device.
      if (error instanceof BpfError && error.code === 'WEFT_ERR_BPF_EXISTS' && existsSync(path)) return;
      throw error;
    }
    try {
      cancelled.throwIfAborted();
      link.pin(path);
    } finally {
      // Not pinned, it is detached by this.
      link.close();
    }
  }

  /** Whether the pin is of a link to this device. One of a device that is gone is removed. */
  #isLinked(path: string, ifindex: number): boolean {
    if (!existsSync(path)) return false;
    const link = BpfLink.fromPin(path);
    const isLinked = link.info().ifindex === ifindex;
    link.close();
    if (!isLinked) unlinkSync(path);
    return isLinked;
  }

  /** @returns False if there is no link to this device (any more). */
  #replace(path: string, program: BpfProgram, ifindex: number): boolean {
    if (!existsSync(path)) return false;
    const link = BpfLink.fromPin(path);
    try {
      if (link.info().ifindex === ifindex) {
        link.update(program);
        return true;
      }
    } catch (error) {
      // ENOLINK: the device went away meanwhile.
      if (!(error instanceof BpfError) || error.errnoName !== 'ENOLINK') throw error;
    } finally {
      link.close();
    }
    unlinkSync(path);
    return false;
  }

  #pinned(name: ProgramName): number[] {
    if (!existsSync(this.#directory)) return [];
    const prefix = `link_${name}_`;
    return readdirSync(this.#directory).flatMap((file) => (file.startsWith(prefix) ? [Number(file.slice(prefix.length))] : []));
  }

  #path(name: ProgramName, ifindex: number): string {
    return join(this.#directory, `link_${name}_${ifindex}`);
  }
}

function ascending(a: number, b: number): number {
  return a - b;
}

function placeOf(name: ProgramName): { readonly handle: number; readonly priority: number } {
  return name === 'from_external' ? EXTERNAL_CLSACT_PLACE : CLSACT_PLACE;
}
