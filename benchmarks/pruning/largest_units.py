"""The plain baseline for an LSTM, which the peers cannot narrow: the units of largest norm stay.

The norm of a hidden unit is taken over the rows of its gates, its recurrent columns and the column
that the head reads; that of an embedding's number over its column and the one that the gates read.
As many of both stay as the budget allows, in the same share.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from benchmarks.pruning.methods import NotRunError, Task, largest_ratio, method
from benchmarks.pruning.networks import LSTM


def kept(norms: Tensor, share: float) -> Tensor:
    """The numbers of the units that stay, ascending."""
    return norms.argsort(descending=True)[: max(1, int(share * len(norms)))].sort().values


@torch.no_grad()
def narrowed(network: LSTM, share: float) -> LSTM:
    """A copy with a share of the embeddings' numbers and of the hidden units."""
    own = network.lstm
    hidden = own.hidden_size
    read, recurrent = own.weight_ih_l0, own.weight_hh_l0
    gates = torch.cat([read, recurrent], 1).reshape(4, hidden, -1)
    units = gates.square().sum((0, 2)) + recurrent.square().sum(0)
    units = kept(units + network.head.weight.square().sum(0), share)
    numbers = kept(network.embedding.weight.square().sum(0) + read.square().sum(0), share)
    rows = (torch.arange(4)[:, None] * hidden + units).flatten()
    small = LSTM(
        network.embedding.num_embeddings, network.head.out_features, len(numbers), len(units)
    )
    small.load_state_dict(
        {
            "embedding.weight": network.embedding.weight[:, numbers],
            "lstm.weight_ih_l0": read[rows][:, numbers],
            "lstm.weight_hh_l0": recurrent[rows][:, units],
            "lstm.bias_ih_l0": own.bias_ih_l0[rows],
            "lstm.bias_hh_l0": own.bias_hh_l0[rows],
            "head.weight": network.head.weight[:, units],
            "head.bias": network.head.bias,
        }
    )
    return small.eval()


@method("largest units", "units of largest norm")
def largest(task: Task) -> nn.Module:
    """The LSTM of the largest share within the budget."""
    network = task.network
    if not isinstance(network, LSTM):
        raise NotRunError("Torch-Pruning's magnitude is this for networks without an LSTM")
    return narrowed(network, largest_ratio(lambda share: narrowed(network, share), task))
