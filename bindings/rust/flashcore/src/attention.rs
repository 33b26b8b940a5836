// SPDX-License-Identifier: Apache-2.0
//
//! One attention: what to compute as a builder, then where to put it. Sizes come from the shapes of the tensors, so the
//! shapes are compared here; everything else is judged by the library.

use std::os::raw::c_char;
use std::ptr;

use flashcore_sys as sys;

use crate::append::Append;
use crate::context::Context;
use crate::element::{Element, Output};
use crate::error::{call, text_of_array, Error, Result};
use crate::execution::Execution;
use crate::sequences::Sequences;
use crate::stream::Stream;
use crate::tensor::{Tensor, TensorMut};
use crate::variant::Variant;

/// Which keys a query sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Causal {
    /// All of them.
    None,
    /// Key j is visible to query i when j <= i (PyTorch's `is_causal`).
    TopLeft,
    /// Key j is visible to query i when j <= i + seqlen_kv - seqlen_q (FlashAttention; decoding with a cache).
    BottomRight,
}

/// `softmax(scale * Q.K^T + mask) . V` of tensors [batch, sequence, heads, head dimension]. The number of query heads is a
/// multiple of the number of key heads; query head h reads key head h / (heads_q / heads_kv).
///
/// ```
/// use flashcore::{Attention, Causal, Context, Device, Tensor, TensorMut, F16};
///
/// let context = Context::open(Device::Cpu)?;
/// let one = vec![F16::from_f32(1.0); 3 * 8];
/// let shape = [1, 3, 1, 8];
/// let mut output = vec![F16::default(); 3 * 8];
/// let mut lse = vec![0f32; 3];
/// Attention::new(Tensor::host(&one, shape), Tensor::host(&one, shape), Tensor::host(&one, shape))
///     .causal(Causal::TopLeft)
///     .softmax_scale(0.0)
///     .lse(TensorMut::host(&mut lse, [1, 1, 3, 1]))
///     .run(&context, TensorMut::host(&mut output, shape))?;
/// assert!(output.iter().all(|value| value.to_f32() == 1.0));
/// assert!((lse[2] - 3f32.ln()).abs() < 1e-6); // three keys with score 0
/// # Ok::<(), flashcore::Error>(())
/// ```
///
/// Tensors of different types do not compile:
///
/// ```compile_fail,E0308
/// use flashcore::{Attention, Bf16, Tensor, F16};
/// let (query, key) = (vec![F16::default(); 8], vec![Bf16::default(); 8]);
/// let shape = [1, 1, 1, 8];
/// Attention::new(Tensor::host(&query, shape), Tensor::host(&key, shape), Tensor::host(&query, shape));
/// ```
#[derive(Debug)]
pub struct Attention<'a, T: Element> {
    query: Tensor<'a, T>,
    key: Tensor<'a, T>,
    value: Tensor<'a, T>,
    lse: Option<TensorMut<'a, f32>>,
    lse_base2: bool,
    softmax_scale: Option<f32>,
    softcap: f32,
    causal: Causal,
    window_left: Option<i64>,
    window_right: Option<i64>,
    attention_chunk: usize,
    alibi_slopes: Option<Tensor<'a, f32>>,
    bias: Option<(Tensor<'a, u8>, (usize, i32))>, // bytes of an element, and its type
    mask: Option<Tensor<'a, u8>>,
    sinks: Option<Tensor<'a, f32>>,
    sequences: Option<Sequences<'a>>,
    pub(crate) append: Append<'a, T>,
    variant: Option<&'a Variant>,
    variant_params: Option<Tensor<'a, f32>>,
    execution: Execution,
    kernel: &'a str,
}

impl<'a, T: Element> Attention<'a, T> {
    /// Query [batch, seqlen_q, heads_q, head_dim], key [batch, seqlen_kv, heads_kv, head_dim] and value [batch, seqlen_kv,
    /// heads_kv, head_dim_v].
    pub fn new(query: Tensor<'a, T>, key: Tensor<'a, T>, value: Tensor<'a, T>) -> Self {
        Attention {
            query,
            key,
            value,
            lse: None,
            lse_base2: false,
            softmax_scale: None,
            softcap: 0.0,
            causal: Causal::None,
            window_left: None,
            window_right: None,
            attention_chunk: 0,
            alibi_slopes: None,
            bias: None,
            mask: None,
            sinks: None,
            sequences: None,
            append: Append::NOTHING,
            variant: None,
            variant_params: None,
            execution: Execution::default(),
            kernel: "",
        }
    }

    /// Which keys a query sees; all unless set.
    pub fn causal(mut self, causal: Causal) -> Self {
        self.causal = causal;
        self
    }

    /// Factor of the scores, any finite number; 1/sqrt(head_dim) unless set.
    pub fn softmax_scale(mut self, scale: f32) -> Self {
        self.softmax_scale = Some(scale);
        self
    }

    /// Also write log(sum(exp(scores))) of every row. The shape is [batch, heads_q, seqlen_q, 1], in this order; a row that
    /// sees no key gets -infinity.
    pub fn lse(mut self, lse: TensorMut<'a, f32>) -> Self {
        self.lse = Some(lse);
        self
    }

    /// The logarithm of [`Attention::lse`] to base 2 instead of e.
    pub fn lse_base2(mut self) -> Self {
        self.lse_base2 = true;
        self
    }

    /// softcap * tanh(score / softcap); 0: none.
    pub fn softcap(mut self, softcap: f32) -> Self {
        self.softcap = softcap;
        self
    }

    /// Key j is visible to query i only when j >= i + seqlen_kv - seqlen_q - window_left.
    pub fn window_left(mut self, keys: i64) -> Self {
        self.window_left = Some(keys);
        self
    }

    /// Key j is visible to query i only when j <= i + seqlen_kv - seqlen_q + window_right.
    pub fn window_right(mut self, keys: i64) -> Self {
        self.window_right = Some(keys);
        self
    }

    /// Keys of the query's own chunk of this many positions only; 0: of all.
    pub fn attention_chunk(mut self, positions: usize) -> Self {
        self.attention_chunk = positions;
        self
    }

    /// ALiBi slopes, one per query head: shape [1, 1, heads_q, 1], or [batch, 1, heads_q, 1].
    pub fn alibi_slopes(mut self, slopes: Tensor<'a, f32>) -> Self {
        self.alibi_slopes = Some(slopes);
        self
    }

    /// Added to the scores, of any of the floating-point types; -infinity hides the key. Shape [batch, seqlen_q, heads_q, seqlen_kv], with
    /// strides of 0 where it is the same for all; the last one is as free as the others.
    pub fn bias<B: Element>(mut self, bias: Tensor<'a, B>) -> Self {
        self.bias = Some((bias.of_any(), (std::mem::size_of::<B>(), B::DTYPE)));
        self
    }

    /// A byte for each score: 0 hides the key, any other shows it. Shape and strides as of [`Attention::bias`].
    pub fn mask(mut self, mask: Tensor<'a, u8>) -> Self {
        self.mask = Some(mask);
        self
    }

    /// One more logit in the denominator, with no value: shape [1, 1, heads_q, 1].
    pub fn sinks(mut self, sinks: Tensor<'a, f32>) -> Self {
        self.sinks = Some(sinks);
        self
    }

    /// Sequences with lengths and places of their own, and pages. The shapes of the tensors are then as [`Sequences`] says.
    pub fn sequences(mut self, sequences: Sequences<'a>) -> Self {
        self.sequences = Some(sequences);
        self
    }

    /// What a text of the caller's own makes of the scores and hides, after all else.
    pub fn variant(mut self, variant: &'a Variant) -> Self {
        self.variant = Some(variant);
        self
    }

    /// The block that the variant reads, of any shape, contiguous; other types than f32 are in it by their bits.
    pub fn variant_params(mut self, params: Tensor<'a, f32>) -> Self {
        self.variant_params = Some(params);
        self
    }

    /// A sequence's bits must not depend on the batch that it is in.
    pub fn batch_invariant(mut self) -> Self {
        self.execution.batch_invariant = true;
        self
    }

    /// As many pieces of each row's keys, computed by themselves and merged; 0: the library's choice, 1: none are cut.
    pub fn split_count(mut self, pieces: i32) -> Self {
        self.execution.split_count = pieces;
        self
    }

    /// So many keys in each piece, whatever the batch; 0: the library's choice.
    pub fn split_tokens(mut self, keys: i64) -> Self {
        self.execution.split_tokens = keys;
        self
    }

    /// Multiprocessors that the call may occupy, threads on the CPU device; 0: all.
    pub fn multiprocessor_limit(mut self, count: i32) -> Self {
        self.execution.multiprocessor_limit = count;
        self
    }

    /// Where query 0 and key 0 are in the sequence that the keys are a shard of: [`Causal::BottomRight`], windows, chunks and ALiBi count by that.
    pub fn positions(mut self, query: i64, key: i64) -> Self {
        self.execution.positions = Some((query, key));
        self
    }

    /// This kernel (`"sm80_fwd_mma"`) or this module and no other.
    pub fn kernel(mut self, name: &'a str) -> Self {
        self.kernel = name;
        self
    }

    /// Compute into `output` [batch, seqlen_q, heads_q, head_dim_v], of the inputs' type or f32, on the default stream, and return after the launch. On the
    /// CPU device everything is computed on return.
    ///
    /// `InvalidArgument` and `Unsupported` name the field; `NotPrepared` in a capture of a shape that is not prepared;
    /// `CompilerUnavailable`, `CompileFailed`, `OutOfHostMemory`, `OutOfDeviceMemory`, `CudaError`, `ContextLost`, `Forked`.
    #[inline]
    pub fn run<O: Output<T>>(self, context: &Context, output: TensorMut<'_, O>) -> Result<()> {
        let mut args = sys::flashcore_attention_args::default();
        self.fill(&mut args, context, Some(&output))?;
        call(|error| unsafe { sys::flashcore_attention_fwd(context.handle.raw, &args, ptr::null_mut(), error) })
    }

    /// As [`Attention::run`], on a stream and its context. The buffers must stay unused by others until the stream has passed
    /// the work; dropping one waits for the device.
    #[inline]
    pub fn run_on<O: Output<T>>(self, stream: &Stream, output: TensorMut<'_, O>) -> Result<()> {
        let context = stream.context();
        let mut args = sys::flashcore_attention_args::default();
        self.fill(&mut args, context, Some(&output))?;
        call(|error| unsafe { sys::flashcore_attention_fwd(context.handle.raw, &args, stream.as_raw(), error) })
    }

    /// Do everything slow now (select, compile, load), so that a later [`Attention::run`] with the same shapes is only a launch,
    /// also while a stream is captured. The output counts as contiguous and 16-byte aligned.
    pub fn prepare(&self, context: &Context) -> Result<()> {
        let args = self.to_raw(context, None)?;
        call(|error| unsafe { sys::flashcore_attention_prepare(context.handle.raw, &args, error) })
    }

    /// Which kernel a call would use, or why none. Problems that are not supported are explained, too.
    pub fn explain(&self, context: &Context) -> Result<Explanation> {
        let args = self.to_raw(context, None)?;
        let mut raw = sys::flashcore_attention_explanation::default();
        call(|error| unsafe { sys::flashcore_attention_explain(context.handle.raw, &args, &mut raw, error) })?;
        Ok(Explanation {
            supported: raw.supported != 0,
            kernel: text_of_array(&raw.kernel),
            module: text_of_array(&raw.module),
            tile_q: raw.tile_q,
            tile_kv: raw.tile_kv,
            warps: raw.warps,
            stages: raw.stages,
            grid: raw.grid,
            threads_per_block: raw.threads_per_block,
            dynamic_shared_bytes: raw.dynamic_shared_bytes,
            workspace_bytes: raw.workspace_bytes,
            cost_us: raw.cost_us,
            reasons: text_of_array(&raw.reasons),
        })
    }

    /// Bytes of workspace that the call needs, 0 for most; the context has its own. Nothing is compiled.
    pub fn workspace_bytes(&self, context: &Context) -> Result<i64> {
        let args = self.to_raw(context, None)?;
        let mut bytes = 0;
        call(|error| unsafe { sys::flashcore_attention_workspace_bytes(context.handle.raw, &args, &mut bytes, error) })?;
        Ok(bytes)
    }

    /// The arguments of the C interface, after this crate's checks: for a field that has no method here. Without an output its
    /// address is 0. The addresses are valid as long as the tensors' memory is.
    pub fn to_raw(&self, context: &Context, output: Option<&TensorMut<'_, T>>) -> Result<sys::flashcore_attention_args> {
        let mut args = sys::flashcore_attention_args::default();
        self.fill(&mut args, context, output)?;
        Ok(args)
    }

    /// Into a zeroed struct: it is too long to be moved about in every call.
    fn fill<O: Output<T>>(
        &self,
        args: &mut sys::flashcore_attention_args,
        context: &Context,
        output: Option<&TensorMut<'_, O>>,
    ) -> Result<()> {
        let [queries, seqlen_q, heads_q, head_dim] = self.query.shape();
        let [entries, seqlen_kv, heads_kv, _] = self.key.shape();
        let head_dim_v = self.value.shape()[3];
        let (batch, entries) = self.sequences.map_or((queries, queries), |sequences| sequences.batches(queries, entries));
        check_shape("key", self.key.shape(), [entries, seqlen_kv, heads_kv, head_dim])?;
        check_shape("value", self.value.shape(), [entries, seqlen_kv, heads_kv, head_dim_v])?;
        args.batch = size("batch", batch)?;
        args.seqlen_q = size("seqlen_q", seqlen_q)?;
        args.seqlen_kv = size("seqlen_kv", seqlen_kv)?;
        args.heads_q = positive("heads_q", heads_q)?;
        args.heads_kv = positive("heads_kv", heads_kv)?;
        args.head_dim = positive("head_dim", head_dim)?;
        args.head_dim_v = positive("head_dim_v", head_dim_v)?;
        self.query.fill(&mut args.query, "query", context)?;
        self.key.fill(&mut args.key, "key", context)?;
        self.value.fill(&mut args.value, "value", context)?;
        args.softcap = self.softcap;
        args.attention_chunk = i64::try_from(self.attention_chunk)
            .map_err(|_| Error::invalid("attention_chunk", self.attention_chunk, "up to 2^63 - 1"))?;
        args.causal = match self.causal {
            Causal::None => sys::FLASHCORE_CAUSAL_NONE,
            Causal::TopLeft => sys::FLASHCORE_CAUSAL_TOP_LEFT,
            Causal::BottomRight => sys::FLASHCORE_CAUSAL_BOTTOM_RIGHT,
        };
        args.lse_base = if self.lse_base2 { sys::FLASHCORE_LSE_BASE2 } else { sys::FLASHCORE_LSE_NATURAL };
        if let Some(output) = output {
            check_shape("output", output.tensor.shape(), [queries, seqlen_q, heads_q, head_dim_v])?;
            output.tensor.fill(&mut args.output, "output", context)?;
        }
        if let Some(sequences) = &self.sequences {
            sequences.fill(args, context, self.query.shape(), self.key.shape())?;
            // Contiguous would mean: entries of as many rows as a sequence may have.
            self.key.fill_strides(&mut args.key);
            self.value.fill_strides(&mut args.value);
        }
        self.append.fill(args, context, batch)?;
        self.set_optional_scalars(args)?;
        self.set_optional_tensors(args, context, batch)
    }

    fn set_optional_scalars(&self, args: &mut sys::flashcore_attention_args) -> Result<()> {
        if let Some(scale) = self.softmax_scale {
            args.flags |= sys::FLASHCORE_FLAG_SOFTMAX_SCALE;
            args.softmax_scale = scale;
        }
        if let Some(keys) = self.window_left {
            args.flags |= sys::FLASHCORE_FLAG_WINDOW_LEFT;
            args.window_left = keys;
        }
        if let Some(keys) = self.window_right {
            args.flags |= sys::FLASHCORE_FLAG_WINDOW_RIGHT;
            args.window_right = keys;
        }
        self.execution.fill(args);
        if self.kernel.len() >= args.kernel.len() || self.kernel.contains('\0') {
            return Err(Error::invalid(
                "kernel",
                format_args!("{:?}", self.kernel),
                format!("the name of a kernel or a module of up to {} bytes, none of them 0", args.kernel.len() - 1),
            ));
        }
        for (target, byte) in args.kernel.iter_mut().zip(self.kernel.bytes()) {
            *target = byte as c_char;
        }
        Ok(())
    }

    fn set_optional_tensors(&self, args: &mut sys::flashcore_attention_args, context: &Context, batch: usize) -> Result<()> {
        let [queries, seqlen_q, heads_q, _] = self.query.shape();
        if let Some(lse) = &self.lse {
            check_shape("lse", lse.tensor.shape(), [queries, heads_q, seqlen_q, 1])?;
            lse.tensor.fill(&mut args.lse, "lse", context)?;
            args.lse.stride.swap(1, 2); // the library's order is batch, sequence, head, for every tensor
        }
        if let Some(slopes) = &self.alibi_slopes {
            let batches = slopes.shape()[0];
            check_shape("alibi_slopes", slopes.shape(), [if batches == batch { batch } else { 1 }, 1, heads_q, 1])?;
            let mut raw = sys::flashcore_tensor::default();
            slopes.fill(&mut raw, "alibi_slopes", context)?;
            args.alibi_slopes = raw.data;
            // The library takes a batch stride and nothing else.
            if raw.stride[3] != 0 && raw.stride[2] != 1 {
                return Err(Error::invalid(
                    "alibi_slopes.stride[2]",
                    raw.stride[2],
                    "1, the slopes of a sequence lie side by side",
                ));
            }
            let given = raw.stride[3] != 0;
            args.alibi_batch_stride = if batches == 1 {
                0
            } else if given {
                raw.stride[0]
            } else {
                i64::from(args.heads_q)
            };
        }
        let scores = [batch, args.seqlen_q as usize, heads_q, args.seqlen_kv as usize];
        if let Some((bias, element)) = &self.bias {
            if element.1 == u8::DTYPE {
                return Err(Error::invalid("bias.dtype", "u8", "F16, Bf16 or f32"));
            }
            check_shape("bias", bias.shape(), scores)?;
            bias.fill_scores(&mut args.bias, "bias", context, *element)?;
        }
        if let Some(mask) = &self.mask {
            check_shape("mask", mask.shape(), scores)?;
            mask.fill_scores(&mut args.mask, "mask", context, (1, u8::DTYPE))?;
        }
        if let Some(sinks) = &self.sinks {
            check_shape("sinks", sinks.shape(), [1, 1, heads_q, 1])?;
            sinks.fill(&mut args.sinks, "sinks", context)?;
        }
        let mut given = 0;
        if let Some(params) = &self.variant_params {
            let mut raw = sys::flashcore_tensor::default();
            params.fill(&mut raw, "variant_params", context)?;
            args.variant_params = raw.data;
            given = params.shape().iter().product::<usize>() * std::mem::size_of::<f32>();
        }
        if let Some(variant) = self.variant {
            variant.check(context, given)?;
            args.variant = variant.id;
        }
        Ok(())
    }
}

pub(crate) fn check_shape(field: &str, shape: [usize; 4], expected: [usize; 4]) -> Result<()> {
    match (0..4).find(|&index| shape[index] != expected[index]) {
        None => Ok(()),
        Some(index) => {
            let allowed = format!("{}, as the other tensors say ({:?})", expected[index], expected);
            Err(Error::invalid(format!("{}.shape[{}]", field, index), shape[index], allowed))
        }
    }
}

pub(crate) fn size(field: &str, value: usize) -> Result<i64> {
    i64::try_from(value).map_err(|_| Error::invalid(field, value, "0 to 2^31 - 1"))
}

/// A size whose 0 would mean "the default" to the library.
pub(crate) fn positive(field: &str, value: usize) -> Result<i32> {
    i32::try_from(value).ok().filter(|&value| value > 0).ok_or_else(|| Error::invalid(field, value, "1 to 2^31 - 1"))
}

/// Which kernel a call would use, or why none.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Explanation {
    /// Whether a kernel can do it.
    pub supported: bool,
    /// `"sm80_fwd_mma"`; `"cpu"` on the CPU device.
    pub kernel: String,
    /// Its specialization: `"sm80_fwd_mma-fp16-d64-causal-128x64-w4"`.
    pub module: String,
    /// Query rows of a tile.
    pub tile_q: i32,
    /// Keys of a tile.
    pub tile_kv: i32,
    /// Warps of a thread block.
    pub warps: i32,
    /// Stages of its pipeline.
    pub stages: i32,
    /// Thread blocks.
    pub grid: [i32; 3],
    /// Threads of a thread block.
    pub threads_per_block: i32,
    /// Dynamic shared memory of a thread block.
    pub dynamic_shared_bytes: i64,
    /// Device memory that the call needs beside its tensors.
    pub workspace_bytes: i64,
    /// The selector's estimate, from a model.
    pub cost_us: f64,
    /// One line per kernel: chosen, dearer, or why it cannot.
    pub reasons: String,
}
