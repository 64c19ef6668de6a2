// What limits.wgsl, decide.wgsl and prepare.wgsl share: the inputs of a step whose scalars only the GPU knows, and its
// state. src/backends/webgpu/deferred.ts writes the inputs.

struct Inputs {
  // Flags: 0 or 1.
  needs_norm: u32,
  needs_finite: u32,
  is_each_clipped: u32,
  normalizes: u32,
  has_scaler: u32,
  is_last: u32,
  has_grad_scale: u32,
  // The lengths of `tensors`, `runs` and `dispatches`.
  tensors: u32,
  runs: u32,
  dispatches: u32,
  max_norm: f32,
  max_value: f32,
  // The largest magnitude of the host's grad_scale.
  scale: f32,
}

struct TensorInput {
  // Its index in `sums`, `limits` and `state.tensors`.
  slot: u32,
  // The magnitude of the host's grad_scale, divided by the largest one.
  weight: f32,
}

struct TensorState {
  // The number of steps that it took part in and that were skipped.
  skipped: u32,
  // If each tensor is clipped on its own: the magnitude of grad_scale, and max_value.
  scale: f32,
  most: f32,
}

struct State {
  // The number of skipped steps, and whether the latest step is one of them.
  skipped: u32,
  is_skipped: u32,
  // The largest grad_scale, and max_value.
  scale: f32,
  most: f32,
  // The latest norm is factor*sqrt(squares)*2^(exponent - 127), or not finite if the bits of `largest` are not.
  factor: f32,
  squares: f32,
  exponent: i32,
  largest: u32,
  tensors: array<TensorState>,
}
