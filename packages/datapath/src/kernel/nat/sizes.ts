/** All slots of 16, and of 256 networks and external addresses. The map takes its memory at once. */
const FRAGMENTS_MIN = 4_096;
const FRAGMENTS_MAX = 65_536;
const EVENT_BYTES_MIN = 1 << 20;
const EVENT_BYTES_MAX = 1 << 23;

/** Sizes of the maps for so many sessions. A holder has at least one block, and most mappings share one. */
export function natMapSizes(sessions: number): Record<string, number> {
  const part = Math.max(1024, sessions >> 2);
  const wanted = 2 ** Math.ceil(Math.log2(Math.max(1, sessions * 16)));
  return {
    map_nat_mapping: sessions,
    map_nat_session: sessions,
    map_nat_reverse: part,
    map_nat_block: part,
    map_nat_source: part,
    map_nat_queue: sessions + part,
    map_nat_fragment_slot: Math.min(FRAGMENTS_MAX, Math.max(FRAGMENTS_MIN, part)),
    map_nat_events: Math.min(EVENT_BYTES_MAX, Math.max(EVENT_BYTES_MIN, wanted)),
  };
}
