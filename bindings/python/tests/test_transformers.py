# SPDX-License-Identifier: Apache-2.0
"""attn_implementation="flashcore" in small, randomly initialised models of Transformers, against eager float32: prefill, decoding
with caches, padded batches, encoders and cross attention, compiled; and the refusals. On the GPU where there is one."""
import copy
import inspect
import unittest
import warnings

import support
from support import torch

import flashcore
from flashcore import UnsupportedError

try:
    import transformers
except ImportError:
    transformers = None

if torch is not None and transformers is not None:
    import flashcore.transformers as on_transformers
    on_transformers.register()
    DEVICE = support.TORCH_DEVICES[-1]
    TINY = dict(vocab_size=96, bos_token_id=None, eos_token_id=None, pad_token_id=None)

    def llama(**more):
        return transformers.LlamaForCausalLM, transformers.LlamaConfig(
            hidden_size=256, intermediate_size=256, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
            max_position_embeddings=256, **TINY, **more)

    def gpt2(**more):
        return transformers.GPT2LMHeadModel, transformers.GPT2Config(n_embd=256, n_layer=2, n_head=4, n_positions=256, **TINY, **more)

    def gpt_oss():
        """Sinks, windows in every second layer, and a name without "flash" in it, which this model does not take."""
        on_transformers.register("fc")
        return transformers.GptOssForCausalLM, transformers.GptOssConfig(
            hidden_size=256, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2, head_dim=64,
            max_position_embeddings=256, sliding_window=8, num_local_experts=2, num_experts_per_tok=1,
            **{"rope_parameters": {"rope_type": "default", "rope_theta": 10000.0}, **TINY})

    def gemma2():
        return transformers.Gemma2ForCausalLM, transformers.Gemma2Config(
            hidden_size=256, intermediate_size=256, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2, head_dim=64,
            max_position_embeddings=256, sliding_window=8, attn_logit_softcapping=2.0, query_pre_attn_scalar=64, **TINY)

    def mistral(window):
        return transformers.MistralForCausalLM, transformers.MistralConfig(
            hidden_size=256, intermediate_size=256, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2, head_dim=64,
            max_position_embeddings=256, sliding_window=window, **TINY)


def pair(made, dtype=None, name="flashcore"):
    """(eager in float32, flashcore in 16 bits) with the same weights, which both types hold exactly."""
    kind, config = made
    torch.manual_seed(7)
    eager = kind._from_config(copy.deepcopy(config), attn_implementation="eager").eval().to(DEVICE)
    for parameter in eager.parameters():
        parameter.data = parameter.data.to(dtype or torch.bfloat16).float()
    ours = kind._from_config(copy.deepcopy(config), attn_implementation=name).eval().to(DEVICE)
    ours.load_state_dict(eager.state_dict())
    return eager, ours.to(dtype or torch.bfloat16)


def tokens(batch, length, seed=3):
    # Without 0, which generate() takes for padding.
    return torch.randint(1, 96, (batch, length), generator=torch.Generator().manual_seed(seed)).to(DEVICE)


@unittest.skipIf(torch is None or transformers is None, "PyTorch or Transformers is not installed")
class TestTransformers(support.ContextTest):
    def setUp(self):
        super().setUp()
        mode = torch.inference_mode()
        mode.__enter__()
        self.addCleanup(mode.__exit__, None, None, None)

    def close_to(self, ours, expected, where=None):
        """Within what the rest of a model costs in 16 bits: 3 % of the largest logit."""
        difference = (ours.float() - expected).abs()
        difference = difference if where is None else difference[where]
        self.assertLess(difference.max().item(), 0.03 * expected.abs().max().item())

    def models(self):
        for made in (llama(), gpt2()):
            for dtype in (torch.bfloat16, torch.float16):
                yield pair(made, dtype)

    def test_it_is_used(self):
        _, ours = pair(llama())
        calls = []
        real = on_transformers.attention
        self.addCleanup(setattr, on_transformers, "attention", real)
        on_transformers.attention = lambda *given, **options: calls.append(options["causal"]) or real(*given, **options)
        ours(tokens(1, 5))
        self.assertEqual(calls, ["bottom_right"] * 2)

    def test_prefill(self):
        for eager, ours in self.models():
            for batch, length in ((1, 1), (2, 37), (1, 130)):
                given = tokens(batch, length)
                self.close_to(ours(given).logits, eager(given).logits)
                self.close_to(ours(given, use_cache=False).logits, eager(given, use_cache=False).logits)

    def test_decode_step_by_step(self):
        """The same tokens through a cache: one at a time, and several at once, which are causal at the end of the keys."""
        for eager, ours in self.models():
            given = tokens(2, 40)
            expected = eager(given).logits
            for steps in ((20, 1, 1, 1, 17), (1,) * 40, (5, 7, 28)):
                cache, seen = None, 0
                for step in steps:
                    out = ours(given[:, seen:seen + step], past_key_values=cache, use_cache=True)
                    cache = out.past_key_values
                    self.close_to(out.logits, expected[:, seen:seen + step])
                    seen += step

    def test_static_cache(self):
        eager, ours = pair(llama())
        given = tokens(2, 24)
        expected = eager(given).logits
        older = {"max_batch_size": 2, "device": DEVICE, "dtype": torch.bfloat16}  # arguments of older versions
        known = inspect.signature(transformers.StaticCache).parameters
        cache = transformers.StaticCache(config=ours.config, max_cache_len=64, **{name: older[name] for name in older if name in known})
        for start, stop in ((0, 20), (20, 21), (21, 24)):
            positions = torch.arange(start, stop, device=DEVICE)
            out = ours(given[:, start:stop], past_key_values=cache, use_cache=True, cache_position=positions)
            self.close_to(out.logits, expected[:, start:stop])

    def test_generate(self):
        for eager, ours in self.models():
            given = tokens(2, 12)
            made = ours.generate(given, max_new_tokens=12, do_sample=False, pad_token_id=0, return_dict_in_generate=True, output_logits=True)
            # What eager says to the same tokens; a tie within the tolerance may choose another token, so logits are compared.
            expected = eager(made.sequences).logits[:, 11:-1]
            self.close_to(torch.stack(made.logits, 1), expected)

    def test_padded_batch(self):
        for eager, ours in self.models():
            given = tokens(3, 30)
            for side in ("left", "right"):
                mask = torch.ones_like(given)
                for row, count in ((0, 11), (2, 29)):
                    mask[row, :count if side == "left" else 30] = 0
                    if side == "right":
                        mask[row, :30 - count] = 1
                positions = (mask.cumsum(1) - 1).clamp(min=0)
                expected = eager(given, attention_mask=mask, position_ids=positions).logits
                self.close_to(ours(given, attention_mask=mask, position_ids=positions).logits, expected, mask.bool())
                # Each sequence alone says the same.
                alone = given[:1, 11:] if side == "left" else given[:1, :19]
                self.close_to(ours(given, attention_mask=mask, position_ids=positions).logits[:1][:, mask[0].bool()], eager(alone).logits)

    def test_padded_generate(self):
        eager, ours = pair(llama())
        given, mask = tokens(2, 20), torch.ones(2, 20, dtype=torch.long, device=DEVICE)
        mask[0, :7] = 0
        made = ours.generate(given, attention_mask=mask, max_new_tokens=6, do_sample=False, pad_token_id=0, return_dict_in_generate=True,
                             output_logits=True)
        logits = torch.stack(made.logits, 1)
        self.close_to(logits[0], eager(made.sequences[:1, 7:]).logits[0, 12:-1])
        self.close_to(logits[1], eager(made.sequences[1:]).logits[0, 19:-1])

    def test_generate_with_a_static_cache(self):
        """generate() makes the masks itself there and hands them to the model; plain, padded and compiled."""
        for made in (llama(), mistral(8), gpt2()):
            _, ours = pair(made)
            eager = copy.deepcopy(ours)
            eager.set_attn_implementation("eager")
            given = tokens(2, 9)
            padded = torch.ones_like(given)
            padded[0, :4] = 0
            for mask in (None, padded):
                for cache in self.static_caches(ours, mask):
                    with self.subTest(model=type(ours).__name__, padded=mask is padded, cache=cache.__name__):
                        options = dict(attention_mask=mask, max_new_tokens=8, do_sample=False, pad_token_id=0, return_dict_in_generate=True,
                                       output_logits=True)
                        try:
                            fresh = copy.deepcopy(ours)  # a cache that a refusal left half made stays with its model
                            found = fresh.generate(given, **options, **cache(fresh))
                        except UnsupportedError as refusal:  # of the library, for a window shorter than the keys
                            self.assertEqual((type(ours), refusal.field in ("window_left", "flags")), (transformers.MistralForCausalLM, True))
                            continue
                        expected = eager.generate(given, **options)
                        same = (found.sequences == expected.sequences).all(0)[9:]
                        steps = len(same) if bool(same.all()) else int(same.int().argmin()) + 1
                        for step in range(steps):  # up to the first word that rounding chose otherwise
                            self.close_to(found.logits[step], expected.logits[step].float())

    def static_caches(self, ours, mask):
        """Ways to ask for one; the compiled one, which takes long, once."""
        def by_name(model):
            return {"cache_implementation": "static", "disable_compile": True}

        def by_object(model):
            older = {"max_batch_size": 2, "device": DEVICE, "dtype": torch.bfloat16}  # arguments of older versions
            known = inspect.signature(transformers.StaticCache).parameters
            return {"past_key_values": transformers.StaticCache(config=model.config, max_cache_len=40,
                                                                **{name: older[name] for name in older if name in known}),
                    "disable_compile": True}

        def compiled(model):
            torch._dynamo.reset()
            how = transformers.CompileConfig(backend="aot_eager", mode=None)
            how._compile_all_devices = True
            return {"cache_implementation": "static", "compile_config": how}
        return [by_name, by_object] + [compiled] * (mask is not None and type(ours) is transformers.LlamaForCausalLM)

    def test_names_that_are_refused(self):
        """A paged name in a model without a paged cache, and one with "flash" in it where a model lists the FlashAttention that it takes."""
        on_transformers.register("fc")
        kind, config = llama()
        for name in ("flashcore", "fc"):
            ours = kind._from_config(copy.deepcopy(config), attn_implementation=name).to(DEVICE, torch.bfloat16)
            ours.set_attn_implementation(f"paged|{name}")
            self.refused(UnsupportedError, "cache", "for continuous batching", lambda: ours(tokens(1, 4), use_cache=False))

        class Picky(kind):
            _compatible_flash_implementations = ["flash_attention_4"]
        self.refused(UnsupportedError, "attn_implementation", "lets this model have flash_attention_4 alone",
                     lambda: Picky._from_config(copy.deepcopy(config), attn_implementation="flashcore"))
        self.assertEqual(Picky._from_config(copy.deepcopy(config), attn_implementation="fc").config._attn_implementation, "fc")
        self.assertEqual(kind._from_config(copy.deepcopy(config), attn_implementation="eager").config._attn_implementation, "eager")

    def test_continuous_batching(self):
        """Requests of different lengths, prompts in pieces: each word is one that eager float32 would say, or as good as that."""
        if not hasattr(transformers, "ContinuousBatchingConfig"):
            self.skipTest("this Transformers has another way of continuous batching")
        on_transformers.register("fc")
        for made in (llama(), mistral(8)):
            for name in ("flashcore", "fc"):
                with torch.inference_mode(False):  # it works on a thread of its own
                    eager, ours = pair(made, name=name)
                asked = [tokens(1, length, seed=length)[0].tolist() for length in (5, 2, 23, 9)]
                options = transformers.GenerationConfig(max_new_tokens=8, do_sample=False, eos_token_id=-1, pad_token_id=0)
                pool = transformers.ContinuousBatchingConfig(num_blocks=64, block_size=16, max_batch_tokens=16)
                try:
                    with torch.inference_mode(False):
                        answers = ours.generate_batch(asked, generation_config=options, continuous_batching_config=pool, progress_bar=False)
                except MemoryError as reason:  # on the CPU it asks psutil, which may be missing
                    self.skipTest(str(reason))
                self.assertEqual(len(answers), len(asked))
                for prompt, answer in zip(asked, answers.values()):
                    self.assertEqual((answer.error, len(answer.generated_tokens)), (None, 8))
                    given = torch.tensor([prompt + answer.generated_tokens], device=DEVICE)
                    logits = eager(given, use_cache=False).logits[0, len(prompt) - 1:-1]
                    said = logits.gather(1, given[0, len(prompt):, None])[:, 0]
                    # Two logits, each as far off as close_to() allows.
                    self.assertLess((logits.amax(1) - said).max().item(), 2 * 0.03 * logits.abs().max().item())

    def test_traces_and_gradients_are_refused(self):
        _, ours = pair(llama())
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            ours.config.use_cache = ours.config.return_dict = False
            self.refused(UnsupportedError, "torch.jit.trace", "kept as constants", lambda: torch.jit.trace(ours, (tokens(1, 5),), check_trace=False))
        with torch.inference_mode(False), torch.enable_grad():
            _, ours = pair(llama())
            self.refused(UnsupportedError, "query", "no backward", lambda: ours(tokens(1, 5)))

    def test_autocast_of_a_float32_model(self):
        _, ours = pair(llama())
        given = tokens(2, 17)
        with torch.autocast(DEVICE, dtype=torch.bfloat16):
            found = ours.float()(given).logits
        eager, _ = pair(llama())
        self.close_to(found, eager(given).logits)

    def test_holes_in_the_mask_are_refused(self):
        _, ours = pair(llama())
        mask = torch.ones(1, 9, dtype=torch.long, device=DEVICE)
        mask[0, 4] = 0
        self.refused(UnsupportedError, "attention_mask", "padding between its tokens", lambda: ours(tokens(1, 9), attention_mask=mask))

    def test_padded_batches_are_one_launch(self):
        _, ours = pair(llama())
        given, mask = tokens(3, 12), torch.ones(3, 12, dtype=torch.long, device=DEVICE)
        mask[0, :5] = mask[1, 9:] = 0
        calls = []
        attend = flashcore.Context.attention
        self.addCleanup(setattr, flashcore.Context, "attention", attend)

        def counted(context, *tensors, **options):
            calls.append(options["sequences"] is not None)
            return attend(context, *tensors, **options)
        flashcore.Context.attention = counted
        ours(given, attention_mask=mask)
        self.assertEqual(calls, [True] * 2)  # a layer each

    def packed(self, lengths=(4, 3, 6)):
        """(tokens, positions, mask of each token's own sequence) of sequences in one row."""
        number = torch.repeat_interleave(torch.arange(len(lengths)), torch.tensor(lengths)).to(DEVICE)
        positions = torch.cat([torch.arange(length) for length in lengths])[None].to(DEVICE)
        return tokens(1, sum(lengths)), positions, number

    def test_packed_sequences(self):
        """By position_ids alone, which the mask is made from, and by the bounds that collators make; each as if it were alone."""
        for made in (llama(), mistral(3), gemma2()):
            eager, ours = pair(made)
            given, positions, number = self.packed()
            bounds = torch.tensor([0, 4, 7, 13], dtype=torch.int32, device=DEVICE)
            by_caller = {"cu_seq_lens_q": bounds, "cu_seq_lens_k": bounds, "max_length_q": 6, "max_length_k": 6}
            for more in ({}, by_caller):
                found = ours(given, position_ids=positions, use_cache=False, **more).logits
                for one in range(3):
                    self.close_to(found[:, number == one], eager(given[:, number == one], use_cache=False).logits)
        _, ours = pair(llama())
        without = {name: value for name, value in by_caller.items() if name != "max_length_k"}
        self.refused(UnsupportedError, "max_length_k", "missing", lambda: ours(given, position_ids=positions, use_cache=False, **without))
        padded = torch.ones_like(given)
        padded[:, :2] = 0
        self.refused(UnsupportedError, "cu_seq_lens_q", "packed and padded", lambda: ours(given, attention_mask=padded, use_cache=False, **by_caller))

    def test_packed_rows_of_a_batch(self):
        eager, ours = pair(llama())
        given, positions, number = self.packed((5, 8))
        both = torch.cat((given, tokens(1, 13, seed=8)))
        found = ours(both, position_ids=torch.cat((positions, torch.arange(13, device=DEVICE)[None])), use_cache=False).logits
        for one in range(2):
            self.close_to(found[:1, number == one], eager(given[:, number == one], use_cache=False).logits)
        self.close_to(found[1:], eager(both[1:], use_cache=False).logits)

    def test_sinks(self):
        """As a model hands them over, with windows and full attention in turns: prefill, a padded batch, steps with a cache."""
        if not hasattr(transformers, "GptOssForCausalLM"):
            self.skipTest("this Transformers has no model with sinks")
        eager, ours = pair(gpt_oss(), name="fc")
        for model in (eager, ours):
            for layer in model.model.layers:
                layer.self_attn.sinks.data = torch.linspace(-1, 3, 4).to(layer.self_attn.sinks)
        given = tokens(2, 20)
        expected = eager(given).logits
        self.close_to(ours(given).logits, expected)
        mask = torch.ones_like(given)
        mask[0, :6] = 0
        positions = (mask.cumsum(1) - 1).clamp(min=0)
        self.close_to(ours(given, attention_mask=mask, position_ids=positions).logits,
                      eager(given, attention_mask=mask, position_ids=positions).logits, mask.bool())
        cache, seen = None, 0
        for step in (12, 1, 1, 6):
            out = ours(given[:, seen:seen + step], past_key_values=cache, use_cache=True)
            cache = out.past_key_values
            self.close_to(out.logits, expected[:, seen:seen + step])
            seen += step

    def test_masks_of_the_caller(self):
        eager, ours = pair(llama())
        given = tokens(1, 6)
        causal = torch.ones(6, 6, dtype=torch.bool, device=DEVICE).tril()[None, None]
        self.close_to(ours(given, attention_mask=causal, use_cache=False).logits, eager(given, use_cache=False).logits)
        other = causal.clone()
        other[..., 5, 1] = False
        self.refused(UnsupportedError, "attention_mask", "no mask tensor", lambda: ours(given, attention_mask=other, use_cache=False))
        def attend(mask):
            query = torch.zeros(1, 2, 6, 64, dtype=torch.float16, device=DEVICE)
            return on_transformers.attention_function(None, query, query, query, mask)[0]
        added = torch.zeros(1, 1, 6, 6, device=DEVICE).masked_fill(~causal, torch.finfo(torch.float32).min)
        self.assertEqual(attend(added).shape, (1, 6, 2, 64))
        self.refused(UnsupportedError, "attention_mask", "no bias", lambda: attend(added * 0 - 1.5))
        self.refused(UnsupportedError, "attention_mask", "no mask tensor", lambda: attend(added[..., :5]))

    def test_pattern_of_mask_tensors(self):
        """What is seen in a tensor, against the plain mask that the pattern stands for; anything else is refused."""
        row, column = torch.arange(6)[:, None], torch.arange(9)
        causal = (column <= row + 3)[None].repeat(2, 1, 1)
        padded = causal.clone()
        padded[0, :, :4] = False
        window = causal & (column > row)
        cases = [(causal, (True, 9, None)), (causal | True, (False, 9, None)), (padded, (True, 9, ((4, 9), (0, 9)))),
                 ((column < 7).expand(2, 6, 9), (False, 7, None)), ((column <= row)[None].expand(2, 6, 9), (True, 6, None)),
                 (window, None), (causal ^ (column == 2), None)]
        for visible, expected in cases:
            if expected is None:
                self.refused(UnsupportedError, "attention_mask", "", lambda: on_transformers._pattern_of_tensor(visible))
            else:
                found = on_transformers._pattern_of_tensor(visible)
                self.assertEqual((found.causal, found.key_count, found.spans), expected)
        found = on_transformers._pattern_of_visible(window, "mask", "", 9, 3)
        self.assertEqual((found.causal, found.window), (True, 3))

    def test_sliding_window(self):
        """A window that every key fits into is none; a smaller one is computed, or refused for its own field."""
        eager, ours = pair(mistral(64))
        given = tokens(2, 33)
        self.close_to(ours(given).logits, eager(given).logits)
        eager, ours = pair(mistral(16))
        try:
            self.close_to(ours(given).logits, eager(given).logits)
        except UnsupportedError as refusal:
            self.assertIn(refusal.field, ("window_left", "flags"))

    def test_decode_past_a_sliding_window(self):
        """One query sees a window of the newest keys, all of them: that needs no window from the library."""
        eager, ours = pair(mistral(16))
        given = tokens(2, 40)
        expected = eager(given, use_cache=False).logits
        cache, seen = None, 0
        for step in (12, *[1] * 28):
            out = ours(given[:, seen:seen + step], past_key_values=cache, use_cache=True)
            cache = out.past_key_values
            self.close_to(out.logits, expected[:, seen:seen + step])
            seen += step

    def test_encoder_and_cross_attention(self):
        kind, config = transformers.BartForConditionalGeneration, transformers.BartConfig(
            d_model=256, encoder_layers=1, decoder_layers=1, encoder_attention_heads=4, decoder_attention_heads=4, encoder_ffn_dim=128,
            decoder_ffn_dim=128, max_position_embeddings=64, forced_eos_token_id=None, decoder_start_token_id=0,
            **{**TINY, "pad_token_id": 0})
        eager, ours = pair((kind, config))
        given, answer = tokens(2, 21), tokens(2, 8, seed=4)
        self.close_to(ours(given, decoder_input_ids=answer).logits, eager(given, decoder_input_ids=answer).logits)
        mask = torch.ones_like(given)
        mask[0, 15:] = 0
        self.close_to(ours(given, attention_mask=mask, decoder_input_ids=answer).logits,
                      eager(given, attention_mask=mask, decoder_input_ids=answer).logits)

    def test_refusals_name_what_is_missing(self):
        query = torch.zeros(1, 2, 4, 64, dtype=torch.float16, device=DEVICE)
        call = lambda **more: on_transformers.attention_function(torch.nn.Identity(), query, query, query, None, **more)
        for field, words, options in (("dropout", "0.1", {"dropout": 0.1}),
                                      ("position_bias", "no bias", {"position_bias": query}), ("cache", "begins with \"paged|\"", {"cache": object()}),
                                      ("output_attentions", "eager", {"output_attentions": True}), ("cu_seqlens", "are taken as", {"cu_seqlens": query}),
                                      ("unheard_of", "not known here", {"unheard_of": 3}),
                                      ("attention_mask", "it is a list", {"attention_mask": [1]})):
            if field == "attention_mask":
                self.refused(UnsupportedError, field, words, lambda: on_transformers.attention_function(None, query, query, query, [1]))
            else:
                self.refused(UnsupportedError, field, words, lambda options=options: call(**options))
        self.assertEqual(call(position_ids=torch.zeros(1), use_cache=True, output_attentions=False, softcap=None, s_aux=None)[0].shape,
                         (1, 4, 2, 64))

    def test_softcap_is_computed_or_refused(self):
        query, key = (torch.randn(1, 2, length, 64).to(DEVICE, torch.float16) * 3 for length in (4, 9))
        try:
            output, _ = on_transformers.attention_function(torch.nn.Identity(), query, key, key, None, softcap=2.0)
        except UnsupportedError as refusal:
            self.assertEqual(refusal.field, "softcap")
        else:
            scores = 2 * torch.tanh(query.double() @ key.double().transpose(2, 3) / 8 / 2)
            expected = (scores.softmax(-1) @ key.double()).transpose(1, 2)
            self.assertLess((output - expected).abs().max().item(), 2e-2)

    def test_causal_where_a_model_makes_no_mask(self):
        """None for a mask: causal by the module or the call, the last query at the last key."""
        query, key = (torch.randn(1, 2, length, 64).to(DEVICE, torch.float16) for length in (4, 9))
        module = torch.nn.Identity()
        for is_causal, of_module, expected in ((None, None, "none"), (None, True, "bottom_right"), (False, True, "none"), (True, False, "bottom_right")):
            module.is_causal = of_module
            output, weights = on_transformers.attention_function(module, query, key, key, None, is_causal=is_causal)
            self.assertIsNone(weights)
            self.assertTrue(torch.equal(output, on_transformers.attention(query, key, key, causal=expected, layout="bhsd", output_layout="bshd")))

    def test_compiled_without_a_graph_break(self):
        for made in (llama(), gpt2()):
            _, ours = pair(made)
            given = tokens(2, 17)
            expected = ours(given).logits
            torch._dynamo.reset()
            with torch.no_grad():
                compiled = torch.compile(ours, fullgraph=True, backend="aot_eager")
                self.assertTrue(torch.equal(compiled(given).logits, expected))
            mask = torch.ones_like(given)
            with self.assertRaisesRegex(Exception, "cannot be looked at while the model is compiled"):
                compiled(given, attention_mask=mask)

    def test_another_name(self):
        on_transformers.register("fc")
        kind, config = llama()
        ours = kind._from_config(config, attn_implementation="fc").to(DEVICE, torch.bfloat16)
        self.assertEqual(ours(tokens(1, 4)).logits.shape, (1, 4, 96))


if __name__ == "__main__":
    support.main()
