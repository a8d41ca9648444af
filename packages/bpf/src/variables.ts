import { BpfError } from './errors.ts';
import type { GlobalVariable } from './native.ts';

/** A value for a global variable: its bytes as the program sees them, or an integer for one of 1, 2, 4 or 8 bytes. */
export type VariableValue = Uint8Array | number | bigint | boolean;

/**
 * The bytes of `value` as `variable`, in the machine's byte order (little-endian, as everywhere Node.js runs).
 *
 * @throws {BpfError} `WEFT_ERR_BPF_BAD_ARGUMENT` if it does not fit.
 */
export function encodeVariable(variable: GlobalVariable, value: VariableValue): Uint8Array {
  const refuse = (rule: string): never => {
    throw new BpfError('WEFT_ERR_BPF_BAD_ARGUMENT', `Cannot set variable "${variable.name}" to ${describe(value)}: ${rule}`);
  };
  const { size } = variable;
  if (value instanceof Uint8Array) return value.byteLength === size ? value : refuse(`must be ${size} bytes`);
  if (size > 8 || (size & (size - 1)) !== 0) return refuse(`it has ${size} bytes, so give a Uint8Array`);
  if (typeof value === 'number' && !Number.isSafeInteger(value)) return refuse('must be a safe integer; use a bigint beyond 2^53');
  const bits = BigInt(8 * size);
  const integer = BigInt(value);
  if (integer < -(1n << (bits - 1n)) || integer >= 1n << bits) return refuse(`must fit ${bits} bits`);
  const bytes = new Uint8Array(8);
  new DataView(bytes.buffer).setBigInt64(0, BigInt.asIntN(64, integer), true);
  return bytes.subarray(0, size);
}

function describe(value: VariableValue): string {
  return value instanceof Uint8Array ? `${value.byteLength} bytes` : String(value);
}
