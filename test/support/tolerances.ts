// Every bound of the tests, with its reason. A rounding is 2^-24: half the relative distance between neighboring f32.

export const ROUNDING = 2 ** -24;

/**
 * Error against the float64 trajectory of a reference, per case and step: at most twice the reference's own largest
 * float32 error, or 8 roundings of the tensor's largest value so far, whichever is more. The second bound is needed
 * because some references happen to be exact at a step, which another order of operations cannot match.
 */
export const GOLDEN = { ofReference: 2, roundings: 8 };

/** The same for state. Schedule-Free's z accumulates one rounding per step, and nothing reduces that error. */
export const GOLDEN_STATE = { ...GOLDEN, roundings: 16 };

/** Root mean square of our error over all golden cases, divided by that of the references. */
export const GOLDEN_RMS = 1;

/**
 * WebGPU against the reference, in roundings of the tensor's largest value. WGSL may contract a multiplication and an
 * addition, and division has an error of 2.5 ULP. So the update may differ by a few of its own ULP, which is small, and
 * the parameter by one rounding when the update is subtracted: 20 in 20 steps, 32 with a margin. SwiftShader does not
 * contract and divides exactly: measured, it gives the bits of WASM, so its bound is zero.
 */
export const webgpuRoundings = (adapter: string, steps: number): number =>
  /swiftshader/i.test(adapter) ? 0 : 32 * Math.ceil(steps / 20);

/**
 * Schedules against PyTorch, Optax and Hugging Face. PyTorch multiplies by a quotient at each step, so the roundings of
 * a hundred steps add up. Where 1 + cos is near 0, its value and ours cancel down to an ulp of 1.
 */
export const SCHEDULE = { relative: 1e-12, absolute: 2 ** -51 };

/**
 * 50 steps here and 50 in PyTorch, against 100 in PyTorch, in roundings of the tensor's largest value. In our 50 steps,
 * PyTorch would multiply the parameter by 1 - lr*weight_decay, a factor that is rounded to f32 with an error of up to
 * half a rounding, in the same direction at every step; rounding the parameter adds up to another half per step. That
 * is 50 roundings, 64 with a margin. A miscounted step makes thousands. test/record/torch.json has the measurements.
 */
export const TORCH_ROUNDINGS = 64;

/**
 * Our norm of gradients against that of PyTorch in f32, in roundings. PyTorch sums the squares of each tensor in f32, 35
 * at most, and then those of the norms: about six additions one after another in a vector, and two roots.
 */
export const TORCH_NORM_ROUNDINGS = 8;

/**
 * Bias corrections in WGSL against the exact ones, in ULP of f32. They are computed with 32 binary digits, then rounded
 * to 24: half an ULP. The digits of a root and of a divisor each lack at most 2^-31 of the value, together 2^-6 ULP.
 */
export const CORRECTION_ULPS = 0.5 + 2 ** -6;

/**
 * Sums of squares on the GPU against f64, relative. Numbers are added in blocks, so each passes through about 50
 * additions, which round by a quarter of a rounding on average, and rarely all in the same direction. Measured for 1e7
 * numbers: at most 4 roundings. The norm has half the error, which must be below 1e-6 (17 roundings).
 */
export const SQUARES = 8 * ROUNDING;

/**
 * A step that the GPU may skip against one that it may not, per step, in roundings of the tensor's largest value. The
 * GPU computes its bias corrections, within an ULP, so the update may differ by its own ULP, and the parameter by one
 * rounding when the update is subtracted.
 */
export const SKIPPABLE_ROUNDINGS = 1;

/**
 * Parameters and slots after steps that the GPU scales and clips, against the CPU, in roundings of the largest value of
 * the tensor. A norm is off by at most 4 roundings (half of SQUARES), its quotient by 5 (2.5 ULP), and the products that
 * make grad_scale of it by 1 each: 16 together for a gradient. Second moments are squares: 32, and twice that with a
 * margin. A parameter changes by at most a few times lr, a small part of it, so that its own rounding at each step, by
 * half an ULP, is the most: 20 in 20 steps.
 */
export const CLIPPED = 64;

/**
 * One step from given moments with bias corrections of the GPU, against f64, in roundings of the update. The first
 * moment, the second (half of it, after the root), the scalar and its correction: 2 each; the root: 4; the sum with eps
 * and the product: 2; the division: 5 (2.5 ULP). A parameter of 0 rounds nothing.
 */
export const ONE_UPDATE = 20;
