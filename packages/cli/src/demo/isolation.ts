import type { Lab } from '@weft/lab';
import { type Capture, sendUdp, startCapture } from '@weft/testkit';
import type { StepOutcome, Story } from './story.ts';
import { type Tenant, tenants, vmName, vms } from './topology.ts';

const DATAGRAMS = 20;

/** What each VM saw of each tenant's mark. */
export interface Seen {
  readonly own: number;
  readonly foreign: number;
  readonly missed: number;
}

/**
 * Every VM sends datagrams that carry its tenant's mark to every address of the plan, which the other tenant has as well; every VM's NIC counts frames that
 * carry either mark. Own marks must have arrived everywhere, foreign ones nowhere.
 */
export async function proveIsolation(lab: Lab, story: Story): Promise<StepOutcome> {
  const marks: Record<Tenant, string> = { coke: `weft-mark-coke-${lab.name}`, pepsi: `weft-mark-pepsi-${lab.name}` };
  const captures = new Map<string, Capture<Tenant>>();
  await Promise.all(
    [...lab.vms.values()].map(async (vm) => {
      const capture = await startCapture({
        netns: vm.netns.netns,
        device: 'eth0',
        direction: 'in',
        needles: marks,
        registry: lab.net.registry,
      });
      captures.set(vm.name, capture);
    }),
  );
  story.say(
    `each of ${captures.size} VMs sends ${DATAGRAMS} marked datagrams to each address of the plan; a capture at every NIC counts marks`,
  );
  for (const tenant of tenants) {
    await Promise.all(
      vms.map(async (from) => {
        const worker = await lab.vm(vmName(tenant, from.letter)).worker();
        for (const to of vms) {
          if (to.letter !== from.letter) await sendUdp(worker, { host: to.address, port: 9, payload: marks[tenant], count: DATAGRAMS });
        }
      }),
    );
  }
  let own = 0;
  let foreign = 0;
  let missed = 0;
  let silent = 0;
  for (const [name, capture] of captures) {
    const tenant: Tenant = name.startsWith('coke') ? 'coke' : 'pepsi';
    const result = await capture.stop();
    own += result.matches[tenant];
    foreign += result.matches[tenant === 'coke' ? 'pepsi' : 'coke'];
    missed += result.missed;
    if (result.matches[tenant] < DATAGRAMS * (vms.length - 1)) silent++;
  }
  const sent = tenants.length * vms.length * (vms.length - 1) * DATAGRAMS;
  return {
    // What nobody listens to is answered by ICMP errors that quote the mark, so more is seen than was sent.
    ok: foreign === 0 && missed === 0 && silent === 0 && own >= sent,
    line: `${sent} marked frames sent: all seen at their own tenant's VMs (${own} with the ICMP errors that quote them), ${foreign} at the other's`,
    figures: { sent, own, foreign, missed },
  };
}
