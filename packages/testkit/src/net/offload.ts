import { run } from '../core/run.ts';

/**
 * How the underlay of a lab treats large frames.
 *
 * - `veth`: GSO frames cross whole, tunnelled or not: the most that one machine can do, and more than a network card would.
 * - `wire`: the sender cuts them into frames that fit the MTU, the receiver puts them together again (GRO), as with a plain network card
 *   that knows nothing of tunnels. TCP and UDP segmentation of the card are off as well: a veth that had it on would hand them over whole.
 */
export type OffloadMode = 'veth' | 'wire';

const SEGMENTATION = [
  'tx-tcp-segmentation',
  'tx-tcp-ecn-segmentation',
  'tx-tcp-mangleid-segmentation',
  'tx-tcp6-segmentation',
  'tx-udp-segmentation',
  'tx-udp_tnl-segmentation',
  'tx-udp_tnl-csum-segmentation',
  'tx-gre-segmentation',
  'tx-gre-csum-segmentation',
  'tx-ipxip4-segmentation',
  'tx-ipxip6-segmentation',
];

/**
 * Sets the offloads of an underlay device (a veth) for a mode. GRO is on in `wire` mode only: a veth that carries whole frames has nothing
 * to put together, and its GRO would add a NAPI pass that `veth` mode is meant to go without.
 */
export async function setOffloads(netns: string | undefined, device: string, mode: OffloadMode): Promise<void> {
  const segmentation = mode === 'wire' ? 'off' : 'on';
  await run(
    'ethtool',
    ['-K', device, ...SEGMENTATION.flatMap((feature) => [feature, segmentation]), 'gro', mode === 'wire' ? 'on' : 'off'],
    {
      netns,
    },
  );
}

/** The offloads of a device by ethtool's name, true where on. */
export async function readOffloads(netns: string | undefined, device: string): Promise<Map<string, boolean>> {
  const { stdout } = await run('ethtool', ['-k', device], { netns });
  const features = new Map<string, boolean>();
  for (const line of stdout.split('\n')) {
    const match = /^\s*([a-z0-9_-]+): (on|off)/.exec(line);
    if (match !== null) features.set(match[1]!, match[2] === 'on');
  }
  return features;
}
