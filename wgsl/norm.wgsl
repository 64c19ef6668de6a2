// Partial sums of an array's L2 norm, which src/backends/webgpu/norms.ts adds. It is not an optimizer rule;
// src/backends/cpu/sums.ts does the same on the CPU. Each of n invocations reads every n-th element, and writes the
// bits of the largest magnitude and the sum of squares relative to it, so that no square overflows or underflows.

struct Part {
  largest: u32,
  squares: f32,
}

@group(0) @binding(0) var<storage, read_write> values: array<u32>;
@group(0) @binding(1) var<storage, read_write> parts: array<Part>;

const MAGNITUDE = 0x7fffffffu;
const SMALLEST_NORMAL = 0x00800000u;

// A number relative to the largest one; both are passed as bits. A GPU may flush subnormal numbers to zero, but their
// bits are multiples of the smallest one, so those are divided as integers.
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
  // Do not divide by zero, infinity or NaN.
  var squares = 1.0;
  if (largest > 0u && largest < 0x7f800000u) {
    squares = 0.0;
    // Sum in blocks of 64: less rounding error.
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
