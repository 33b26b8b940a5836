// SPDX-License-Identifier: Apache-2.0
//
//! Fused attention, `softmax(scale * Q K^T) V`, on NVIDIA GPUs and on the CPU, through libflashcore. No CUDA crate is needed:
//! contexts, device buffers, streams and events are here.
//!
//! ```
//! use flashcore::{Attention, Causal, Context, Device, F16};
//!
//! let context = Context::open(Device::Cpu)?; // Device::Auto: the first usable GPU, else the CPU
//! let shape = [1, 16, 2, 32]; // batch, sequence, heads, head dimension
//! let data = vec![F16::from_f32(0.5); 16 * 2 * 32];
//! let (query, key, value) = (context.upload(&data)?, context.upload(&data)?, context.upload(&data)?);
//! let mut output = context.zeros::<F16>(data.len())?;
//! Attention::new(query.tensor(shape), key.tensor(shape), value.tensor(shape))
//!     .causal(Causal::BottomRight)
//!     .run(&context, output.tensor_mut(shape))?;
//! assert_eq!(output.to_vec()?, data); // the mean of equal values
//! # Ok::<(), flashcore::Error>(())
//! ```
//!
//! On the CPU device tensors may also be host slices ([`Tensor::host`]); on a GPU they are [`Buffer`]s of the context.
//!
//! # Errors
//! Every failure is an [`Error`] with a [`Status`], the argument's name and a sentence. What does not fit its memory or another
//! tensor is refused before the library is called:
//!
//! ```
//! use flashcore::{Attention, Context, Device, Status, Tensor, TensorMut, F16};
//!
//! let context = Context::open(Device::Cpu)?;
//! let (data, mut output) = (vec![F16::default(); 100], vec![F16::default(); 100]);
//! let tensor = Tensor::host(&data, [1, 2, 1, 64]);
//! let error = Attention::new(tensor, tensor, tensor).run(&context, TensorMut::host(&mut output, [1, 2, 1, 64])).unwrap_err();
//! assert_eq!(error.status(), Status::InvalidArgument);
//! assert_eq!(error.field(), "query.data");
//! # Ok::<(), flashcore::Error>(())
//! ```
//!
//! # Threads
//! [`Context`], [`Buffer`], [`Stream`] and [`Event`] are `Send` and `Sync`. An error belongs to its call, so threads and tasks
//! never see each other's.
//!
//! # Linking
//! The build looks for `libflashcore.so` in the folder of the environment variable `FLASHCORE_LIB_DIR`, then asks `pkg-config`; it
//! never downloads anything. At run time the system's loader must find `libflashcore.so.1`.
#![warn(missing_docs)]

mod append;
mod attention;
mod buffer;
mod context;
mod element;
mod error;
mod execution;
mod merge;
mod sequences;
mod stream;
mod tensor;
mod variant;

pub use attention::{Attention, Causal, Explanation};
pub use buffer::{Buffer, HostBuffer};
pub use context::{
    cuda_device_count, describe_cuda_device, version, Cache, Context, ContextBuilder, ContextInfo, Device, DeviceInfo,
};
pub use element::{Bf16, Element, Output, F16};
pub use error::{Error, Result, Status};
pub use flashcore_sys as sys;
pub use merge::MergeStates;
pub use sequences::{Indices, Sequences};
pub use stream::{Event, Stream};
pub use tensor::{Tensor, TensorMut};
pub use variant::Variant;
