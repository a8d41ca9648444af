import { type NatEventBatch, NatEventList } from '@weft/forwarding';
import { describe, expect, it } from 'vitest';
import { NatFeed } from '../src/gateway/nat-feed.ts';

function source() {
  const state = { readers: 0, lost: 0n, tell: (_batch: NatEventBatch): void => {} };
  return {
    state,
    watchNat: (onEvents: (batch: NatEventBatch) => void) => {
      state.readers++;
      state.tell = onEvents;
      return () => {
        state.readers--;
      };
    },
    natEventsLost: () => state.lost,
  };
}

describe('NatFeed', () => {
  it('reads the ring once for all listeners, and not without one', () => {
    const from = source();
    const feed = new NatFeed(from);
    expect(from.state.readers).toBe(0);
    const heard: string[] = [];
    const listener = (name: string) => ({ onEvents: () => heard.push(name), onLost: () => heard.push(`${name} lost`) });
    const endA = feed.listen(listener('a'));
    const endB = feed.listen(listener('b'));
    expect(from.state.readers).toBe(1);
    from.state.tell(new NatEventList([]));
    expect(heard).toEqual(['a', 'b']);
    endA();
    endA();
    expect(from.state.readers).toBe(1);
    endB();
    expect(from.state.readers).toBe(0);
  });

  it('tells of a loss once, and not of what was lost before anyone listened', () => {
    const from = source();
    from.state.lost = 7n;
    const feed = new NatFeed(from);
    let losses = 0;
    feed.poll();
    feed.listen({ onEvents: () => {}, onLost: () => losses++ });
    feed.poll();
    expect(losses).toBe(0);
    from.state.lost = 9n;
    feed.poll();
    feed.poll();
    expect(losses).toBe(1);
  });
});
