"""Writes averages.json: averages by torch.optim.swa_utils of the weights of an AdamW run.

Run in this folder with torch, and redirect the output to averages.json. torch 2.13.0 wrote the committed file.
"""

import json

import torch
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn, get_swa_multi_avg_fn

STEPS, LENGTH = 30, 9

torch.manual_seed(0)
model = torch.nn.Module()
model.w = torch.nn.Parameter(torch.randn(LENGTH))
init = model.w.tolist()
grads = torch.randn(STEPS, LENGTH)
averages = {
    'ema': AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(0.9)),
    'swa': AveragedModel(model, multi_avg_fn=get_swa_multi_avg_fn()),
}
optimizer = torch.optim.AdamW(model.parameters(), lr=0.1)
recorded = {'ema': [], 'swa': [], 'weights': []}
for grad in grads:
    model.w.grad = grad
    optimizer.step()
    recorded['weights'].append(model.w.tolist())
    for name, average in averages.items():
        average.update_parameters(model)
        recorded[name].append(average.module.w.tolist())

print(json.dumps({'source': f'torch {torch.__version__}', 'init': init, 'grads': grads.tolist(), **recorded}))
