"""Networks of the benchmark of pruning that the library does not carry, all small.

MobileNet: inverted residuals of Sandler et al. 2018 (arXiv 1801.04381). ViT: Dosovitskiy et al.
2021 (arXiv 2010.11929), with the mean of the tokens in place of a class token. LSTM: Hochreiter &
Schmidhuber 1997. Shapes in the forward passes are left to be inferred wherever a width stands in
them, so that a narrower network is of the same class.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class InvertedResidual(nn.Module):
    """A convolution 1x1 that widens, one 3x3 for each channel, one 1x1 that narrows; around them a
    shortcut, if the shape stays.

    Args:
        inputs: channels of the input.
        outputs: channels of the output.
        stride: of the convolution 3x3.
        expansion: how many times wider the inside is than the input.
    """

    def __init__(self, inputs: int, outputs: int, stride: int, expansion: int) -> None:
        super().__init__()
        inside = expansion * inputs
        self.expand = nn.Conv2d(inputs, inside, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(inside)
        self.depthwise = nn.Conv2d(
            inside, inside, 3, stride=stride, padding=1, groups=inside, bias=False
        )
        self.bn2 = nn.BatchNorm2d(inside)
        self.project = nn.Conv2d(inside, outputs, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(outputs)
        self.residual = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        """Features (n, outputs, h / stride, w / stride) of features (n, inputs, h, w)."""
        out = F.relu6(self.bn1(self.expand(x)))
        out = F.relu6(self.bn2(self.depthwise(out)))
        out = self.bn3(self.project(out))
        return x + out if self.residual else out


class MobileNet(nn.Module):
    """Seven inverted residuals for images of 32x32: (n, 3, 32, 32) to logits (n, classes).

    Args:
        classes: number of classes.
    """

    # Channels and stride of each inverted residual.
    plan = ((24, 1), (40, 2), (40, 1), (40, 1), (80, 2), (80, 1), (80, 1))

    def __init__(self, classes: int = 10) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 24, 3, stride=2, padding=1, bias=False)
        self.bn = nn.BatchNorm2d(24)
        inputs, blocks = 24, []
        for outputs, stride in self.plan:
            blocks.append(InvertedResidual(inputs, outputs, stride, 4))
            inputs = outputs
        self.blocks = nn.Sequential(*blocks)
        self.last = nn.Conv2d(inputs, 256, 1, bias=False)
        self.bn_last = nn.BatchNorm2d(256)
        self.head = nn.Linear(256, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (n, classes) of images (n, 3, 32, 32)."""
        x = F.relu6(self.bn(self.stem(x)))
        x = F.relu6(self.bn_last(self.last(self.blocks(x))))
        logits: Tensor = self.head(x.mean((2, 3)))
        return logits


class Block(nn.Module):
    """Attention and a network of two layers, each with a norm before and a shortcut around it.

    Args:
        width: of the tokens.
        heads: of the attention.
        inside: units between the two layers.
    """

    def __init__(self, width: int, heads: int, inside: int) -> None:
        super().__init__()
        self.heads, self.scale = heads, (width // heads) ** -0.5
        self.norm1 = nn.LayerNorm(width)
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(width, width)
        self.value = nn.Linear(width, width)
        self.proj = nn.Linear(width, width)
        self.norm2 = nn.LayerNorm(width)
        self.fc1 = nn.Linear(width, inside)
        self.fc2 = nn.Linear(inside, width)

    def _heads(self, x: Tensor) -> Tensor:
        """(n, heads, t, d) of features (n, t, heads d)."""
        return x.reshape(x.shape[0], x.shape[1], self.heads, -1).transpose(1, 2)

    def forward(self, x: Tensor) -> Tensor:
        """Tokens (n, t, width) of tokens (n, t, width)."""
        own = self.norm1(x)
        q, k, v = (self._heads(part(own)) for part in (self.query, self.key, self.value))
        mixed = F.scaled_dot_product_attention(q, k, v, scale=self.scale)
        x = x + self.proj(mixed.transpose(1, 2).flatten(2))
        return x + self.fc2(F.gelu(self.fc1(self.norm2(x))))


class ViT(nn.Module):
    """Four blocks over 64 patches of 4x4 pixels: (n, 3, 32, 32) to logits (n, classes).

    Args:
        width: of the tokens.
        heads: of every attention.
        classes: number of classes.
    """

    def __init__(self, width: int = 96, heads: int = 4, classes: int = 10) -> None:
        super().__init__()
        self.patch = nn.Conv2d(3, width, 4, stride=4)
        self.position = nn.Parameter(0.02 * torch.randn(1, 64, width))
        self.blocks = nn.Sequential(*(Block(width, heads, 4 * width) for _ in range(4)))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (n, classes) of images (n, 3, 32, 32)."""
        x = self.patch(x).flatten(2).transpose(1, 2) + self.position
        logits: Tensor = self.head(self.norm(self.blocks(x)).mean(1))
        return logits


class LSTM(nn.Module):
    """Embeddings, an LSTM, the mean of its states over the words, a linear layer: numbers of words
    (n, t), 0 where there is none, to logits (n, classes).

    Args:
        words: size of the vocabulary.
        classes: number of classes.
        width: of the embeddings.
        hidden: units of the LSTM.
    """

    def __init__(self, words: int, classes: int, width: int = 64, hidden: int = 128) -> None:
        super().__init__()
        self.embedding = nn.Embedding(words, width)
        self.lstm = nn.LSTM(width, hidden, batch_first=True)
        self.head = nn.Linear(hidden, classes)

    def forward(self, words: Tensor) -> Tensor:
        """Logits (n, classes) of numbers of words (n, t), int64."""
        states = self.lstm(self.embedding(words))[0]
        used = (words != 0).unsqueeze(2).to(states.dtype)
        logits: Tensor = self.head((states * used).sum(1) / used.sum(1))
        return logits
