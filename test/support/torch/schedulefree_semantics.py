"""Schedule-Free (arXiv 2405.15682) in plain torch, with the state and the options of the package schedulefree.

test/support/torch/run.py uses it if that package is not installed. It follows the paper and upstream's optimizers,
operation by operation, so that float32 rounds the same.
"""

import math

import torch


class ScheduleFree(torch.optim.Optimizer):
    """The base class of the three. `beta` is the weight of x in y."""

    def __init__(self, params, **options):
        shared = {'r': 0.0, 'weight_lr_power': 2.0, 'weight_decay': 0, 'foreach': True}
        begin = {'k': 0, 'train_mode': False, 'weight_sum': 0.0, 'lr_max': -1.0, 'scheduled_lr': 0.0}
        super().__init__(params, self.own | shared | begin | options)

    def beta(self, group):
        return group['betas'][0]

    @torch.no_grad()
    def switch(self, to_train):
        for group in self.param_groups:
            if group['train_mode'] == to_train:
                continue
            weight = 1 - self.beta(group) if to_train else 1 - 1 / self.beta(group)
            for p in group['params']:
                if 'z' in self.state[p]:
                    p.lerp_(end=self.state[p]['z'], weight=weight)
            group['train_mode'] = to_train

    def train(self):
        self.switch(True)

    def eval(self):
        self.switch(False)

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            assert group['train_mode'], 'A step was taken in eval mode.'
            step, beta = group['k'] + 1, self.beta(group)
            lr = group['scheduled_lr'] = group['lr'] * self.factor(group, step)
            group['lr_max'] = max(lr, group['lr_max'])
            weight = step ** group['r'] * group['lr_max'] ** group['weight_lr_power']
            group['weight_sum'] += weight
            average = weight / group['weight_sum'] if group['weight_sum'] else 0
            for p in group['params']:
                if p.grad is None:
                    continue
                state = self.state[p]
                if 'z' not in state:
                    state['z'] = p.clone()
                direction = self.direction(p.grad.clone(), state, group, step)
                if group['weight_decay'] != 0:
                    direction.add_(p, alpha=group['weight_decay'])
                p.lerp_(end=state['z'], weight=average)
                p.add_(direction, alpha=lr * (beta * (1 - average) - 1))
                state['z'].sub_(direction, alpha=lr)
            group['k'] = step

    def factor(self, group, step):
        return min(1.0, step / group['warmup_steps']) if group['warmup_steps'] else 1.0


def second_moment(grad, state, beta2):
    if 'exp_avg_sq' not in state:
        state['exp_avg_sq'] = torch.zeros_like(grad)
    return state['exp_avg_sq'].mul_(beta2).addcmul_(grad, grad, value=1 - beta2)


class AdamWScheduleFree(ScheduleFree):
    own = {'lr': 0.0025, 'betas': (0.9, 0.999), 'eps': 1e-8, 'warmup_steps': 0, 'inner_momentum': 0.0}

    def direction(self, grad, state, group, step):
        beta2, momentum = group['betas'][1], group['inner_momentum']
        denominator = second_moment(grad, state, beta2).div(1 - beta2**step).sqrt_().add_(group['eps'])
        if momentum > 0:
            if 'exp_avg' not in state:
                state['exp_avg'] = torch.zeros_like(grad)
            grad = state['exp_avg'].mul_(momentum).add_(grad, alpha=1 - momentum) / (1 - momentum**step)
        return grad.div_(denominator)


class RAdamScheduleFree(ScheduleFree):
    own = {'lr': 0.0025, 'betas': (0.9, 0.999), 'eps': 1e-8, 'silent_sgd_phase': True}

    def rectification(self, group, step):
        beta2 = group['betas'][1]
        longest = 2 / (1 - beta2) - 1
        rho = longest - 2 * step * beta2**step / (1 - beta2**step)
        if rho <= 4:
            return None
        return math.sqrt((rho - 4) * (rho - 2) * longest / ((longest - 4) * (longest - 2) * rho))

    def factor(self, group, step):
        rectified = self.rectification(group, step)
        return float(not group['silent_sgd_phase']) if rectified is None else rectified

    def direction(self, grad, state, group, step):
        beta2 = group['betas'][1]
        v = second_moment(grad, state, beta2)
        if self.rectification(group, step) is None:
            return grad
        return grad.div_(v.div(1 - beta2**step).sqrt_().add_(group['eps']))


class SGDScheduleFree(ScheduleFree):
    own = {'lr': 1.0, 'momentum': 0.9, 'warmup_steps': 0}

    def beta(self, group):
        return group['momentum']

    def direction(self, grad, state, group, step):
        return grad
