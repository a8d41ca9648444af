const MAX_AT_ONCE = 32;

/**
 * Reads what events say has changed, instead of believing them: an event's revision is signed by nobody, so an old record of an admin's,
 * announced once more with a higher one, would bring a removed principal back.
 *
 * One read per key at a time; a hint that comes meanwhile asks for one more after it. Who floods with hints of many keys causes full looks
 * only, which limit themselves.
 */
export class HintedReads {
  readonly #read: (bucket: 'config' | 'hosts', key: string) => Promise<void>;
  readonly #readAll: () => void;
  readonly #running = new Map<string, { again: boolean }>();

  /**
   * @param read Reads the key from the store and takes in what stands there. Must not reject.
   * @param readAll Asks for a full look.
   */
  constructor(read: (bucket: 'config' | 'hosts', key: string) => Promise<void>, readAll: () => void) {
    this.#read = read;
    this.#readAll = readAll;
  }

  hear(bucket: 'config' | 'hosts', key: string): void {
    const name = `${bucket}/${key}`;
    const running = this.#running.get(name);
    if (running !== undefined) running.again = true;
    else if (this.#running.size >= MAX_AT_ONCE) this.#readAll();
    else void this.#run(name, bucket, key);
  }

  async #run(name: string, bucket: 'config' | 'hosts', key: string): Promise<void> {
    const state = { again: true };
    this.#running.set(name, state);
    try {
      while (state.again) {
        state.again = false;
        await this.#read(bucket, key);
      }
    } finally {
      this.#running.delete(name);
    }
  }
}
