"""PyTorch's GradScaler for test/torch.test.ts.

    python scaler.py FILE

FILE is a list of cases in JSON. Prints, for each, the state dict of a GradScaler after each of its rounds: in a round
each optimizer steps once, with an overflow or without. A case may begin from a state dict.
"""

import json
import pathlib
import sys

import torch


def run(case):
    scaler = torch.amp.GradScaler('cpu', **case['options'])
    if case.get('state'):
        scaler.load_state_dict(case['state'])
    tensors = [torch.nn.Parameter(torch.ones(2)) for _ in case['rounds'][0]]
    optimizers = [torch.optim.SGD([tensor], lr=0.0) for tensor in tensors]
    states = []
    for found in case['rounds']:
        scale = scaler.scale(torch.ones(()))
        for tensor, optimizer, is_infinite in zip(tensors, optimizers, found):
            tensor.grad = torch.stack([torch.full((), torch.inf) if is_infinite else scale, scale])
            scaler.step(optimizer)
        scaler.update()
        states.append(scaler.state_dict())
    return states


print(json.dumps([run(case) for case in json.loads(pathlib.Path(sys.argv[1]).read_text())]))
