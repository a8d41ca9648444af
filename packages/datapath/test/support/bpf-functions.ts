// The functions of a compiled BPF object, instruction by instruction: ELF64, little-endian, as clang writes it.

const SECTION_HEADER_BYTES = 64;
const SYMBOL_BYTES = 24;
const INSTRUCTION_BYTES = 8;
const SYMBOL_TABLE = 2;
const FUNCTION = 2;

/** One function: its instructions as they stand in the section. */
export interface BpfFunction {
  readonly name: string;
  readonly instructions: readonly Instruction[];
}

export interface Instruction {
  readonly opcode: number;
  /** Of jumps: where they lead, in instructions from the one that follows. */
  readonly offset: number;
}

export function bpfFunctions(object: Uint8Array): BpfFunction[] {
  const view = new DataView(object.buffer, object.byteOffset, object.byteLength);
  const u64 = (at: number): number => Number(view.getBigUint64(at, true));
  const section = (index: number): { type: number; offset: number; size: number; link: number } => {
    const at = u64(0x28) + index * SECTION_HEADER_BYTES;
    return { type: view.getUint32(at + 4, true), offset: u64(at + 24), size: u64(at + 32), link: view.getUint32(at + 40, true) };
  };
  const sections = Array.from({ length: view.getUint16(0x3c, true) }, (_, index) => section(index));
  const symbols = sections.find(({ type }) => type === SYMBOL_TABLE);
  if (symbols === undefined) throw new Error('the object has no symbols');
  const names = sections[symbols.link]!;
  const functions: BpfFunction[] = [];
  for (let at = symbols.offset; at < symbols.offset + symbols.size; at += SYMBOL_BYTES) {
    if ((object[at + 4]! & 15) !== FUNCTION) continue;
    const start = sections[view.getUint16(at + 6, true)]!.offset + u64(at + 8);
    const nameAt = names.offset + view.getUint32(at, true);
    functions.push({
      name: Buffer.from(object.subarray(nameAt, object.indexOf(0, nameAt))).toString(),
      instructions: Array.from({ length: u64(at + 16) / INSTRUCTION_BYTES }, (_, index) => ({
        opcode: object[start + index * INSTRUCTION_BYTES]!,
        offset: view.getInt16(start + index * INSTRUCTION_BYTES + 2, true),
      })),
    });
  }
  return functions;
}

const EXIT = 0x95;
const CALL = 0x85;
const JUMP_ALWAYS = 0x05;
const WIDE = 0x18;
const CLASS = 7;
const JUMP = 5;
const JUMP32 = 6;

interface Edge {
  readonly to: number;
  readonly isJump: boolean;
}

function edges({ opcode, offset }: Instruction, at: number): Edge[] {
  if (opcode === EXIT) return [];
  if (opcode === JUMP_ALWAYS) return [{ to: at + 1 + offset, isJump: true }];
  const isJump = ((opcode & CLASS) === JUMP || (opcode & CLASS) === JUMP32) && opcode !== CALL;
  const next = { to: at + (opcode === WIDE ? 2 : 1), isJump };
  return isJump ? [next, { to: at + 1 + offset, isJump }] : [next];
}

/**
 * Edges that lead back into a loop and are no jump: kernel 6.1 takes the program for endless by them (`check_cfg` of its verifier, in whose order the
 * instructions are gone through here).
 *
 * @returns Indexes of the instructions that they begin at.
 */
export function refusedBackEdges({ instructions }: BpfFunction): number[] {
  const refused: number[] = [];
  const state = new Map<number, 'entered' | 'left'>([[0, 'entered']]);
  const path = [{ at: 0, left: edges(instructions[0]!, 0) }];
  for (let top = path.at(-1); top !== undefined; top = path.at(-1)) {
    const edge = top.left.shift();
    if (edge === undefined) {
      state.set(top.at, 'left');
      path.pop();
    } else if (!state.has(edge.to)) {
      state.set(edge.to, 'entered');
      path.push({ at: edge.to, left: edges(instructions[edge.to]!, edge.to) });
    } else if (state.get(edge.to) === 'entered' && !edge.isJump) refused.push(top.at);
  }
  return refused;
}
