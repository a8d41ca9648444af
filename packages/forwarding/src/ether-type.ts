import { DropReason } from '@weft/model';
import { isVlanType } from '@weft/packet';

/** Smaller values of the type field are 802.3 lengths. */
const TYPE_MIN = 0x0600;

/** Refuses tags, be they in the frame or taken off into metadata, and 802.3 frames. */
export function checkEtherType(type: number, tagged: boolean): DropReason {
  if (tagged || isVlanType(type)) return DropReason.VLAN_TAG_NOT_ALLOWED;
  return type < TYPE_MIN ? DropReason.LLC_NOT_ALLOWED : DropReason.NONE;
}
