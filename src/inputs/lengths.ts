// The key of an internal property of optimizers.

/** The key of the lengths of an optimizer's tensors. Registered: `twinstep/checkpoint` may be bundled separately. */
export const LENGTHS: unique symbol = /* @__PURE__ */ Symbol.for('twinstep.lengths');
