import { BpfError, guard } from './errors.ts';
import { native } from './native.ts';
import { pinDescriptor } from './pins.ts';

/** A descriptor of a map, program or link, closed by its owner alone. */
export abstract class Descriptor {
  #fd: number;

  protected constructor(fd: number) {
    this.#fd = fd;
  }

  /** How messages call it, such as `map "lookup"`. */
  protected abstract readonly label: string;

  /**
   * Owned by this object: never close it elsewhere.
   *
   * @throws {BpfError} `WEFT_ERR_BPF_CLOSED`.
   */
  get fd(): number {
    if (this.#fd < 0) throw new BpfError('WEFT_ERR_BPF_CLOSED', `Cannot use ${this.label}: it is closed`);
    return this.#fd;
  }

  get closed(): boolean {
    return this.#fd < 0;
  }

  /**
   * Pins it at `path`, so that it outlives this process. Missing folders are made.
   *
   * @throws {BpfError} `WEFT_ERR_BPF_EXISTS`, `WEFT_ERR_BPF_NO_BPFFS`, `WEFT_ERR_BPF_NOT_PERMITTED`.
   */
  pin(path: string): void {
    pinDescriptor(this.fd, path, this.label);
  }

  /** Closes the descriptor; what is pinned, attached or in use lives on. Idempotent. */
  close(): void {
    if (this.#fd < 0) return;
    const fd = this.#fd;
    this.#fd = -1;
    guard(`close ${this.label}`, () => native().closeFd(fd));
  }
}
