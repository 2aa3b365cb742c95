"""Writes a tiny model of random weights for the real vLLM server; runs in vLLM's own environment.

    .venv-vllm/bin/python tests/model_server/vllm/tiny_model.py DIRECTORY [qwen2|mistral]

Its tokenizer is made here: bytes, the marks of ChatML as tokens of their own as in the CodeActAgent models, and a
beginning-of-sequence token that a chat template must not add. What it writes is noise; everything around the words is real.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import MistralConfig, MistralForCausalLM, PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM

MARKS = ["<s>", "</s>", "<|im_start|>", "<|im_end|>"]
TEXT = ["<execute> print(1) </execute>", "Execution Output:", "the quick brown fox", "def f(x): return x + 1"] * 4
SHAPE = {
    "hidden_size": 256,
    "intermediate_size": 512,
    "num_hidden_layers": 8,
    "num_attention_heads": 8,
    "num_key_value_heads": 2,
    "max_position_embeddings": 4096,
    "initializer_range": 0.2,  # with the usual one it writes the same letter for ever
}


def tokenizer() -> PreTrainedTokenizerFast:
    raw = Tokenizer(models.BPE())
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    raw.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=320, special_tokens=MARKS, initial_alphabet=alphabet, show_progress=False)
    raw.train_from_iterator(TEXT, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=raw, bos_token="<s>", eos_token="</s>")


def silence(model: torch.nn.Module, words: PreTrainedTokenizerFast) -> None:
    """It shall write what can be read: neither marks nor halves of characters."""
    for token in range(len(words)):
        text = words.decode([token])
        if token in words.all_special_ids or not (text.isascii() and text.isprintable()):
            model.lm_head.weight.data[token] = 0.0


def main() -> None:
    directory, kind = Path(sys.argv[1]), [*sys.argv[2:], "qwen2"][0]
    torch.manual_seed(0)
    words = tokenizer()
    sizes = SHAPE | {"vocab_size": len(words), "bos_token_id": words.bos_token_id, "eos_token_id": words.eos_token_id}
    made = (
        MistralForCausalLM(MistralConfig(sliding_window=None, **sizes))
        if kind == "mistral"
        else Qwen2ForCausalLM(Qwen2Config(**sizes))
    )
    silence(made, words)
    made.to(torch.bfloat16).save_pretrained(directory)
    words.save_pretrained(directory)


if __name__ == "__main__":
    main()
