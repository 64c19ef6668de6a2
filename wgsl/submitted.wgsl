// Counts the recorded calls that were submitted, for src/backends/webgpu/submissions.ts. It is not an optimizer rule.

// 1 if the state was replaced after the call was recorded, else 0.
@group(0) @binding(0) var<storage, read_write> is_replaced: u32;
// The calls that ran since the state was replaced: those recorded since then, and those recorded before.
@group(0) @binding(1) var<storage, read_write> counts: array<u32, 2>;

@compute @workgroup_size(1)
fn submitted() {
  counts[is_replaced] += 1u;
}
