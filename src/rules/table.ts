// The descriptions of all rules. Memory addresses, kernel arguments, bind groups, and the tests of kernels and names
// are derived from them.

import { append, rule } from './rule.js';

const adamScalars = [
  'grad_scale',
  'max_value',
  'l2',
  'grad_weight',
  'square_weight',
  'step_size',
  'eps',
  'decay',
  'flush_below',
] as const;

export const adam = /* @__PURE__ */ rule({
  name: 'adam',
  scalars: adamScalars,
  slots: ['exp_avg', 'exp_avg_sq'],
  squares: ['exp_avg_sq'],
});

export const adam_amsgrad = /* @__PURE__ */ rule({
  name: 'adam_amsgrad',
  scalars: adamScalars,
  slots: ['exp_avg', 'exp_avg_sq', 'max_exp_avg_sq'],
  squares: ['exp_avg_sq', 'max_exp_avg_sq'],
});

export const ema = /* @__PURE__ */ rule({
  name: 'ema',
  scalars: ['weight'],
  slots: [],
});

export const extrapolate = /* @__PURE__ */ rule({
  name: 'extrapolate',
  scalars: ['weight'],
  slots: ['z'],
  takesGrad: false,
});

export const nadam = /* @__PURE__ */ rule({
  name: 'nadam',
  scalars: [
    'grad_scale',
    'max_value',
    'l2',
    'grad_weight',
    'square_weight',
    'step_size',
    'grad_step',
    'root_scale',
    'eps_root',
    'eps',
    'decay',
    'flush_below',
  ],
  slots: ['exp_avg', 'exp_avg_sq'],
  squares: ['exp_avg_sq'],
});

const scheduleFreeScalars = [
  'grad_scale',
  'max_value',
  'square_weight',
  'z_from_y',
  'root_scale',
  'eps',
  'decay',
  'z_decay',
  'average_weight',
  'y_step',
  'z_step',
] as const;

export const schedulefree_adamw = /* @__PURE__ */ rule({
  name: 'schedulefree_adamw',
  scalars: scheduleFreeScalars,
  slots: ['z', 'exp_avg_sq'],
  squares: ['exp_avg_sq'],
  fromParam: ['z'],
});

export const schedulefree_adamw_inner = /* @__PURE__ */ rule({
  name: 'schedulefree_adamw_inner',
  scalars: /* @__PURE__ */ append(/* @__PURE__ */ append(scheduleFreeScalars, 'grad_weight'), 'flush_below'),
  slots: ['z', 'exp_avg_sq', 'exp_avg'],
  squares: ['exp_avg_sq'],
  fromParam: ['z'],
});

export const schedulefree_sgd = /* @__PURE__ */ rule({
  name: 'schedulefree_sgd',
  scalars: ['grad_scale', 'max_value', 'z_from_y', 'decay', 'z_decay', 'average_weight', 'y_step', 'z_step'],
  slots: ['z'],
  fromParam: ['z'],
});
