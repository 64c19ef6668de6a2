// Completes the scalars of each run of a step, and the number of workgroups of each dispatch: none if the step is
// skipped.

struct Run {
  // The slot of one of its tensors; all have taken the same steps.
  slot: u32,
  // Its steps before this one, with skipped ones.
  steps: u32,
  // Where beta1 and beta2 begin in `powers`.
  first1: u32,
  first2: u32,
  // Whether its gradients are scaled and clipped already.
  @size(16) is_clipped: u32,
  // The host's scalars, first grad_scale divided by the largest one, then max_value, and the correction of each
  // (corrections.wgsl).
  scalars: array<f32, 16>,
  corrections: array<u32, 16>,
}

@group(0) @binding(0) var<storage, read> inputs: Inputs;
@group(0) @binding(1) var<storage, read> runs: array<Run>;
@group(0) @binding(2) var<storage, read> dispatches: array<vec2u>;
@group(0) @binding(3) var<storage, read> powers: array<vec2u>;
@group(0) @binding(4) var<storage, read> state: State;
// Blocks of 256 bytes, which uniform bindings begin at.
@group(0) @binding(5) var<storage, read_write> scalars: array<array<f32, 64>>;
@group(0) @binding(6) var<storage, read_write> counts: array<u32>;

@compute @workgroup_size(WORKGROUP)
fn prepare(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) workgroups: vec3u) {
  let i = element(id, workgroups);
  let is_skipped = state.is_skipped != 0u;
  if (i < inputs.dispatches) {
    let count = select(dispatches[i], vec2u(), is_skipped);
    counts[3u * i] = count.x;
    counts[3u * i + 1u] = count.y;
    counts[3u * i + 2u] = 1u;
  }
  if (i >= inputs.runs || is_skipped) { return; }
  var run = runs[i];
  let slot = run.slot;
  let t = run.steps + 1u - state.tensors[slot].skipped;
  for (var k = 2u; k < 16u; k += 1u) {
    let form = run.corrections[k];
    var scalar = run.scalars[k] * factor(form, t, run.first1, run.first2);
    // eps is never 0: see denominator() in src/algorithms/algorithm.ts.
    if (form == 2u) { scalar = max(scalar, 0x1p-126f); }
    scalars[i][k] = scalar;
  }
  if (run.is_clipped != 0u) {
    scalars[i][0] = sign(run.scalars[0]);
    scalars[i][1] = 0.0;
    return;
  }
  if (inputs.is_each_clipped != 0u) {
    scalars[i][0] = sign(run.scalars[0]) * state.tensors[slot].scale;
    scalars[i][1] = state.tensors[slot].most;
    return;
  }
  let scale = run.scalars[0] * state.scale;
  // A clamp makes an infinity finite, but 0 times infinity is NaN.
  let is_lost = state.most > 0.0 && abs(scale) < 0x1p-126f;
  let least = sign(run.scalars[0]) * select(0x1p-126f, -0x1p-126f, state.scale < 0.0);
  scalars[i][0] = select(scale, least, is_lost);
  scalars[i][1] = state.most;
}
