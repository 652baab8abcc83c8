"""Builders of a network of every common architecture, small, with an input for it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import symmetry_image_zoo as image_zoo
import symmetry_networks as nets
import symmetry_zoo as zoo
import torch
from torch import Tensor, nn
from tvshim import torchvision_models


@dataclass(frozen=True)
class Network:
    """coverage: the least share of the parameters that must lie in a tensor that may move."""

    model: nn.Module
    inputs: Any
    coverage: float = 0.98


class Select(nn.Module):
    """One field of what a network returns, by name or number, called with its own keywords."""

    def __init__(self, model: nn.Module, field: str | int, **keywords: Any) -> None:
        super().__init__()
        self.model, self.field, self.keywords = model, field, keywords

    def forward(self, *inputs: Any, **named: Any) -> Any:
        found = self.model(*inputs, **named, **self.keywords)
        return found[self.field]


def images(size: int, channels: int = 3) -> Tensor:
    return torch.randn(2, channels, size, size)


NETWORKS: dict[str, Callable[[], Network]] = {
    "mlp": lambda: Network(nets.mlp(), torch.randn(3, 10)),
    "linear autoencoder": lambda: Network(
        zoo.LinearAutoencoder(), torch.randn(3, 6), 0.96
    ),  # the output's bias is more than 2 % of it
    "lstm": lambda: Network(zoo.Recurrent("LSTM"), zoo.tokens(length=4)),
    "lstm with projection": lambda: Network(
        zoo.Recurrent("LSTM", proj_size=5, num_layers=2), zoo.tokens(length=4)
    ),
    "gru": lambda: Network(zoo.Recurrent("GRU", "state"), zoo.tokens(length=4)),
    "gru in layers": lambda: Network(
        zoo.Recurrent("GRU", "states", num_layers=3), zoo.tokens(length=4)
    ),
    "tanh rnn": lambda: Network(
        zoo.Recurrent("RNN", num_layers=2, bidirectional=True), zoo.tokens(length=4)
    ),
    "relu rnn": lambda: Network(
        zoo.Recurrent("RNN", "state", nonlinearity="relu"), zoo.tokens(length=4)
    ),
    "bidirectional stack": lambda: Network(zoo.Stacked(), zoo.tokens(length=4)),
    "recurrent cells": lambda: Network(zoo.Cells(), torch.randn(2, 4, 6)),
    "transformer encoder": lambda: Network(zoo.Encoder(), torch.randn(2, 4, 5)),
    "transformer encoder, norm first": lambda: Network(
        zoo.Encoder(norm_first=True, activation="gelu"), torch.randn(2, 4, 5)
    ),
    "transformer": lambda: Network(zoo.Translator(), ((zoo.tokens(), zoo.tokens(length=5)), None)),
    "decoder with tied head": lambda: Network(zoo.Decoder(), zoo.tokens()),
    "grouped queries": lambda: Network(zoo.Grouped(), zoo.tokens()),
    "grouped queries, repeated keys": lambda: Network(zoo.Grouped(gqa=False), zoo.tokens()),
    "grouped queries, plain norms": lambda: Network(zoo.Grouped(affine=False), zoo.tokens()),
    "einsum attention": lambda: Network(zoo.EinsumAttention(), torch.randn(2, 5, 6)),
    "matmul attention": lambda: Network(zoo.MatmulAttention(), torch.randn(2, 5, 6)),
    "shifted windows": lambda: Network(image_zoo.Windows(), images(16)),
    "mixer": lambda: Network(image_zoo.Mixer(), images(16)),
    "u-net, batch norm": lambda: Network(image_zoo.UNet(), images(16)),
    "u-net, group norm": lambda: Network(nets.UNet(), images(16)),
    "convolutional autoencoder": lambda: Network(image_zoo.autoencoder(), images(16, 1)),
    "dilated convolutions": lambda: Network(zoo.WaveNet(), torch.randn(2, 2, 20)),
    "siamese": lambda: Network(zoo.Siamese(), ((images(8, 1), images(8, 1)), None)),
    "contrastive": lambda: Network(zoo.Contrastive(), ((images(8, 1), zoo.tokens()), None)),
    "many inputs and outputs": lambda: Network(
        image_zoo.ManyWays(), ((images(8), torch.randn(2, 5)), None)
    ),
    "squeeze, excite, shuffle": lambda: Network(image_zoo.Squeeze(), images(12)),
    "super resolution": lambda: Network(image_zoo.SuperResolution(), images(8, 1)),
    "kept bias": lambda: Network(nets.Keeps(), torch.randn(2, 5, 6)),
    "mixture of experts": lambda: Network(zoo.Experts(), torch.randn(2, 4, 6)),
}


def vision(name: str, size: int = 32, **options: Any) -> Network:
    return Network(
        getattr(torchvision_models(), name)(weights=None, num_classes=7, **options), images(size)
    )


def bottlenecks(**options: Any) -> Network:
    """Four of ResNet's bottleneck blocks, one for each stage."""
    module = torchvision_models().resnet
    return Network(module.ResNet(module.Bottleneck, [1, 1, 1, 1], 7, **options), images(32))


def vgg(norm: bool) -> Network:
    module = torchvision_models().vgg
    net = module.VGG(
        module.make_layers(
            [8, "M", 16, "M", 24, 24, "M", 32, 32, "M", 32, 32, "M"], batch_norm=norm
        ),
        num_classes=7,
    )
    net.classifier = nn.Sequential(
        nn.Linear(32 * 49, 64),
        nn.ReLU(),
        nn.Dropout(),
        nn.Linear(64, 48),
        nn.ReLU(),
        nn.Linear(48, 7),
    )
    return Network(net, images(32))


def convnext() -> Network:
    module = torchvision_models().convnext
    sizes = [module.CNBlockConfig(8, 16, 1), module.CNBlockConfig(16, None, 1)]
    return Network(module.ConvNeXt(sizes, num_classes=7), images(32))


def dense() -> Network:
    return Network(
        torchvision_models().DenseNet(
            growth_rate=8, block_config=(3, 4, 3), num_init_features=16, num_classes=7
        ),
        images(32),
    )


def vision_transformer() -> Network:
    module = torchvision_models().vision_transformer
    model = module.VisionTransformer(
        image_size=32,
        patch_size=16,
        num_layers=2,
        num_heads=4,
        hidden_dim=24,
        mlp_dim=40,
        num_classes=7,
    )
    nn.init.normal_(model.heads.head.weight)
    return Network(model, images(32))


def swin(version: int) -> Network:
    module = torchvision_models().swin_transformer
    options: dict[str, Any] = (
        {}
        if version == 1
        else {"block": module.SwinTransformerBlockV2, "downsample_layer": module.PatchMergingV2}
    )
    return Network(
        module.SwinTransformer([4, 4], 16, [2, 2], [2, 4], [4, 4], num_classes=7, **options),
        images(64),
    )


NETWORKS |= {
    "torchvision vgg11": lambda: vgg(False),
    "torchvision vgg11_bn": lambda: vgg(True),
    "torchvision resnet18": lambda: vision("resnet18"),
    "torchvision resnet50": lambda: bottlenecks(),
    "torchvision resnext": lambda: bottlenecks(groups=4, width_per_group=8),
    "torchvision wide_resnet": lambda: bottlenecks(width_per_group=96),
    "torchvision densenet": dense,
    "torchvision googlenet": lambda: vision("googlenet", 64, aux_logits=False, init_weights=False),
    "torchvision mobilenet_v2": lambda: vision("mobilenet_v2", width_mult=0.35),
    "torchvision mobilenet_v3": lambda: vision("mobilenet_v3_small", width_mult=0.5),
    "torchvision efficientnet_b0": lambda: vision("efficientnet_b0"),
    "torchvision shufflenet_v2": lambda: vision("shufflenet_v2_x0_5"),
    "torchvision squeezenet": lambda: vision("squeezenet1_1"),
    "torchvision mnasnet": lambda: vision("mnasnet0_5"),
    "torchvision regnet": lambda: vision("regnet_y_400mf"),
    "torchvision convnext": convnext,
    "torchvision vit": vision_transformer,
    "torchvision swin": lambda: swin(1),
    "torchvision swin v2": lambda: swin(2),
}


def image_model(name: str, size: int = 32, **options: Any) -> Network:
    timm = pytest.importorskip("timm", reason="timm is not installed")
    return Network(
        timm.create_model(name, pretrained=False, num_classes=7, **options), images(size)
    )


def mixer(block: str, coverage: float = 0.98, **kinds: str) -> Network:
    """timm's network of layers over patches: plain, with affine maps for norms, or with gates over
    space.
    """
    module = pytest.importorskip("timm.models.mlp_mixer", reason="timm is not installed")
    options: dict[str, Any] = (
        {"mlp_ratio": 4, **{name: getattr(module, kind) for name, kind in kinds.items()}}
        if kinds
        else {}
    )
    model = module.MlpMixer(
        7,
        32,
        patch_size=8,
        num_blocks=2,
        embed_dim=24,
        block_layer=getattr(module, block),
        **options,
    )
    return Network(model, images(32), coverage)


TINY = {"img_size": 32, "patch_size": 16, "embed_dim": 24, "depth": 2, "num_heads": 4}
NETWORKS |= {
    "timm vit": lambda: image_model("vit_tiny_patch16_224", **TINY),
    "timm deit distilled": lambda: image_model("deit_tiny_distilled_patch16_224", **TINY),
    "timm beit": lambda: image_model("beit_base_patch16_224", **TINY),
    "timm swin": lambda: image_model(
        "swin_tiny_patch4_window7_224",
        56,
        img_size=56,
        embed_dim=16,
        depths=(2, 2),
        num_heads=(2, 4),
    ),
    "timm convnext": lambda: image_model(
        "convnext_tiny", depths=(1, 1, 1, 1), dims=(8, 16, 24, 32)
    ),
    "timm mlp mixer": lambda: mixer("MixerBlock"),
    "timm resmlp": lambda: mixer(
        "ResBlock", 0.96, norm_layer="Affine"
    ),  # layers from space to space stay
    "timm se resnet": lambda: image_model("seresnet50", layers=(1, 1, 1, 1)),
    "timm gmlp": lambda: mixer("SpatialGatingBlock", 0.95, mlp_layer="GatedMlp"),  # likewise
}


def vision_class(module: str, kind: str, size: int, **options: Any) -> Network:
    """A network of timm by its class, for sizes that its named variants do not take."""
    found = pytest.importorskip(f"timm.models.{module}", reason="timm is not installed")
    return Network(getattr(found, kind)(num_classes=7, **options), images(size))


NETWORKS |= {
    "timm coatnet": lambda: image_model(
        "coatnet_nano_cc_224", 64, img_size=64, embed_dim=(16, 24, 32, 64), depths=(1, 1, 2, 2)
    ),
    "timm levit": lambda: image_model(
        "levit_128s",
        64,
        img_size=64,
        embed_dim=(16, 24, 32),
        num_heads=(2, 3, 4),
        depth=(1, 1, 1),
        key_dim=4,
    ),
    "timm volo": lambda: vision_class(
        "volo",
        "VOLO",
        64,
        img_size=64,
        layers=[1, 1, 1, 1],
        embed_dims=[16, 24, 24, 24],
        num_heads=[2, 3, 3, 3],
        stem_hidden_dim=8,
    ),
    "timm efficientformer": lambda: vision_class(
        "efficientformer",
        "EfficientFormer",
        224,
        depths=(1, 1, 1, 2),
        embed_dims=(8, 12, 16, 24),
        num_vit=1,
    ),
    "timm efficientformer v2": lambda: vision_class(
        "efficientformer_v2",
        "EfficientFormerV2",
        64,
        img_size=64,
        depths=(1, 1, 2, 2),
        embed_dims=(8, 12, 16, 24),
        num_vit=1,
    ),
    "timm inception v3": lambda: image_model("inception_v3", 75),
    "timm visformer": lambda: image_model(
        "visformer_tiny",
        64,
        img_size=64,
        init_channels=8,
        embed_dim=24,
        depth=(1, 1, 1),
        num_heads=3,
    ),
    "timm eva02": lambda: image_model(
        "eva02_tiny_patch14_224", 28, img_size=28, embed_dim=24, depth=2, num_heads=3
    ),
}
