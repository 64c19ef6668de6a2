// The L2 norm of an array, as parts for src/backends/webgpu/norms.ts to sum up: no rule of an optimizer, and on the GPU
// only. The CPU has src/vectors.ts. Each invocation takes every n-th element, and gives the bits of the largest one and
// the sum of the squares relative to it, so that no square leaves the range of f32.

struct Part {
  largest: u32,
  squares: f32,
}

@group(0) @binding(0) var<storage, read_write> values: array<f32>;
@group(0) @binding(1) var<storage, read_write> parts: array<Part>;

const MAGNITUDE = 0x7fffffffu;
const SMALLEST_NORMAL = 0x00800000u;

@compute @workgroup_size(WORKGROUP)
fn norm(@builtin(global_invocation_id) id: vec3u) {
  let n = arrayLength(&parts);
  if (id.x >= n) { return; }
  var largest = 0u;
  for (var i = id.x; i < arrayLength(&values); i += n) {
    largest = max(largest, bitcast<u32>(values[i]) & MAGNITUDE);
  }
  // Never divide by an infinite, NaN or subnormal number: a GPU may take the last for zero.
  var squares = 1.0;
  if (largest >= SMALLEST_NORMAL && largest < 0x7f800000u) {
    squares = 0.0;
    for (var i = id.x; i < arrayLength(&values); i += n) {
      let relative = values[i] / bitcast<f32>(largest);
      squares += relative * relative;
    }
  }
  parts[id.x] = Part(largest, squares);
}
