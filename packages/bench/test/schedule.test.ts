import { describe, expect, it } from 'vitest';
import { nextAction, randomFrom, type SoakAction } from '../src/soak/schedule.ts';

const lab = { hosts: ['h1', 'h2', 'h3'], controllers: 2 };

function actions(seed: number, count: number): SoakAction[] {
  const random = randomFrom(seed);
  return Array.from({ length: count }, () => nextAction(random, lab).action);
}

describe('the soak run’s schedule', () => {
  it('is the same for the same seed, and another for another', () => {
    expect(actions(7, 50)).toEqual(actions(7, 50));
    expect(actions(7, 50)).not.toEqual(actions(8, 50));
  });

  it('does everything it knows, to every host and controller, and moves to another host only', () => {
    const all = actions(1, 2_000);
    expect(new Set(all.map((action) => action.kind))).toEqual(new Set(['agent', 'controller', 'nats', 'move']));
    expect(new Set(all.flatMap((action) => (action.kind === 'agent' ? [action.host] : [])))).toEqual(new Set(lab.hosts));
    expect(new Set(all.flatMap((action) => (action.kind === 'controller' ? [action.number] : [])))).toEqual(new Set([1, 2]));
    expect(new Set(all.flatMap((action) => (action.kind === 'move' ? [action.by] : [])))).toEqual(new Set([1, 2]));
  });

  it('draws numbers evenly from 0 up to, not including, 1', () => {
    const random = randomFrom(123);
    const numbers = Array.from({ length: 10_000 }, random);
    expect(Math.min(...numbers)).toBeGreaterThanOrEqual(0);
    expect(Math.max(...numbers)).toBeLessThan(1);
    const mean = numbers.reduce((sum, value) => sum + value, 0) / numbers.length;
    expect(mean).toBeGreaterThan(0.48);
    expect(mean).toBeLessThan(0.52);
  });
});
