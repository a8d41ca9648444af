/** Meanings, not colours: what the text is to the reader. */
export type Tone = 'plain' | 'good' | 'bad' | 'warn' | 'dim' | 'strong';

const codes: Record<Exclude<Tone, 'plain'>, string> = { good: '32', bad: '31', warn: '33', dim: '2', strong: '1' };

/** Wraps text in the escape codes of its tone, when colour is on. */
export function paint(text: string, tone: Tone, color: boolean): string {
  return !color || tone === 'plain' || text === '' ? text : `\u001b[${codes[tone]}m${text}\u001b[0m`;
}
