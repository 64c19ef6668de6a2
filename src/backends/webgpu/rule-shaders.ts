// The WGSL files of all rules, by name.

import adam from '../../../wgsl/adam.wgsl';
import adam_amsgrad from '../../../wgsl/adam_amsgrad.wgsl';
import ema from '../../../wgsl/ema.wgsl';
import extrapolate from '../../../wgsl/extrapolate.wgsl';
import nadam from '../../../wgsl/nadam.wgsl';
import schedulefree_adamw from '../../../wgsl/schedulefree_adamw.wgsl';
import schedulefree_adamw_inner from '../../../wgsl/schedulefree_adamw_inner.wgsl';
import schedulefree_sgd from '../../../wgsl/schedulefree_sgd.wgsl';

export const ruleShaders: Readonly<Record<string, string>> = {
  adam,
  adam_amsgrad,
  ema,
  extrapolate,
  nadam,
  schedulefree_adamw,
  schedulefree_adamw_inner,
  schedulefree_sgd,
};
