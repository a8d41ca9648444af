/** A body of `size` bytes, in pieces, that both ends of a transfer can make from `seed` alone. */
export function bodyChunks(seed: string, size: number): Generator<Buffer, void, void>;

/** Its SHA-256, in hexadecimal. */
export function bodySha256(seed: string, size: number): string;
