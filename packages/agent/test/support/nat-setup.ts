import { type NatState, natFreeRow } from '@weft/forwarding';
import { type NatControlInit, NatSetupControl } from '../../src/gateway/nat-control.ts';

/** Port mapping's set-up over a state in memory, whose rings are resized as the packet path does it. */
export function memoryNatSetup(
  store: NatState,
  init: Pick<NatControlInit, 'isServed' | 'shareSessions'> & Partial<Pick<NatControlInit, 'runSweep' | 'slices'>>,
): NatSetupControl {
  return new NatSetupControl({
    runSweep: () => 0,
    ...init,
    store,
    sessionsMax: () => 1_000,
    resize: (at, own) =>
      store.set(
        'free',
        at,
        natFreeRow({
          own,
          known: store.get('free', at)!.blocks,
          isHeld: (block) => store.get('block', { ...at, block }) !== undefined,
          freeAtS: 0,
        }),
      ),
  });
}
