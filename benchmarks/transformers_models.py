#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Models of Hugging Face Transformers with attn_implementation="flashcore" beside eager attention in float32.

usage: transformers_models.py [--out OUT.json] [--device cuda|cpu] [--dtype bf16 fp16]

A Llama-style model (grouped-query) and a GPT-2-style one, small and randomly initialised with one seed; the weights are rounded to the
16-bit type first, so that both sides have the same. Compared are logits: of a prefill, of every step of a greedy generation
with a cache (eager says its own to the same tokens, in one pass), and of a batch with left padding, in prefill and generation.

The yardstick is eager attention in the same 16-bit type: flashcore's largest difference to float32 may be at most 1.5 times eager's,
plus a thousandth of the largest logit. Tokens must be the same as eager's, except where eager's two best logits are closer than
that limit. Exit status 1 when a comparison fails. FLASHCORE_LIBRARY names the library.
"""
import argparse
import os
import subprocess
import sys
import time
import warnings

import torch
import transformers

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../bindings/python"))
import flashcore
import flashcore.torch as on_torch
import flashcore.transformers as on_transformers
import summarize_results

DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}
VOCABULARY = 1000
NO_SPECIAL = {"bos_token_id": None, "eos_token_id": None, "pad_token_id": None}


def models(big):
    """name -> (class, config). Head dimensions 128 and 64. Weights that are drawn wider (0.05 in the first) make the layers amplify
    every rounding until eager attention itself is off by most of a logit, and the comparison says nothing."""
    layers, width = (4, 1024) if big else (2, 256)
    yield "llama", transformers.LlamaForCausalLM, transformers.LlamaConfig(
        vocab_size=VOCABULARY, hidden_size=width, intermediate_size=2 * width, num_hidden_layers=layers, num_attention_heads=width // 128 * 2,
        num_key_value_heads=width // 256, head_dim=128, max_position_embeddings=4096, initializer_range=0.02, **NO_SPECIAL)
    yield "gpt2", transformers.GPT2LMHeadModel, transformers.GPT2Config(
        vocab_size=VOCABULARY, n_embd=width, n_layer=layers, n_head=width // 64, n_positions=4096, initializer_range=0.05, **NO_SPECIAL)


def build(kind, config, implementation, dtype, device, weights=None):
    torch.manual_seed(20261120)
    model = kind._from_config(type(config)(**config.to_dict()), attn_implementation=implementation).eval()
    assert model.config._attn_implementation == implementation, model.config._attn_implementation
    if weights is not None:
        model.load_state_dict(weights)
    return model.to(device, dtype)


class Comparison:
    """One model in one type: eager float32, eager 16-bit, flashcore 16-bit."""

    def __init__(self, name, kind, config, dtype_name, device):
        dtype = DTYPES[dtype_name]
        rounded = {key: tensor.to(dtype).float() for key, tensor in build(kind, config, "eager", torch.float32, "cpu").state_dict().items()}
        self.eager32 = build(kind, config, "eager", torch.float32, device, rounded)
        self.eager16 = build(kind, config, "eager", dtype, device, rounded)
        self.ours = build(kind, config, "flashcore", dtype, device, rounded)
        self.name, self.dtype_name, self.device, self.rows = name, dtype_name, device, []
        self.generator = torch.Generator().manual_seed(7)

    def tokens(self, batch, length):
        return torch.randint(1, VOCABULARY, (batch, length), generator=self.generator).to(self.device)

    def add(self, what, expected, eager, ours, where=None, **more):
        pick = (lambda tensor: tensor.float()) if where is None else (lambda tensor: tensor.float()[where])
        expected, eager, ours = pick(expected), pick(eager), pick(ours)
        error, yardstick, largest = ((one.abs().max().item()) for one in (ours - expected, eager - expected, expected))
        row = {"model": self.name, "dtype": self.dtype_name, "what": what, "max_error": error, "eager_16bit_max_error": yardstick,
               "largest_logit": largest, "limit": 1.5 * yardstick + 1e-3 * largest, **more}
        row["ok"] = bool(torch.isfinite(ours).all()) and error <= row["limit"] and row.get("different_tokens", 0) == 0
        self.rows.append(row)
        return row

    def prefill(self, batch, length):
        given = self.tokens(batch, length)
        self.add(f"prefill {batch} x {length}", *(model(given).logits for model in (self.eager32, self.eager16, self.ours)))

    def padded_prefill(self, lengths):
        given, mask, positions = self.padded(lengths)
        self.add(f"prefill, padded to {max(lengths)}", *(model(given, attention_mask=mask, position_ids=positions).logits
                                                        for model in (self.eager32, self.eager16, self.ours)), where=mask.bool())

    def padded(self, lengths):
        given = self.tokens(len(lengths), max(lengths))
        mask = torch.ones_like(given)
        for row, length in enumerate(lengths):
            mask[row, :max(lengths) - length] = 0
        return given, mask, (mask.cumsum(1) - 1).clamp(min=0)

    def generation(self, lengths, steps):
        given, mask, _ = self.padded(lengths)
        start = time.perf_counter()
        made = self.ours.generate(given, attention_mask=mask, max_new_tokens=steps, do_sample=False, pad_token_id=0, output_logits=True,
                                  return_dict_in_generate=True)
        seconds = time.perf_counter() - start
        ours = torch.stack(made.logits, 1)
        full = torch.cat((mask, torch.ones(len(lengths), steps, dtype=mask.dtype, device=mask.device)), 1)
        positions = (full.cumsum(1) - 1).clamp(min=0)
        expected, eager = (model(made.sequences, attention_mask=full, position_ids=positions).logits[:, max(lengths) - 1:-1]
                           for model in (self.eager32, self.eager16))
        # A token that differs from eager's choice is a fault unless the two logits are a tie within the limit.
        limit = 1.5 * (eager.float() - expected).abs().max() + 1e-3 * expected.abs().max()
        chosen = expected.gather(2, made.sequences[:, max(lengths):, None])[..., 0]
        behind = expected.amax(2) - chosen
        padded = f", padded to {max(lengths)}" if len(set(lengths)) > 1 else ""
        self.add(f"generation {len(lengths)} x {max(lengths)} + {steps}{padded}", expected, eager, ours, seconds=round(seconds, 3),
                 same_tokens=int((behind == 0).sum()), ties=int(((behind > 0) & (behind <= 2 * limit)).sum()),
                 different_tokens=int((behind > 2 * limit).sum()))


def environment(device):
    ask = lambda *command: subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
    commit = os.environ.get("FLASHCORE_COMMIT") or ask("git", "-C", os.path.dirname(os.path.abspath(__file__)), "describe", "--always", "--dirty")
    gpu = ask("nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader") if device == "cuda" else None
    return {"schema": "flashcore.transformers_models/1", "commit": commit, "torch": torch.__version__, "transformers": transformers.__version__,
            "gpu": gpu, "device": on_torch.context(device).describe().device.name, "flashcore": flashcore.version()}


def main():
    warnings.filterwarnings("ignore", category=UserWarning)
    transformers.logging.set_verbosity_error()
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--dtype", nargs="*", choices=tuple(DTYPES), default=list(DTYPES))
    options = parser.parse_args()
    if options.device == "cuda":  # float32 means float32
        torch.backends.cuda.matmul.allow_tf32 = False
    on_transformers.register()
    report, big = {**environment(options.device), "rows": []}, options.device == "cuda"
    with torch.inference_mode():
        for dtype_name in options.dtype:
            for name, kind, config in models(big):
                comparison = Comparison(name, kind, config, dtype_name, options.device)
                comparison.prefill(2, 512 if big else 96)
                comparison.prefill(1, 1000 if big else 33)
                comparison.generation([64] * 2, 64 if big else 12)
                comparison.padded_prefill([300, 77, 1, 222] if big else [40, 17, 1, 33])
                comparison.generation([60, 21, 44], 32 if big else 8)
                for row in comparison.rows:
                    print(f"{row['model']:6}{row['dtype']:5} {row['what']:36} max error {row['max_error']:.4f}, eager's {row['eager_16bit_max_error']:.4f}, "
                          f"limit {row['limit']:.4f}, largest logit {row['largest_logit']:.2f}"
                          + (f", tokens {row['same_tokens']} same, {row['ties']} ties, {row['different_tokens']} different" if "ties" in row else "")
                          + ("" if row["ok"] else "   FAILED"), flush=True)
                report["rows"] += comparison.rows
    failed = sum(not row["ok"] for row in report["rows"])
    if options.out:
        summarize_results.write(options.out, report)
    print(f"{len(report['rows']) - failed} of {len(report['rows'])} comparisons passed")
    sys.exit(1 if failed else 0)


main()
