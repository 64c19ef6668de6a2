// The L2 norm of an array, as parts for src/backends/webgpu/norms.ts to sum up: no rule of an optimizer, and on the GPU
// only. The CPU has src/backends/cpu/sums.ts. Each invocation takes every n-th element, and gives the bits of the largest one and
// the sum of the squares relative to it, so that no square leaves the range of f32.

struct Part {
  largest: u32,
  squares: f32,
}

@group(0) @binding(0) var<storage, read_write> values: array<u32>;
@group(0) @binding(1) var<storage, read_write> parts: array<Part>;

const MAGNITUDE = 0x7fffffffu;
const SMALLEST_NORMAL = 0x00800000u;

// A number relative to the largest one, both by their bits. Those of subnormal numbers, which a GPU may take for zero,
// are multiples of the smallest one.
fn relative(value: u32, largest: u32) -> f32 {
  if (largest < SMALLEST_NORMAL) { return f32(value) / f32(largest); }
  return bitcast<f32>(value) / bitcast<f32>(largest);
}

@compute @workgroup_size(WORKGROUP)
fn norm(@builtin(global_invocation_id) id: vec3u) {
  let n = arrayLength(&parts);
  if (id.x >= n) { return; }
  var largest = 0u;
  for (var i = id.x; i < arrayLength(&values); i += n) {
    largest = max(largest, values[i] & MAGNITUDE);
  }
  // Never divide by zero, an infinite number or NaN.
  var squares = 1.0;
  if (largest > 0u && largest < 0x7f800000u) {
    squares = 0.0;
    // A sum of sums of a few numbers: each rounds less often.
    var few = 0.0;
    var count = 0u;
    for (var i = id.x; i < arrayLength(&values); i += n) {
      let ratio = relative(values[i] & MAGNITUDE, largest);
      few += ratio * ratio;
      count += 1u;
      if (count % 64u == 0u) {
        squares += few;
        few = 0.0;
      }
    }
    squares += few;
  }
  parts[id.x] = Part(largest, squares);
}
