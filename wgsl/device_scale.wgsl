// The factor of gradients that only the GPU knows: of the scaler, and of a buffer.
fn scale_on_device() -> f32 {
  var scale = 1.0;
  if (inputs.has_scaler != 0u) { scale = unscale(); }
  if (inputs.has_grad_scale != 0u) { scale *= grad_scale[0]; }
  return scale;
}
