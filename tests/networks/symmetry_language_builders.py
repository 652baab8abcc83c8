"""Builders of a language network of every common architecture, small, with an input for it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import symmetry_zoo as zoo
import torch
from symmetry_builders import Network, Select, image_model, images


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


LANGUAGE_NETWORKS: dict[str, Callable[[], Network]] = {
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
LANGUAGE_NETWORKS |= {
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
