"""Models of transformers, of random weights and a few kilobytes, saved as real ones are."""

import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
tokenizers = pytest.importorskip("tokenizers")

_SPECIAL = {
    "image_token": "<|IMAGE|>",
    "audio_token": "<|AUDIO|>",
    "video_token": "<|VIDEO|>",
    "vision_bos_token": "<|vision_bos|>",
    "vision_eos_token": "<|vision_eos|>",
    "audio_bos_token": "<|audio_bos|>",
    "audio_eos_token": "<|audio_eos|>",
}


def byte_tokenizer(**options):
    """A token a byte, and one for each of the words True and False, with a space before it or not."""
    alphabet = sorted(tokenizers.pre_tokenizers.ByteLevel.alphabet())
    vocabulary, merges = {letter: number for number, letter in enumerate(alphabet)}, []
    for word in ("True", "False"):
        for first, second in [*((word[:end], word[end]) for end in range(1, len(word))), ("Ġ", word)]:
            vocabulary[first + second] = len(vocabulary)
            merges.append((first, second))
    tokenizer = tokenizers.Tokenizer(tokenizers.models.BPE(vocab=vocabulary, merges=merges))
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = tokenizers.decoders.ByteLevel()
    return transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="<|endoftext|>", **options)


def save_thinker(folder, generation):
    """Qwen2.5-Omni's Thinker, or Qwen3-Omni's."""
    torch.manual_seed(generation)
    tokenizer = byte_tokenizer(
        eos_token="<|im_end|>", extra_special_tokens=_SPECIAL, additional_special_tokens=["<|im_start|>"]
    )
    rope = {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [1, 1, 2]}
    text = {
        "vocab_size": len(tokenizer) + 3,
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 4096,
        "pad_token_id": tokenizer.pad_token_id,
    }
    audio = {
        "d_model": 16,
        "encoder_attention_heads": 2,
        "encoder_ffn_dim": 16,
        "encoder_layers": 1,
        "num_mel_bins": 128,
        "output_dim": 32,
    }
    vision = {"depth": 1, "hidden_size": 16, "intermediate_size": 16, "num_heads": 2, "out_hidden_size": 32}
    ids = {
        "vision_start_token_id": tokenizer.vision_bos_token_id,
        "vision_end_token_id": tokenizer.vision_eos_token_id,
        "audio_start_token_id": tokenizer.audio_bos_token_id,
        "audio_end_token_id": tokenizer.audio_eos_token_id,
        "user_token_id": 1,
    }
    tokens = {name: getattr(tokenizer, f"{name}_token_id") for name in ("audio", "image", "video")}
    if generation == 2:
        config = transformers.Qwen2_5OmniThinkerConfig(
            audio_config={**audio, "n_window": 100},
            vision_config={**vision, "fullatt_block_indexes": [0]},
            text_config={**text, "rope_parameters": rope},
            **{f"{name}_token_index": token for name, token in tokens.items()},
            **ids,
        )
        model = transformers.Qwen2_5OmniThinkerForConditionalGeneration(config)
    else:
        experts = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16, "decoder_sparse_step": 1}
        config = transformers.Qwen3OmniMoeThinkerConfig(
            audio_config={
                **audio,
                "n_window": 50,
                "n_window_infer": 800,
                "downsample_hidden_size": 8,
                "num_hidden_layers": 1,
            },
            vision_config={**vision, "deepstack_visual_indexes": [0], "num_position_embeddings": 16},
            text_config={**text, **experts, "head_dim": 8, "rope_parameters": {**rope, "mrope_interleaved": True}},
            **{f"{name}_token_id": token for name, token in tokens.items()},
            **ids,
        )
        model = transformers.Qwen3OmniMoeThinkerForConditionalGeneration(config)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    transformers.WhisperFeatureExtractor(feature_size=128).save_pretrained(folder)
    return str(folder)


def save_ast(folder, names):
    """An Audio Spectrogram Transformer of these classes."""
    torch.manual_seed(0)
    config = transformers.ASTConfig(
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        max_length=128,
        id2label=dict(enumerate(names)),
        label2id={name: number for number, name in enumerate(names)},
        num_labels=len(names),
    )
    transformers.ASTForAudioClassification(config).save_pretrained(folder)
    transformers.ASTFeatureExtractor(max_length=128).save_pretrained(folder)
    return str(folder)


def save_clap(folder):
    """CLAP with one layer of each kind."""
    torch.manual_seed(0)
    tokenizer = byte_tokenizer(eos_token="</s>", bos_token="<s>")
    text = {
        "vocab_size": len(tokenizer),
        "hidden_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "intermediate_size": 16,
        "max_position_embeddings": 1024,
        "projection_dim": 8,
        "pad_token_id": tokenizer.pad_token_id,
    }
    audio = {
        "hidden_size": 32,
        "patch_embeds_hidden_size": 16,
        "depths": [1, 1],
        "num_attention_heads": [2, 2],
        "num_hidden_layers": 2,
        "spec_size": 256,
        "num_mel_bins": 64,
        "projection_dim": 8,
        "hidden_dropout_prob": 0.0,
    }
    config = transformers.ClapConfig(text_config=text, audio_config=audio, projection_dim=8)
    transformers.ClapModel(config).save_pretrained(folder)
    transformers.ClapFeatureExtractor(truncation="rand_trunc").save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)
