"""The PyTorch side of test/torch.test.ts.

    python run.py FOLDER

For every case in FOLDER/cases.json it runs: all steps in torch; the second half, from twinstep's checkpoint after the
first half, converted by tools/torch_checkpoint.py; and the first half, saved for twinstep to continue. Gradients are in
FOLDER/<case>.grads. For every case in FOLDER/clips.json it clips the gradients in FOLDER/clips.grads, and trains.
"""

import contextlib
import io
import json
import pathlib
import platform
import sys
import warnings

import torch
from torch.distributed.checkpoint.state_dict import StateDictOptions, set_optimizer_state_dict

sys.path[:0] = [str(pathlib.Path(__file__).parents[3] / 'tools'), str(pathlib.Path(__file__).parent)]

import torch_checkpoint as convert

try:
    import schedulefree

    SCHEDULEFREE = getattr(schedulefree, '__version__', 'installed')
except ImportError:
    import schedulefree_semantics as schedulefree

    SCHEDULEFREE = 'not installed: schedulefree_semantics.py in its place'


class Model(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = torch.nn.Linear(7, 5)
        self.scale = torch.nn.Parameter(torch.zeros(()))
        self.late = torch.nn.Parameter(torch.zeros(3))


def read_tensors(path):
    """Reads a safetensors file of float32 tensors."""
    data = path.read_bytes()
    begin = 8 + int.from_bytes(data[:8], 'little')
    tensors = {}
    for key, entry in json.loads(data[8:begin]).items():
        first, end = entry['data_offsets']
        values = torch.frombuffer(bytearray(data[begin + first : begin + end]), dtype=torch.float32)
        tensors[key] = values.reshape(entry['shape'])
    return tensors


class Run:
    """A model and its optimizer, which take the steps of a case."""

    def __init__(self, case, tensors, saved=None):
        self.case, self.tensors = case, tensors
        self.model = Model()
        init = {key.removeprefix('init/'): tensor for key, tensor in tensors.items() if key.startswith('init/')}
        self.model.load_state_dict(init if saved is None else saved['model'])
        kind = getattr(torch.optim, case['torch'], None) or getattr(schedulefree, case['torch'])
        named = dict(self.model.named_parameters())
        groups = [
            {'params': [(name, named[name]) if case['named'] else named[name] for name in names], **own}
            for names, own in case['groups']
        ]
        self.optimizer = kind(groups, **case['options'])
        if saved is not None:
            self.optimizer.load_state_dict(saved['optimizer'])
        self.switch('train')
        if case.get('scheduler'):
            name, options = case['scheduler']
            self.scheduler = getattr(torch.optim.lr_scheduler, name)(self.optimizer, **options)
            if saved is not None:
                self.resume(saved)

    def resume(self, saved):
        """Resumes the scheduler as the tool's notice says."""
        if 'lr_scheduler' in saved:
            return self.scheduler.load_state_dict(saved['lr_scheduler'])
        with warnings.catch_warnings():
            # The scheduler warns because it has not seen the steps taken in twinstep.
            warnings.filterwarnings('ignore', 'Detected call of `lr_scheduler.step')
            for _ in range(self.case['half']):
                self.scheduler.step()

    def switch(self, mode):
        if 'ScheduleFree' in self.case['torch']:
            getattr(self.optimizer, mode)()

    def steps(self, begin, end):
        for t in range(begin, end):
            for name, parameter in self.model.named_parameters():
                grad = self.tensors.get(f'grad/{t}/{name}')
                parameter.grad = None if grad is None else grad.clone()
            self.optimizer.step()
            if self.case.get('scheduler'):
                self.scheduler.step(*(metrics[t] for metrics in [self.case.get('metrics')] if metrics))

    def save(self, path):
        saved = {'model': self.model.state_dict(), 'optimizer': self.optimizer.state_dict()}
        if self.case.get('scheduler'):
            saved['lr_scheduler'] = self.scheduler.state_dict()
        torch.save(saved, path)
        return torch.load(path, weights_only=True)

    def result(self):
        """Returns the parameters and, in eval mode, the average."""
        result = {f'param/{name}': p.detach().clone() for name, p in self.model.named_parameters()}
        self.switch('eval')
        return result | {f'average/{name}': p.detach().clone() for name, p in self.model.named_parameters()}


def clip(case, tensors):
    """Trains with clipped gradients. Returns the parameters, and of each step the norm and the scale of the scaler."""
    model = Model()
    model.load_state_dict({key.removeprefix('init/'): t for key, t in tensors.items() if key.startswith('init/')})
    named = dict(model.named_parameters())
    params = list(named.values())
    groups = [{'params': [named[name] for name in names], **own} for names, own in case['groups']]
    optimizer = getattr(torch.optim, case['torch'])(groups, **case['options'])
    scaler = torch.amp.GradScaler('cpu', **case['scaler'] or {}, enabled=case['scaler'] is not None)
    norms, scales = [], []
    for t in range(case['steps']):
        # The first call makes the scale.
        scaler.scale(torch.zeros(()))
        for name, parameter in named.items():
            grad = tensors.get(f'grad/{t}/{name}')
            parameter.grad = None if grad is None else grad * case['size'] * scaler.get_scale()
        if t in case['overflows']:
            named['scale'].grad.fill_(torch.inf)
        scaler.unscale_(optimizer)
        if case['maxValue']:
            torch.nn.utils.clip_grad_value_(params, case['maxValue'])
        norms.append(torch.nn.utils.get_total_norm(p.grad for p in params if p.grad is not None))
        if case['perTensor']:
            for parameter in params:
                torch.nn.utils.clip_grad_norm_(parameter, case['perTensor'])
        if case['maxNorm']:
            norms[-1] = torch.nn.utils.clip_grad_norm_(params, case['maxNorm'])
        scaler.step(optimizer)
        scaler.update()
        scales.append(scaler.get_scale())
    steps = {f'step/{name}': optimizer.state[p]['step'] for name, p in named.items()}
    result = {f'param/{name}': p.detach() for name, p in named.items()} | steps
    return result | {'norms': torch.stack(norms), 'scales': torch.tensor(scales)}


def noticed(work):
    """Returns the result of `work` and what it prints to stderr."""
    with contextlib.redirect_stderr(io.StringIO()) as stderr:
        return work(), stderr.getvalue()


def refusals(folder):
    """Returns the tool's message for each file or state dict that it may refuse, by the name of the case."""
    messages = {}

    def attempt(name, convert_it):
        try:
            messages[name] = 'taken. ' + noticed(convert_it)[1]
        except SystemExit as refusal:
            messages[name] = str(refusal)

    for path in folder.glob('*.refused'):
        attempt(path.stem, lambda: convert.to_torch(*convert.read_file(path)))

    def written(name, data):
        (folder / name).write_bytes(data)
        return folder / name

    ours, theirs = ((folder / f'adam.{kind}').read_bytes() for kind in ('ours', 'theirs.pt'))
    attempt('ours, missing', lambda: convert.read_file(folder / 'missing'))
    attempt('ours, truncated', lambda: convert.read_file(written('cut', ours[:-1])))
    attempt('ours, shorter', lambda: convert.read_file(written('cut', ours[:5])))
    attempt("ours, PyTorch's", lambda: convert.read_file(folder / 'adam.theirs.pt'))
    attempt('ours, another format', lambda: convert.read_file(folder / 'adam.grads'))
    attempt('theirs, missing', lambda: convert.load(folder / 'missing'))
    attempt('theirs, truncated', lambda: convert.load(written('cut', theirs[:-100])))
    attempt('theirs, ours', lambda: convert.load(folder / 'adam.ours'))
    torch.save({'model': Model()}, folder / 'whole.pt')
    attempt('theirs, a model', lambda: convert.load(folder / 'whole.pt'))

    def changed(case, change, algorithm=None):
        saved = torch.load(folder / f'{case}.theirs.pt', weights_only=True)
        change(saved, saved['optimizer']['param_groups'][0], saved['optimizer']['state'])
        return lambda: convert.from_torch(saved, algorithm)

    def rename(saved):
        for name in ('model', 'optimizer'):
            saved[f'{name}_state_dict'] = saved.pop(name)

    def of(kind, **options):
        model = Model()
        optimizer = getattr(torch.optim, kind)(model.parameters(), **options)
        for parameter in model.parameters():
            parameter.grad = torch.ones_like(parameter)
        optimizer.step(*([lambda: 0.0] if kind == 'LBFGS' else []))
        return {'model': model.state_dict(), 'optimizer': optimizer.state_dict()}

    for kind in ('SGD', 'Adagrad', 'RMSprop', 'Adadelta', 'Adamax', 'ASGD', 'Rprop', 'LBFGS', 'Adafactor'):
        attempt(kind, lambda: convert.from_torch(of(kind, lr=0.1), 'adam' if kind == 'Adamax' else None))
    attempt('a list', lambda: convert.from_torch([1]))
    attempt('only a model', lambda: convert.from_torch(of('Adam')['model']))
    attempt('no optimizer', changed('adam', lambda saved, *_: saved.pop('optimizer')))
    attempt('a bare optimizer', changed('adam', lambda saved, *_: saved.update(optimizer=saved['optimizer']['state'])))
    attempt('the tutorial', changed('adam', lambda saved, *_: rename(saved)))
    attempt('by name', changed('adam', lambda saved, *_: saved.update(optimizer=convert.by_name(saved['optimizer']))))
    attempt('other keys', changed('adam', lambda saved, *_: saved.update(epoch=3, scheduler={}, metadata={'epoch': 3})))
    attempt('a scheduler', changed('adam-multi-step', lambda *_: None))
    attempt('swa', changed('adam', lambda saved, group, state: group.update(swa_lr=0.1, base_momentum=0.8)))
    attempt('half', changed('adam', lambda saved, group, state: saved['model'].update(late=torch.zeros(3).half())))
    attempt('other keys, nan', lambda: convert.write_file(folder / 'nan', {}, {}, {'loss': float('nan')}))

    def forget(group):
        del group['decoupled_weight_decay']

    attempt('older', changed('adamw', lambda saved, group, state: forget(group)))
    attempt('older, with --algorithm', changed('adamw', lambda saved, group, state: forget(group), 'adamw'))
    attempt('wrong --algorithm', changed('adamw', lambda *_: None, 'adam'))
    attempt('right --algorithm', changed('adamw', lambda *_: None, 'adamw'))
    attempt('unknown option', changed('radam', lambda saved, group, state: group.update(cautious=True)))
    attempt('unknown option, off', changed('radam', lambda saved, group, state: group.update(cautious=False)))
    attempt('bfloat16', changed('adam', lambda saved, group, state: state[0].update(exp_avg=state[0]['exp_avg'].bfloat16())))
    attempt('shape', changed('adam', lambda saved, group, state: state[2].update(exp_avg=torch.zeros(35))))
    attempt('fractional step', changed('adam', lambda saved, group, state: state[0].update(step=torch.tensor(2.5))))
    attempt('mu_product', changed('nadam', lambda saved, group, state: state[0].update(mu_product=torch.tensor(0.5))))
    attempt('more tensors', changed('adam-unnamed', lambda saved, group, state: saved['model'].update(mean=torch.zeros(2))))
    attempt('fewer tensors', changed('adam', lambda saved, group, state: saved['model'].pop('late')))
    return messages


def is_loaded_by_name(case, tensors, unbroken):
    """Returns whether torch.distributed's loader accepts the dict with names instead of indices."""
    fresh, saved = Run(case, tensors), unbroken.optimizer.state_dict()
    options = StateDictOptions(full_state_dict=True)
    saved['param_groups'][0]['initial_lr'] = 0.01
    set_optimizer_state_dict(fresh.model, fresh.optimizer, convert.by_name(saved), options=options)
    loaded = fresh.optimizer.state_dict()['state']
    slots = [(index, slot) for index, state in saved['state'].items() for slot in state]
    return all(torch.equal(loaded[index][slot], saved['state'][index][slot]) for index, slot in slots)


def main(folder):
    notices = {}
    for case in json.loads((folder / 'cases.json').read_text()):
        path = lambda kind: folder / f'{case["name"]}.{kind}'
        tensors, half, end = read_tensors(path('grads')), case['half'], case['steps']
        unbroken = Run(case, tensors)
        unbroken.steps(0, end)
        if case['name'] == 'adamw':
            by_name = is_loaded_by_name(case, tensors, unbroken)
        convert.write_file(path('unbroken'), unbroken.result(), {}, None)

        ours, notice = noticed(lambda: convert.to_torch(*convert.read_file(path('ours'))))
        torch.save(ours, path('ours.pt'))
        resumed = Run(case, tensors, torch.load(path('ours.pt'), weights_only=True))
        resumed.steps(half, end)
        convert.write_file(path('resumed'), resumed.result(), {}, None)

        first = Run(case, tensors)
        first.steps(0, half)
        first.switch(case['mode'])
        theirs, notice_back = noticed(lambda: convert.from_torch(first.save(path('theirs.pt'))))
        convert.write_file(path('theirs'), *theirs)
        notices[case['name']] = [notice, notice_back]
    clipped = read_tensors(folder / 'clips.grads')
    for case in json.loads((folder / 'clips.json').read_text()):
        convert.write_file(folder / f'{case["name"]}.clipped', clip(case, clipped), {}, None)
    versions = {'python': platform.python_version(), 'torch': torch.__version__, 'schedulefree': SCHEDULEFREE}
    versions['platform'] = f'{platform.system()} {platform.machine()}'
    print(json.dumps({'versions': versions, 'refusals': refusals(folder), 'byName': by_name, 'notices': notices}))


main(pathlib.Path(sys.argv[1]))
