/** The small programs that the tests compile. */

const head = `#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
char _license[] SEC("license") = "GPL";
`;

/** Two programs that return and mark by configuration, and maps of several types. */
export const configured: string = `${head}
struct key { __u32 network; __u16 port; __u16 pad; };
struct value {
  __u64 counter;
  __u32 low : 4;
  __u32 high : 28;
  union { __u32 v4; __u8 bytes[16]; } address;
  struct { __u8 first; __u8 second; };
};
struct { __uint(type, BPF_MAP_TYPE_HASH); __uint(max_entries, 1000); __type(key, struct key); __type(value, struct value); } table SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_ARRAY); __uint(max_entries, 8); __type(key, __u32); __type(value, __u64); } counters SEC(".maps");
const volatile __u32 answer = 7;
const volatile __u16 port = 1;
const volatile __u8 flag = 0;
const volatile __u64 wide = 0;
const volatile __u8 address[16];
__u32 runs = 0;

SEC("tc") int first(struct __sk_buff *skb) {
  __u32 zero = 0;
  __u64 *counter = bpf_map_lookup_elem(&counters, &zero);
  if (counter) __sync_fetch_and_add(counter, 1);
  runs++;
  skb->cb[0] = port;
  skb->cb[1] = flag;
  skb->cb[2] = address[15];
  skb->cb[3] = wide >> 32;
  return answer;
}
SEC("tc") int second(struct __sk_buff *skb) {
  struct key key = {};
  struct value *value = bpf_map_lookup_elem(&table, &key);
  return value ? (int)value->counter : -1;
}
`;

/** Copies the context's fields to where the caller sees them, and changes the frame's first byte. */
export const context: string = `${head}
SEC("tc") int echo(struct __sk_buff *skb) {
  __u8 byte = 0xaa;
  bpf_skb_store_bytes(skb, 0, &byte, 1, 0);
  skb->cb[0] = skb->ifindex;
  skb->cb[1] = skb->ingress_ifindex;
  skb->cb[2] = skb->gso_size;
  skb->cb[3] = skb->gso_segs;
  skb->cb[4] += 1;
  skb->mark += 1;
  return skb->priority;
}
SEC("tc") int grow(struct __sk_buff *skb) { return bpf_skb_change_tail(skb, skb->len + 100, 0); }
SEC("xdp") int pass(struct xdp_md *ctx) { return XDP_PASS; }
`;

/** Each run reports mark and length by the ring buffer. */
export const reporting: string = `${head}
struct { __uint(type, BPF_MAP_TYPE_RINGBUF); __uint(max_entries, 65536); } ring SEC(".maps");
SEC("tc") int report(struct __sk_buff *skb) {
  __u32 *record = bpf_ringbuf_reserve(&ring, 12, 0);
  if (!record) return 1;
  record[0] = skb->mark;
  record[1] = skb->len;
  record[2] = 0xfeedface;
  bpf_ringbuf_submit(record, 0);
  return 0;
}
`;

/** Reads a frame without looking at its end, which the verifier refuses. */
export const unsafe: string = `${head}
SEC("tc") int peek(struct __sk_buff *skb) { return *(__u8 *)(long)skb->data; }
SEC("tc") int fine(struct __sk_buff *skb) { return 0; }
`;
