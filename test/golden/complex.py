"""Writes the golden cases of complex parameters: PyTorch over complex64 and complex128, as interleaved pairs.

Run in this folder with torch. torch 2.13.0 wrote the committed files.
"""

import json
import struct

import torch

STEPS, RECORD = 40, [1, 2, 3, 10, 40]
SHAPES = {'layer.weight': [3, 7], 'scale': [1]}
CASES = [
    ('adam-complex', torch.optim.Adam, {'lr': 1e-2}),
    ('adam-complex-amsgrad-l2', torch.optim.Adam, {'lr': 1e-2, 'amsgrad': True, 'weight_decay': 0.05}),
    ('adamw-complex', torch.optim.AdamW, {'lr': 1e-2, 'weight_decay': 0.1}),
]


def trajectory(create, options, init, grads, dtype):
    params = {name: torch.nn.Parameter(values.to(dtype, copy=True)) for name, values in init.items()}
    optimizer = create(params.values(), foreach=False, **options)
    recorded = {}
    for t, step in enumerate(grads, start=1):
        for name, param in params.items():
            param.grad = step[name].to(dtype)
        optimizer.step()
        if t in RECORD:
            recorded |= {f'{t}/{name}': param.detach().clone() for name, param in params.items()}
    return recorded


def save(path, metadata, tensors):
    """Writes a safetensors file without that package. Complex numbers become pairs, as in torch.view_as_real."""
    header, data = {'__metadata__': metadata}, b''
    for name, tensor in tensors.items():
        pairs = torch.view_as_real(tensor).contiguous()
        values = pairs.flatten().tolist()
        code = {torch.float32: 'f', torch.float64: 'd'}[pairs.dtype]
        packed = struct.pack(f'<{len(values)}{code}', *values)
        dtype = {'f': 'F32', 'd': 'F64'}[code]
        header[name] = {'dtype': dtype, 'shape': list(pairs.shape), 'data_offsets': [len(data), len(data) + len(packed)]}
        data += packed
    text = json.dumps(header).encode()
    with open(path, 'wb') as file:
        file.write(struct.pack('<Q', len(text)) + text + data)


for seed, (name, create, options) in enumerate(CASES):
    torch.manual_seed(seed)
    draw = lambda: {key: torch.randn(shape, dtype=torch.complex64) for key, shape in SHAPES.items()}
    init, grads = draw(), [draw() for _ in range(STEPS)]
    tensors = {f'init/{key}': values for key, values in init.items()}
    for t, step in enumerate(grads, start=1):
        tensors |= {f'grad/{t}/{key}': values for key, values in step.items()}
    for prefix, dtype in [('param', torch.complex64), ('param64', torch.complex128)]:
        run = trajectory(create, options, init, grads, dtype)
        tensors |= {f'{prefix}/{key}': values for key, values in run.items()}
    words = {'lr': 'lr', 'amsgrad': 'amsgrad', 'weight_decay': 'weightDecay'}
    case = {
        'name': name,
        'algorithm': create.__name__.lower(),
        'options': {words[key]: value for key, value in options.items()},
        'reference': f'torch.optim.{create.__name__}({", ".join(f"{k}={v}" for k, v in options.items())}), complex',
        'versions': {'torch': torch.__version__},
        'tensors': SHAPES,
        'gradients': 'normal, complex',
        'steps': STEPS,
        'record': RECORD,
        'events': {},
        'groups': None,
    }
    save(f'{name}.safetensors', {'case': json.dumps(case)}, tensors)
