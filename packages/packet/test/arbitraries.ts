import fc from 'fast-check';
import { isIpv4Mapped, mapIpv4, type ParseFailure } from '../src/index.ts';

export const u8: fc.Arbitrary<number> = fc.integer({ min: 0, max: 0xff });
export const u16: fc.Arbitrary<number> = fc.integer({ min: 0, max: 0xffff });
export const u24: fc.Arbitrary<number> = fc.integer({ min: 0, max: 0xffffff });
export const u32: fc.Arbitrary<number> = fc.integer({ min: 0, max: 0xffffffff });
export const mac: fc.Arbitrary<Uint8Array> = fc.uint8Array({ minLength: 6, maxLength: 6 });
export const ipv4: fc.Arbitrary<Uint8Array> = fc.uint8Array({ minLength: 4, maxLength: 4 }).map((bytes) => mapIpv4(bytes));
/** Not mapped; zero groups are frequent, since `::` is where formats go wrong. */
export const ipv6: fc.Arbitrary<Uint8Array> = fc
  .array(fc.oneof({ weight: 2, arbitrary: fc.constant(0) }, { weight: 3, arbitrary: u16 }, fc.constant(0xffff)), {
    minLength: 8,
    maxLength: 8,
  })
  .map((groups) => Uint8Array.from(groups.flatMap((group) => [group >> 8, group & 0xff])))
  .filter((bytes) => !isIpv4Mapped(bytes));
export const ip: fc.Arbitrary<Uint8Array> = fc.oneof(ipv4, ipv6);
/** Two addresses of one family. */
export const ipPair: fc.Arbitrary<[Uint8Array, Uint8Array]> = fc.oneof(fc.tuple(ipv4, ipv4), fc.tuple(ipv6, ipv6));
export const payload: fc.Arbitrary<Uint8Array> = fc.uint8Array({ maxLength: 200 });
/** Options of IPv4 or TCP: 0 to 40 bytes, in words. */
export const words: fc.Arbitrary<Uint8Array> = fc
  .integer({ min: 0, max: 10 })
  .chain((count) => fc.uint8Array({ minLength: count * 4, maxLength: count * 4 }));

/** The view, or a failed test that names the reason. */
export function view<T>(result: T | ParseFailure): T {
  if (typeof result === 'string') throw new Error(`expected a view, got ${result}`);
  return result as T;
}
