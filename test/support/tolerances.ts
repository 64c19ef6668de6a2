// Every bound of the tests, each with its reason. A rounding is 2^-24: half the distance of an f32 to the next, relative.

export const ROUNDING = 2 ** -24;

/**
 * Against the float64 trajectory of a reference, per case and step: at most twice the reference's own largest float32
 * error, or 8 roundings of the tensor's largest value so far, whichever is more. Some references happen to be
 * exact at a step, which no other order of operations can be, so the second bound is needed.
 */
export const GOLDEN = { ofReference: 2, roundings: 8 };

/** The same for what is remembered: Schedule-Free's z adds up one rounding a step, with nothing to draw it back. */
export const GOLDEN_STATE = { ...GOLDEN, roundings: 16 };

/** Over all golden cases together, the root mean square of our error, as a part of the reference's. */
export const GOLDEN_RMS = 1;

/**
 * WebGPU against the reference, in roundings of the tensor's largest value. WGSL may contract a multiplication and an
 * addition, and divides to 2.5 ULP: the step may differ by some ULP of its own, which is small, and the parameter by one
 * rounding when the step is subtracted. 20 steps make 20 of these, and 32 with a margin. SwiftShader contracts nothing
 * and divides exactly: it was measured to give the very bits of WASM, so there the bound is zero.
 */
export const webgpuRoundings = (adapter: string, steps: number): number =>
  /swiftshader/i.test(adapter) ? 0 : 32 * Math.ceil(steps / 20);

/**
 * Schedules against those of PyTorch, Optax and Hugging Face. PyTorch goes from step to step by a quotient, so that a
 * hundred steps of rounding add up, and where 1 + cos nears 0 it, and ours, cancel all but what is left of an ulp of 1.
 */
export const SCHEDULE = { relative: 1e-12, absolute: 2 ** -51 };

/**
 * Half of 100 steps here and half in PyTorch, against all of them in PyTorch, in roundings of the tensor's largest value.
 * In the 50 steps that differ, PyTorch takes 1 - lr*weight_decay times the parameter, and this factor, rounded to f32,
 * is off by up to half a rounding, to the same side at every step; the parameter is rounded by half a one in each. That
 * is 50 roundings, and 64 with a margin. A step miscounted is thousands: test/record/torch.json has what was measured.
 */
export const TORCH_ROUNDINGS = 64;
