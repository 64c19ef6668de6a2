"""Turns a checkpoint of twinstep into PyTorch's files, and back.

    python tools/torch_checkpoint.py to-torch IN.safetensors OUT.pt [--by-name]
    python tools/torch_checkpoint.py from-torch IN.pt OUT.safetensors [--algorithm adamw]

OUT.pt is what torch.save({'model': model.state_dict(), 'optimizer': optimizer.state_dict()}, ...) writes; the optimizer
is torch.optim's Adam, AdamW, NAdam or RAdam, or one of the package schedulefree. With --by-name its dict has names for
indices, as torch.distributed.checkpoint.state_dict.set_optimizer_state_dict wants it for a sharded model. What has no equivalent on the other
side is refused with a sentence that names it. Schedules and decay masks are code, and in neither file.
"""

import argparse
import ctypes
import json
import math
import struct
import sys

import torch

ADAM = {'lr', 'betas', 'eps', 'weight_decay', 'amsgrad', 'maximize', 'decoupled_weight_decay'}
RADAM = {'lr', 'betas', 'eps', 'weight_decay', 'maximize', 'decoupled_weight_decay'}
SCHEDULE_FREE = {'lr', 'weight_decay', 'r', 'weight_lr_power', 'k', 'weight_sum', 'lr_max', 'scheduled_lr', 'train_mode'}

# What both sides have of a group, by algorithm.
OPTIONS = {
    'adam': ADAM,
    'adamw': ADAM,
    'nadam': RADAM | {'momentum_decay'},
    'radam': RADAM,
    'adamwScheduleFree': SCHEDULE_FREE | {'betas', 'eps', 'warmup_steps', 'inner_momentum'},
    'radamScheduleFree': SCHEDULE_FREE | {'betas', 'eps', 'silent_sgd_phase'},
    'sgdScheduleFree': SCHEDULE_FREE | {'momentum', 'warmup_steps'},
}

# Ours alone, and the value at which it says what PyTorch does anyway.
NEUTRAL_ADAM = {'grad_scale': 1, 'couple': True, 'eps_hat': False, 'nesterov': False, 'eps_root': 0}
NEUTRAL_SCHEDULE_FREE = {'grad_scale': 1, 'maximize': False, 'decay_at': 'y'}
NEUTRAL = {
    'adam': NEUTRAL_ADAM,
    'adamw': NEUTRAL_ADAM,
    'nadam': {'grad_scale': 1},
    'radam': {'grad_scale': 1},
    'adamwScheduleFree': NEUTRAL_SCHEDULE_FREE,
    'radamScheduleFree': NEUTRAL_SCHEDULE_FREE,
    'sgdScheduleFree': NEUTRAL_SCHEDULE_FREE,
}

# Ours alone, and in PyTorch a matter of the model, or of the scheduler's own state dict.
ELSEWHERE = {'frozen': [], 'schedule': None}

# PyTorch's alone: how it computes, and not what. A scheduler's initial_lr is given anew with the scheduler.
MACHINE = {'foreach', 'fused', 'capturable', 'differentiable', 'initial_lr'}
TORCH_DEFAULTS = {'foreach': None, 'capturable': False, 'differentiable': False}

# What older versions of schedulefree do not save.
OLDER = {'scheduled_lr': 0.0, 'inner_momentum': 0.0}


def refuse(sentence):
    raise SystemExit(sentence)


def counts_by_group(algorithm):
    return algorithm.endswith('ScheduleFree')


# Our file: safetensors, read and written here so that nothing but torch is needed.


def read_file(path):
    with open(path, 'rb') as file:
        data = file.read()
    (length,) = struct.unpack('<Q', data[:8])
    header = json.loads(data[8 : 8 + length])
    metadata = header.pop('__metadata__', {})
    if (metadata.get('format'), metadata.get('version')) != ('twinstep', '1'):
        refuse(f'{path} is no checkpoint of twinstep: its format is {metadata.get("format")!r}.')
    tensors = {}
    for key, entry in header.items():
        begin, end = (8 + length + offset for offset in entry['data_offsets'])
        shape = entry['shape']
        # frombuffer takes no empty buffer.
        flat = torch.frombuffer(bytearray(data[begin:end]), dtype=torch.float32) if end > begin else torch.empty(0)
        tensors[key] = flat.reshape(shape)
    own = json.loads(metadata['metadata']) if 'metadata' in metadata else None
    return tensors, json.loads(metadata['state']), own


def write_file(path, tensors, state, own):
    metadata = {'format': 'twinstep', 'version': '1', 'state': json.dumps(state, allow_nan=False)}
    if own is not None:
        metadata['metadata'] = json.dumps(own, allow_nan=False)
    header, end = {'__metadata__': metadata}, 0
    for key, tensor in tensors.items():
        begin, end = end, end + 4 * tensor.numel()
        header[key] = {'dtype': 'F32', 'shape': list(tensor.shape), 'data_offsets': [begin, end]}
    text = json.dumps(header).encode()
    text += b' ' * (-len(text) % 8)
    with open(path, 'wb') as file:
        file.write(struct.pack('<Q', len(text)) + text)
        for tensor in tensors.values():
            tensor = tensor.contiguous()
            file.write(ctypes.string_at(tensor.data_ptr(), 4 * tensor.numel()))


# To PyTorch.


def to_torch(tensors, state_dict, own=None):
    """What torch.save takes: the model's state dict, the optimizer's, and the value beside them."""
    groups = [torch_group(group) for group in state_dict['param_groups']]
    model, slots = {}, {}
    for key, tensor in tensors.items():
        # A slot has no slash; a name may have one.
        slot, name = key.split('/', 1)
        if slot == 'param':
            model[name] = tensor
        else:
            slots.setdefault(name, {})[slot] = tensor
    names = {index: name for group in groups for index, name in zip(group['params'], group['param_names'])}
    state = {
        int(index): torch_numbers(numbers, names[int(index)]) | slots.get(names[int(index)], {})
        for index, numbers in state_dict['state'].items()
    }
    saved = {'model': model, 'optimizer': {'state': state, 'param_groups': groups}}
    return saved if own is None else saved | {'metadata': own}


def by_name(optimizer):
    """The optimizer's state dict with names in the place of indices."""
    groups = optimizer['param_groups']
    names = {index: name for group in groups for index, name in zip(group['params'], group['param_names'])}
    return {
        'state': {names[index]: state for index, state in optimizer['state'].items()},
        'param_groups': [group | {'params': group['param_names']} for group in groups],
    }


def torch_group(ours):
    algorithm = ours.get('algorithm')
    if algorithm not in OPTIONS:
        refuse(f'PyTorch has no equivalent of the algorithm {algorithm!r}.')
    for name, neutral in (NEUTRAL[algorithm] | ELSEWHERE).items():
        if ours.get(name, neutral) != neutral:
            refuse(f'PyTorch has no equivalent of {name} = {ours[name]!r}, only of {neutral!r}.')
    missing = sorted(OPTIONS[algorithm] - ours.keys())
    if missing:
        refuse(f'The checkpoint does not say {", ".join(missing)}: a function, which PyTorch has no equivalent of.')
    group = {name: ours[name] for name in ours if name in OPTIONS[algorithm]}
    if 'betas' in group:
        group['betas'] = tuple(group['betas'])
    if counts_by_group(algorithm):
        group |= {'foreach': True}
    else:
        group |= TORCH_DEFAULTS
    if algorithm in ('adam', 'adamw'):
        group |= {'fused': None}
    return group | {'param_names': ours['param_names'], 'params': ours['params']}


def torch_numbers(ours, name):
    """step and NAdam's mu_product, which PyTorch has as float tensors."""
    state = {key: torch.tensor(float(value), dtype=torch.float32) for key, value in ours.items()}
    if 'step' in ours and state['step'].item() != ours['step']:
        refuse(f'PyTorch counts steps in float32, which has no {ours["step"]}: those of {name!r}.')
    return state


# From PyTorch.


def from_torch(saved, algorithm=None):
    """The tensors, the state dict, and the value beside them."""
    model, optimizer = saved['model'], saved['optimizer']
    names = names_of(optimizer['param_groups'], model)
    groups = [our_group(group, names, algorithm) for group in optimizer['param_groups']]
    tensors = {f'param/{name}': floats(model[name], f'the parameter {name!r}') for name in names.values()}
    state = {}
    for group in groups:
        for index in group['params']:
            # Schedule-Free's eval() and train() leave an empty state for a parameter that has not stepped.
            if optimizer['state'].get(index):
                numbers, arrays = our_state(optimizer['state'][index], group, names[index])
                state[str(index)] = numbers
                for slot, tensor in arrays.items():
                    if tensor.shape != model[names[index]].shape:
                        refuse(f'{slot} of {names[index]!r} has the shape {list(tensor.shape)}, and not its own.')
                    tensors[f'{slot}/{names[index]}'] = tensor
    left_out = sorted(set(model) - set(names.values())) + sorted(saved.keys() - {'model', 'optimizer', 'metadata'})
    if left_out:
        print(f'Left out, as the optimizer has no such parameter: {", ".join(left_out)}.', file=sys.stderr)
    return tensors, {'state': state, 'param_groups': groups}, saved.get('metadata')


def names_of(groups, model):
    """The name of each index: what the optimizer was told, or else the model's order."""
    indices = [index for group in groups for index in group['params']]
    if all('param_names' in group for group in groups):
        names = [name for group in groups for name in group['param_names']]
        unknown = [name for name in names if name not in model]
        if unknown:
            refuse(f'The model has no parameter {", ".join(unknown)}, which the optimizer has.')
    elif len(groups) == 1 and len(indices) == len(model):
        names = list(model)
    else:
        refuse(
            f'The optimizer does not name its {len(indices)} parameters in {len(groups)} groups, and the model has '
            f'{len(model)} tensors: make it over model.named_parameters().'
        )
    return dict(zip(indices, names))


def our_group(group, names, algorithm):
    told = algorithm_of(group)
    if told and algorithm and told != algorithm:
        refuse(f'The optimizer says of itself that it is {told}, and not {algorithm}.')
    algorithm = told or algorithm
    if not algorithm:
        refuse(f'The optimizer does not say which it is; say it with --algorithm, one of {", ".join(OPTIONS)}.')
    known = OPTIONS[algorithm]
    values = (OLDER if counts_by_group(algorithm) else {}) | group
    if algorithm in ('adam', 'adamw'):
        values = {'decoupled_weight_decay': algorithm == 'adamw'} | values
    for name in sorted(group.keys() - known - MACHINE - {'params', 'param_names'}):
        # What upstream may have, and here does not switch on.
        if group[name] != NEUTRAL[algorithm].get(name, False):
            refuse(f'{algorithm} has no equivalent of {name} = {group[name]!r}.')
    missing = sorted(known - values.keys())
    if missing:
        refuse(f'The optimizer does not say {", ".join(missing)}: it is not {algorithm}.')
    ours = {name: plain(values[name]) for name in values if name in known}
    params = list(group['params'])
    ours |= NEUTRAL[algorithm] | {'algorithm': algorithm}
    return ours | {'params': params, 'param_names': [names[index] for index in params]}


def algorithm_of(group):
    """As far as the options tell: those of Adam and AdamW do since torch 2.7."""
    if 'weight_sum' in group:
        if 'momentum' in group:
            return 'sgdScheduleFree'
        return 'radamScheduleFree' if 'silent_sgd_phase' in group else 'adamwScheduleFree'
    if 'momentum_decay' in group:
        return 'nadam'
    if 'decoupled_weight_decay' not in group:
        return None
    if 'amsgrad' not in group:
        return 'radam'
    return 'adamw' if group['decoupled_weight_decay'] else 'adam'


def our_state(state, group, name):
    """Numbers, which stand in JSON, and arrays."""
    numbers = {key: plain(state[key]) for key in ('step', 'mu_product') if key in state}
    if 'step' in numbers:
        if numbers['step'] != int(numbers['step']):
            refuse(f'{name!r} has completed {numbers["step"]} steps, which is no whole number.')
        numbers['step'] = int(numbers['step'])
    if 'mu_product' in numbers:
        mu_product = product_of_mu(group, numbers['step'])
        if abs(numbers['mu_product'] - mu_product) > 1e-3 * mu_product + 1e-6:
            refuse(f'mu_product of {name!r} is not that of its options, {mu_product}, but {numbers["mu_product"]}.')
        numbers['mu_product'] = mu_product
    arrays = {slot: floats(t, f'{slot} of {name!r}') for slot, t in state.items() if slot not in numbers}
    return numbers, arrays


def product_of_mu(group, step):
    """NAdam's, which twinstep derives from the options."""
    beta1, decay = group['betas'][0], group['momentum_decay']
    return math.prod(beta1 * (1 - 0.5 * 0.96 ** (t * decay)) for t in range(1, step + 1))


def plain(value):
    """A number, where PyTorch may have a tensor, and a list for a tuple."""
    if isinstance(value, (tuple, list)):
        return [plain(each) for each in value]
    return value.item() if isinstance(value, torch.Tensor) else value


def floats(tensor, what):
    if not isinstance(tensor, torch.Tensor) or tensor.dtype != torch.float32:
        refuse(f'Expected {what} to be a tensor of float32, got {getattr(tensor, "dtype", tensor)}.')
    return tensor.detach().cpu()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('direction', choices=('to-torch', 'from-torch'))
    parser.add_argument('source')
    parser.add_argument('target')
    parser.add_argument('--algorithm', choices=OPTIONS, help='from-torch: where the file does not tell')
    parser.add_argument('--by-name', action='store_true', help='to-torch: for a sharded model')
    args = parser.parse_args()
    if args.direction == 'to-torch':
        saved = to_torch(*read_file(args.source))
        torch.save(saved | {'optimizer': by_name(saved['optimizer'])} if args.by_name else saved, args.target)
    else:
        saved = torch.load(args.source, map_location='cpu', weights_only=True)
        write_file(args.target, *from_torch(saved, args.algorithm))


if __name__ == '__main__':
    main()
