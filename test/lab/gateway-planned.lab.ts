import { waitFor } from '@weft/testkit';
import { afterAll, afterEach, beforeAll, describe, it } from 'vitest';
import { GatewayLab, gatewayText, startConnections, untilPlaced } from './gateway-support.ts';
import { endLab } from './support.ts';

// Moves that somebody wants, under traffic. In a lab of its own: they count as moves, so those of failures would be damped after them.

let group: GatewayLab;
beforeAll(async () => {
  // g3 votes only, at first.
  group = await GatewayLab.start(['g1', 'g2', 'g3'], 'g3', ['g1', 'g2']);
});
afterAll(async () => {
  await group?.stop();
  await endLab(group?.lab);
});
afterEach(({ task }) => group.afterCase(task.result?.state === 'fail'));

describe('by plan', () => {
  it('two gateways become three, one is drained and taken back: no packet and no connection is lost', async () => {
    const { lab, watcher } = group;
    const shard = group.shardOf('coke');
    const connections = await startConnections(lab, 10);
    await group.window();
    await lab.weft(['apply', '-f', '-'], { input: gatewayText(['g1', 'g2', 'g3'], undefined) });
    await lab.weft(['gateway', 'move', 'edge', String(shard), '--to', 'g3']);
    await waitFor(() => watcher.owner(shard) === 'g3', {
      what: 'the new member to have the shard',
      deadlineMs: 60_000,
      show: () => group.story(),
    });
    await group.answered(100);
    await lab.weft(['gateway', 'drain', 'edge', 'g3']);
    await waitFor(() => !watcher.isOpen('g3', shard) && watcher.owner(shard) !== undefined, {
      what: 'the drained member to be rid of the shard',
      deadlineMs: 60_000,
      show: () => group.story(),
    });
    await group.answered(100);
    await lab.weft(['gateway', 'undrain', 'edge', 'g3']);
    await untilPlaced(lab, watcher);
    await connections.expectNoneBroken();
    await group.expectNothingLost();
  });
});
