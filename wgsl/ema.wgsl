// Exponential moving average of a model's weights: param is the average, grad holds the model's weights.
// src/algorithms/ema.ts computes the scalar `weight`:
//
//   p = p + 2*weight*(grad/2 - p/2)       if weight > 0, else
//   p = grad + 2*weight*(grad/2 - p/2)
//
// grad - p may overflow f32, so the difference is computed from halves.

struct EmaScalars {
  weight: f32,
}

@group(0) @binding(0) var<uniform> by: EmaScalars;
@group(1) @binding(0) var<storage, read_write> param: array<Real>;
// Read only. It is read_write so that both arrays may be in one buffer.
@group(1) @binding(1) var<storage, read_write> grad: array<Real>;

@compute @workgroup_size(WORKGROUP)
fn ema(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) workgroups: vec3u) {
  let i = element(id, workgroups);
  if (i >= arrayLength(&param)) { return; }
  let p = param[i];
  let g = grad[i];
  param[i] = select(g, p, by.weight > 0.0) + 2.0 * by.weight * half_difference(p, g);
}
