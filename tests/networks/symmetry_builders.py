"""Builders of a network of every common architecture, small, with an input for it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
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
    "lstm": lambda: Network(zoo.Recurrent("LSTM"), zoo.tokens()),
    "lstm with projection": lambda: Network(
        zoo.Recurrent("LSTM", proj_size=5, num_layers=2), zoo.tokens()
    ),
    "gru": lambda: Network(zoo.Recurrent("GRU", "state"), zoo.tokens()),
    "gru in layers": lambda: Network(zoo.Recurrent("GRU", "states", num_layers=3), zoo.tokens()),
    "tanh rnn": lambda: Network(
        zoo.Recurrent("RNN", num_layers=2, bidirectional=True), zoo.tokens()
    ),
    "relu rnn": lambda: Network(zoo.Recurrent("RNN", "state", nonlinearity="relu"), zoo.tokens()),
    "bidirectional stack": lambda: Network(zoo.Stacked(), zoo.tokens()),
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
    "shifted windows": lambda: Network(zoo.Windows(), images(16)),
    "mixer": lambda: Network(zoo.Mixer(), images(16)),
    "u-net, batch norm": lambda: Network(zoo.UNet(), images(16)),
    "u-net, group norm": lambda: Network(nets.UNet(), images(16)),
    "convolutional autoencoder": lambda: Network(zoo.autoencoder(), images(16, 1)),
    "dilated convolutions": lambda: Network(zoo.WaveNet(), torch.randn(2, 2, 20)),
    "siamese": lambda: Network(zoo.Siamese(), ((images(8, 1), images(8, 1)), None)),
    "contrastive": lambda: Network(zoo.Contrastive(), ((images(8, 1), zoo.tokens()), None)),
    "many inputs and outputs": lambda: Network(
        zoo.ManyWays(), ((images(8), torch.randn(2, 5)), None)
    ),
    "squeeze, excite, shuffle": lambda: Network(zoo.Squeeze(), images(12)),
    "super resolution": lambda: Network(zoo.SuperResolution(), images(8, 1)),
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


def language(
    name: str,
    task: str,
    field: str = "logits",
    inputs: Any = None,
    call: dict[str, Any] | None = None,
    **sizes: Any,
) -> Network:
    """A Hugging Face network from a config: `name`Config and `name``task`."""
    transformers = pytest.importorskip("transformers", reason="transformers is not installed")
    config = getattr(transformers, f"{name}Config")(**sizes)
    model = getattr(transformers, f"{name}{task}")(config)
    return Network(
        Select(model, field, **(call or {})), zoo.tokens(50, 9) if inputs is None else inputs
    )


OLD = {
    "vocab_size": 50,
    "hidden_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 40,
}
NEW = {
    **OLD,
    "hidden_size": 32,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
PLAIN = {"use_cache": False}


def causal(name: str, **sizes: Any) -> Network:
    return language(name, "ForCausalLM", call=PLAIN, **sizes)


def t5(kind: str) -> Network:
    sizes = {
        "vocab_size": 50,
        "d_model": 24,
        "d_kv": 6,
        "d_ff": 40,
        "num_layers": 2,
        "num_heads": 4,
        "feed_forward_proj": kind,
    }
    inputs = {"input_ids": zoo.tokens(50, 9), "decoder_input_ids": zoo.tokens(50, 6)}
    return language("T5", "ForConditionalGeneration", inputs=inputs, call=PLAIN, **sizes)


def whisper() -> Network:
    sizes = {
        "vocab_size": 60,
        "d_model": 24,
        "encoder_layers": 2,
        "decoder_layers": 2,
        "encoder_attention_heads": 4,
        "num_mel_bins": 8,
    }
    sizes |= {
        "decoder_attention_heads": 4,
        "encoder_ffn_dim": 32,
        "decoder_ffn_dim": 32,
        "max_source_positions": 10,
        "max_target_positions": 16,
    }
    sizes |= {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "decoder_start_token_id": 3}
    inputs = {"input_features": torch.randn(2, 8, 20), "decoder_input_ids": zoo.tokens(60, 6)}
    return language("Whisper", "ForConditionalGeneration", inputs=inputs, call=PLAIN, **sizes)


def clip() -> Network:
    text = {
        **OLD,
        "max_position_embeddings": 16,
        "eos_token_id": 2,
        "bos_token_id": 1,
        "pad_token_id": 0,
    }
    image = {
        "hidden_size": 24,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "intermediate_size": 40,
        "image_size": 32,
        "patch_size": 16,
    }
    inputs = {"input_ids": zoo.tokens(50, 9), "pixel_values": images(32)}
    return language(
        "CLIP",
        "Model",
        "logits_per_image",
        inputs,
        text_config=text,
        vision_config=image,
        projection_dim=16,
    )


NETWORKS |= {
    "transformers bert": lambda: language("Bert", "ForSequenceClassification", **OLD),
    "transformers roberta": lambda: language(
        "Roberta", "ForSequenceClassification", **OLD, pad_token_id=0
    ),
    "transformers distilbert": lambda: language(
        "DistilBert", "ForMaskedLM", vocab_size=50, dim=24, n_layers=2, n_heads=4, hidden_dim=40
    ),
    "transformers albert": lambda: language("Albert", "ForMaskedLM", **OLD, embedding_size=12),
    "transformers electra": lambda: language(
        "Electra", "ForSequenceClassification", **OLD, embedding_size=12
    ),
    "transformers gpt2": lambda: language(
        "GPT2",
        "LMHeadModel",
        call=PLAIN,
        vocab_size=50,
        n_embd=24,
        n_layer=2,
        n_head=4,
        n_positions=32,
    ),
    "transformers gpt_neox": lambda: causal("GPTNeoX", **OLD),
    "transformers opt": lambda: causal("OPT", **OLD, ffn_dim=40, word_embed_proj_dim=24),
    "transformers bloom": lambda: causal(
        "Bloom", vocab_size=50, hidden_size=24, n_layer=2, n_head=4
    ),
    "transformers llama": lambda: causal("Llama", **NEW),
    "transformers llama, tied": lambda: causal("Llama", **NEW, tie_word_embeddings=True),
    "transformers mistral": lambda: causal("Mistral", **NEW),
    "transformers qwen2": lambda: causal(
        "Qwen2", **{k: v for k, v in NEW.items() if k != "head_dim"}
    ),
    "transformers qwen3": lambda: causal("Qwen3", **NEW),
    "transformers gemma": lambda: causal("Gemma", **NEW),
    "transformers gemma2": lambda: causal("Gemma2", **NEW),
    "transformers phi": lambda: causal(
        "Phi", **{**OLD, "hidden_size": 32}, pad_token_id=0, bos_token_id=1, eos_token_id=2
    ),
    "transformers t5": lambda: t5("relu"),
    "transformers t5, gated": lambda: t5("gated-gelu"),
    "transformers whisper": whisper,
    "transformers clip": clip,
    "transformers vit": lambda: language(
        "ViT",
        "ForImageClassification",
        inputs=images(32),
        hidden_size=24,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=40,
        image_size=32,
        patch_size=16,
    ),
}


def experts(name: str, **sizes: Any) -> Network:
    """A mixture of experts: batched products, as the loop over the experts that were hit depends on
    the data.
    """
    transformers = pytest.importorskip("transformers", reason="transformers is not installed")
    config = getattr(transformers, f"{name}Config")(**sizes)
    model = getattr(transformers, f"{name}ForCausalLM")._from_config(
        config, experts_implementation="batched_mm"
    )
    return Network(Select(model, "logits", **PLAIN), zoo.tokens(50, 9))


SMALL = {"vocab_size": 50, "n_embd": 32, "n_layer": 2, "n_head": 4}
BOTTLENECK = {"embedding_size": 12, "true_hidden_size": 16, "intra_bottleneck_size": 16}
NETWORKS |= {
    "timm cait": lambda: image_model(
        "cait_xxs24_224", img_size=32, embed_dim=24, depth=2, num_heads=4
    ),
    "timm xcit": lambda: image_model(
        "xcit_nano_12_p16_224", img_size=32, embed_dim=24, depth=2, num_heads=4
    ),
    "timm edgenext": lambda: image_model("edgenext_xx_small", depths=(1, 1, 2, 1)),
    "timm ghostnet": lambda: image_model("ghostnet_050"),
    "timm repvgg": lambda: image_model("repvgg_a0", 32),
    "timm resnetv2": lambda: image_model("resnetv2_50", 32, layers=(1, 1, 1, 1)),
    "timm resnest": lambda: image_model("resnest14d", 32),
    "timm res2net": lambda: image_model("res2net50_14w_8s", 32, layers=(1, 1, 1, 1)),
    "timm skresnet": lambda: image_model("skresnet18", 32),
    "timm nf_regnet": lambda: image_model("nf_regnet_b0", 32),
    "timm mobilevit": lambda: image_model("mobilevit_xxs", 64),
    "timm mobilenetv4": lambda: image_model("mobilenetv4_conv_small", 32),
    "transformers gptj": lambda: causal("GPTJ", **SMALL, rotary_dim=4),
    "transformers codegen": lambda: causal("CodeGen", **SMALL, rotary_dim=4),
    "transformers gpt_bigcode": lambda: causal("GPTBigCode", **SMALL),
    "transformers falcon": lambda: causal(
        "Falcon", vocab_size=50, hidden_size=32, num_hidden_layers=2, num_attention_heads=4
    ),
    "transformers mpt": lambda: causal("Mpt", vocab_size=50, d_model=32, n_layers=2, n_heads=4),
    "transformers stablelm": lambda: causal("StableLm", **NEW),
    "transformers starcoder2": lambda: causal("Starcoder2", **NEW),
    "transformers phi3": lambda: causal("Phi3", **NEW),
    "transformers olmo2": lambda: causal("Olmo2", **NEW),
    "transformers cohere": lambda: causal("Cohere", **NEW),
    "transformers glm": lambda: causal("Glm", **NEW),
    "transformers nemotron": lambda: causal("Nemotron", **NEW),
    "transformers mamba": lambda: causal(
        "Mamba", vocab_size=50, hidden_size=16, num_hidden_layers=2, state_size=4
    ),
    "transformers rwkv": lambda: causal("Rwkv", vocab_size=50, hidden_size=16, num_hidden_layers=2),
    "transformers mixtral": lambda: experts("Mixtral", **NEW, num_local_experts=3),
    "transformers deberta_v2": lambda: language("DebertaV2", "ForSequenceClassification", **OLD),
    "transformers xlnet": lambda: language(
        "XLNet",
        "ForSequenceClassification",
        vocab_size=50,
        d_model=24,
        n_layer=2,
        n_head=4,
        d_inner=40,
    ),
    "transformers mobilebert": lambda: language(
        "MobileBert", "ForSequenceClassification", **OLD, **BOTTLENECK
    ),
    "transformers mpnet": lambda: language("MPNet", "ForSequenceClassification", **OLD),
    "transformers squeezebert": lambda: language(
        "SqueezeBert", "ForSequenceClassification", **OLD, embedding_size=24
    ),
    "transformers modernbert": lambda: language(
        "ModernBert", "ForSequenceClassification", **OLD, pad_token_id=0
    ),
    "transformers convbert": lambda: language(
        "ConvBert", "ForSequenceClassification", **OLD, embedding_size=24
    ),
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
