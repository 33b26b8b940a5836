// SPDX-License-Identifier: Apache-2.0
//
//! Results of attention over parts of the keys, made one. The shapes are compared here; everything else is judged by the library.

use std::ptr;

use flashcore_sys as sys;

use crate::attention::{check_shape, positive, size};
use crate::context::Context;
use crate::element::Element;
use crate::error::{call, Error, Result};
use crate::stream::Stream;
use crate::tensor::{Tensor, TensorMut};

/// Attention over parts that share no key (split keys, shards of a cache, ring and context parallelism) leaves a state of each part: its
/// output and its LSE. Merged they are what attention over all keys would have left: `LSE = log(sum(exp(LSE_i)))`,
/// `O = sum(exp(LSE_i - LSE) O_i)`.
///
/// The states lie one behind the other in two tensors, whose first dimension counts them and the batch entries of each.
///
/// ```
/// use flashcore::{Context, Device, MergeStates, Tensor, TensorMut, F16};
///
/// let context = Context::open(Device::Cpu)?;
/// let outputs: Vec<F16> = [1.0, 3.0].iter().flat_map(|&value| vec![F16::from_f32(value); 8]).collect(); // two states of one row
/// let logarithms = [0f32, 0.0];
/// let (mut output, mut lse) = (vec![0f32; 8], [0f32]);
/// MergeStates::new(2, Tensor::host(&outputs, [2, 1, 1, 8]), Tensor::host(&logarithms, [2, 1, 1, 1]))
///     .lse(TensorMut::host(&mut lse, [1, 1, 1, 1]))
///     .run(&context, TensorMut::host(&mut output, [1, 1, 1, 8]))?;
/// assert_eq!(output, [2.0; 8]);
/// assert!((lse[0] - 2f32.ln()).abs() < 1e-6);
/// # Ok::<(), flashcore::Error>(())
/// ```
#[derive(Debug)]
pub struct MergeStates<'a, T: Element> {
    states: usize,
    outputs: Tensor<'a, T>,
    logarithms: Tensor<'a, f32>,
    lse: Option<TensorMut<'a, f32>>,
    lse_base2: bool,
}

impl<'a, T: Element> MergeStates<'a, T> {
    /// Of `states` states (1 to 1024): outputs [states * batch, seqlen_q, heads_q, head_dim_v] of `F16`, `Bf16` or `f32`, and LSE
    /// [states * batch, heads_q, seqlen_q, 1], in this order.
    pub fn new(states: usize, outputs: Tensor<'a, T>, lse: Tensor<'a, f32>) -> Self {
        MergeStates { states, outputs, logarithms: lse, lse: None, lse_base2: false }
    }

    /// Also write the merged LSE: shape [batch, heads_q, seqlen_q, 1].
    pub fn lse(mut self, lse: TensorMut<'a, f32>) -> Self {
        self.lse = Some(lse);
        self
    }

    /// All logarithms are to base 2 instead of e.
    pub fn lse_base2(mut self) -> Self {
        self.lse_base2 = true;
        self
    }

    /// Merge into `output` [batch, seqlen_q, heads_q, head_dim_v] on the default stream, and return after the launch. The type may be
    /// another one than that of the states. On the CPU device everything is computed on return.
    ///
    /// `InvalidArgument` and `Unsupported` name the field; `NotPrepared` in a capture of types that are not prepared;
    /// `CompilerUnavailable`, `CompileFailed`, `OutOfHostMemory`, `OutOfDeviceMemory`, `CudaError`, `ContextLost`, `Forked`.
    pub fn run<U: Element>(self, context: &Context, output: TensorMut<'_, U>) -> Result<()> {
        let args = self.to_raw(context, Some(&output))?;
        call(|error| unsafe { sys::flashcore_merge_states(context.handle.raw, &args, ptr::null_mut(), error) })
    }

    /// As [`MergeStates::run`], on a stream and its context. The buffers must stay unused by others until the stream has passed the
    /// work; dropping one waits for the device.
    pub fn run_on<U: Element>(self, stream: &Stream, output: TensorMut<'_, U>) -> Result<()> {
        let context = stream.context();
        let args = self.to_raw(context, Some(&output))?;
        call(|error| unsafe { sys::flashcore_merge_states(context.handle.raw, &args, stream.as_raw(), error) })
    }

    /// Load or compile now what a later [`MergeStates::run`] into elements of type `U` needs, so that it is only a launch, also while
    /// a stream is captured.
    pub fn prepare<U: Element>(&self, context: &Context) -> Result<()> {
        let args = self.to_raw::<U>(context, None)?;
        call(|error| unsafe { sys::flashcore_merge_states_prepare(context.handle.raw, &args, error) })
    }

    /// The arguments of the C interface, after this crate's checks. Without an output its address is 0. The addresses are valid as
    /// long as the tensors' memory is.
    pub fn to_raw<U: Element>(
        &self,
        context: &Context,
        output: Option<&TensorMut<'_, U>>,
    ) -> Result<sys::flashcore_merge_states_args> {
        let mut args = sys::flashcore_merge_states_args::default();
        let [all, seqlen_q, heads_q, head_dim_v] = self.outputs.shape();
        args.state_count = positive("state_count", self.states)?;
        if all % self.states != 0 {
            let allowed = format!("a multiple of the {} states", self.states);
            return Err(Error::invalid("output_states.shape[0]", all, allowed));
        }
        let batch = all / self.states;
        check_shape("lse_states", self.logarithms.shape(), [all, heads_q, seqlen_q, 1])?;
        args.batch = size("batch", batch)?;
        args.seqlen_q = size("seqlen_q", seqlen_q)?;
        args.heads_q = positive("heads_q", heads_q)?;
        args.head_dim_v = positive("head_dim_v", head_dim_v)?;
        self.outputs.fill(&mut args.output_states, "output_states", context)?;
        args.output_state_stride = state_stride(&args.output_states, args.batch);
        self.logarithms.fill(&mut args.lse_states, "lse_states", context)?;
        args.lse_state_stride = state_stride(&args.lse_states, args.batch);
        args.lse_states.stride.swap(1, 2); // the library's order is batch, sequence, head, for every tensor
        args.output.dtype = U::DTYPE;
        if let Some(output) = output {
            check_shape("output", output.tensor.shape(), [batch, seqlen_q, heads_q, head_dim_v])?;
            output.tensor.fill(&mut args.output, "output", context)?;
        }
        if let Some(lse) = &self.lse {
            check_shape("lse", lse.tensor.shape(), [batch, heads_q, seqlen_q, 1])?;
            lse.tensor.fill(&mut args.lse, "lse", context)?;
            args.lse.stride.swap(1, 2);
        }
        args.lse_base = if self.lse_base2 { sys::FLASHCORE_LSE_BASE2 } else { sys::FLASHCORE_LSE_NATURAL };
        Ok(args)
    }
}

/// A state is as far from the next one as all its batch entries are long; 0 of contiguous ones. The extent, which is larger, was checked.
fn state_stride(states: &sys::flashcore_tensor, batch: i64) -> i64 {
    states.stride[0].saturating_mul(batch)
}
