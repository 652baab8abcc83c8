"""The built-in networks: small, standard, with the field's usual names in their state dicts.

ResNet for CIFAR: He et al. 2016, "Deep Residual Learning for Image Recognition", section 4.2 (arXiv
1512.03385), here with projection shortcuts. VGG: Simonyan & Zisserman 2015 (arXiv 1409.1556),
configuration A with one linear layer as its classifier.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn


class DigitsNet(nn.Module):
    """Two convolutions with batch norm, one without, and a linear head.

    Maps (n, 1, 8, 8) images to (n, classes) logits.

    Args:
        width: channels of the first convolution; the others have twice as many.
        classes: number of classes.
    """

    def __init__(self, width: int = 32, classes: int = 10) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, width, 3, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, 2 * width, 3, stride=2, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(2 * width)
        self.conv3 = nn.Conv2d(2 * width, 2 * width, 3, stride=2, padding=1)
        self.head = nn.Linear(2 * width * 4, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (n, classes) of images (n, 1, 8, 8)."""
        x = F.relu(self.norm1(self.conv1(x)))
        x = F.relu(self.norm2(self.conv2(x)))
        x = F.relu(self.conv3(x))
        logits: Tensor = self.head(x.flatten(1))
        return logits


class SmallCNN(nn.Module):
    """Two strided convolutions and two linear layers without any norm, 106,000 parameters.

    Maps (n, 1, 28, 28) images to (n, classes) logits.

    Args:
        classes: number of classes.
    """

    def __init__(self, classes: int = 10) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(1, 16, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.Conv2d(16, 32, 3, stride=2, padding=1),
            nn.ReLU(),
        )
        self.classifier = nn.Sequential(
            nn.Flatten(), nn.Linear(32 * 49, 64), nn.ReLU(), nn.Linear(64, classes)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Logits (n, classes) of images (n, 1, 28, 28)."""
        logits: Tensor = self.classifier(self.features(x))
        return logits


class BasicBlock(nn.Module):
    """Two 3x3 convolutions with batch norm around a shortcut, a projection if the shape changes.

    Args:
        inputs: channels of the input.
        outputs: channels of the output.
        stride: of the first convolution and of the projection.
    """

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.shortcut = nn.Sequential()
        if stride != 1 or inputs != outputs:
            self.shortcut = nn.Sequential(
                nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False),
                nn.BatchNorm2d(outputs),
            )

    def forward(self, x: Tensor) -> Tensor:
        """Features (n, outputs, h / stride, w / stride) of features (n, inputs, h, w)."""
        out = F.relu(self.bn1(self.conv1(x)))
        return F.relu(self.bn2(self.conv2(out)) + self.shortcut(x))


class ResNet(nn.Module):
    """CIFAR ResNet of three stages: (n, 3, h, w) images to (n, classes) logits.

    Args:
        blocks: number of blocks in each stage.
        width: multiplies the 16, 32 and 64 channels.
        classes: number of classes.
    """

    layer1: nn.Sequential
    layer2: nn.Sequential
    layer3: nn.Sequential

    def __init__(self, blocks: tuple[int, int, int], width: float = 1.0, classes: int = 10) -> None:
        super().__init__()
        channels = [int(width * c) for c in (16, 32, 64)]
        self.conv1 = nn.Conv2d(3, channels[0], 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels[0])
        inputs = channels[0]
        for stage, (count, outputs) in enumerate(zip(blocks, channels, strict=True), start=1):
            strides = [1 if stage == 1 else 2] + [1] * (count - 1)
            layers = []
            for stride in strides:
                layers.append(BasicBlock(inputs, outputs, stride))
                inputs = outputs
            self.add_module(f"layer{stage}", nn.Sequential(*layers))
        self.avgpool = nn.AdaptiveAvgPool2d((1, 1))
        self.linear = nn.Linear(inputs, classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                nn.init.kaiming_normal_(module.weight)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (n, classes) of images (n, 3, h, w)."""
        x = F.relu(self.bn1(self.conv1(x)))
        x = self.layer3(self.layer2(self.layer1(x)))
        logits: Tensor = self.linear(self.avgpool(x).flatten(1))
        return logits


class VGG(nn.Module):
    """VGG-A for 32x32 images: (n, 3, 32, 32) images to (n, classes) logits.

    Args:
        width: multiplies the 64 to 512 channels.
        classes: number of classes.
        norm: with batch norm after each convolution.
    """

    # Channels of a convolution; 0 for a max-pool.
    plan = (64, 0, 128, 0, 256, 256, 0, 512, 512, 0, 512, 512, 0)

    def __init__(self, width: float = 1.0, classes: int = 10, norm: bool = False) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        inputs = 3
        for channels in self.plan:
            if channels == 0:
                layers.append(nn.MaxPool2d(2))
                continue
            outputs = int(width * channels)
            layers.append(nn.Conv2d(inputs, outputs, 3, padding=1))
            if norm:
                layers.append(nn.BatchNorm2d(outputs))
            layers.append(nn.ReLU(inplace=True))
            inputs = outputs
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Linear(inputs, classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                nn.init.xavier_uniform_(module.weight, gain=nn.init.calculate_gain("relu"))
                nn.init.zeros_(module.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        """Logits (n, classes) of images (n, 3, 32, 32)."""
        logits: Tensor = self.classifier(self.features(x).flatten(1))
        return logits


def digits(width: int = 32, classes: int = 10) -> DigitsNet:
    """The demo's convolutional network for scikit-learn's 8x8 digits."""
    return DigitsNet(width, classes)


def smallcnn(classes: int = 10) -> SmallCNN:
    """A convolutional network without norms for 28x28 grey images, such as Fashion-MNIST."""
    return SmallCNN(classes)


def resnet20(width: float = 1.0, classes: int = 10) -> ResNet:
    """ResNet-20 for CIFAR-sized images; `width` multiplies its 16, 32 and 64 channels."""
    return ResNet((3, 3, 3), width, classes)


def vgg11(width: float = 1.0, classes: int = 10, norm: bool = False) -> VGG:
    """VGG-11 for 32x32 images; `width` multiplies its 64 to 512 channels."""
    return VGG(width, classes, norm)
