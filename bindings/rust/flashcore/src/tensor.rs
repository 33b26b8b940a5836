// SPDX-License-Identifier: Apache-2.0
//
//! Views of memory with four dimensions. Building one never fails; the call that takes it checks that its memory is large
//! enough and lies on the right device, and then names the argument.

use std::marker::PhantomData;
use std::mem::size_of;
use std::ops::Range;
use std::sync::Arc;

use flashcore_sys as sys;

use crate::context::{Context, Handle};
use crate::element::Element;
use crate::error::{Error, Result};

#[derive(Clone, Copy)]
enum Place {
    Host,
    Buffer(*const Handle), // only compared
    Foreign,
}

/// A view of host or device memory: an input.
#[derive(Clone, Copy)]
pub struct Tensor<'a, T: Element> {
    address: u64,
    len: usize, // elements of the memory, from `address` on
    offset: usize,
    shape: [usize; 4],
    strides: Option<[usize; 4]>,                    // None: contiguous
    wrong_positions: Option<(usize, usize, usize)>, // a range, and of how many
    place: Place,
    memory: PhantomData<&'a [T]>,
}

// The pointer of Place is an identity and is never followed.
unsafe impl<T: Element> Send for Tensor<'_, T> {}
unsafe impl<T: Element> Sync for Tensor<'_, T> {}

impl<'a, T: Element> Tensor<'a, T> {
    /// Host memory, for the CPU device: shape [batch, sequence, heads, head dimension], contiguous.
    pub fn host(data: &'a [T], shape: [usize; 4]) -> Self {
        Tensor::of(data.as_ptr() as u64, data.len(), shape, Place::Host)
    }

    pub(crate) fn of_buffer(context: &Context, address: u64, len: usize, shape: [usize; 4]) -> Self {
        Tensor::of(address, len, shape, Place::Buffer(Arc::as_ptr(&context.handle)))
    }

    /// Memory of the device that another library owns, `len` elements from `address` on.
    ///
    /// # Safety
    /// The memory is on the device of the context that the tensor is used with, and stays until the work with it is done.
    pub unsafe fn from_device_address(address: u64, len: usize, shape: [usize; 4]) -> Self {
        Tensor::of(address, len, shape, Place::Foreign)
    }

    fn of(address: u64, len: usize, shape: [usize; 4], place: Place) -> Self {
        Tensor { address, len, offset: 0, shape, strides: None, wrong_positions: None, place, memory: PhantomData }
    }

    /// Begin this many elements into the memory.
    pub fn offset(mut self, elements: usize) -> Self {
        self.offset = elements;
        self
    }

    /// Elements from one index to the next, in the order of the shape; the last must be 1. A batch, sequence or head stride
    /// of an input may be 0: the same data for every index.
    pub fn strides(mut self, strides: [usize; 4]) -> Self {
        self.strides = Some(strides);
        self
    }

    /// Only these positions of the sequence, with the strides of the whole: the filled part of a key cache.
    pub fn positions(mut self, range: Range<usize>) -> Self {
        if range.start > range.end || range.end > self.shape[1] {
            self.wrong_positions = Some((range.start, range.end, self.shape[1]));
            return self;
        }
        let strides = self.effective_strides();
        self.strides = Some(strides);
        self.offset = self.offset.saturating_add(range.start.saturating_mul(strides[1]));
        self.shape[1] = range.end - range.start;
        self
    }

    /// [batch, sequence, heads, head dimension]
    pub fn shape(&self) -> [usize; 4] {
        self.shape
    }

    fn effective_strides(&self) -> [usize; 4] {
        let [_, s, h, d] = self.shape;
        self.strides.unwrap_or([s.wrapping_mul(h).wrapping_mul(d), h.wrapping_mul(d), d, 1])
    }

    /// Elements from the first to behind the last; None where they cannot be counted.
    fn extent(&self) -> Option<usize> {
        if self.shape.contains(&0) {
            return Some(0);
        }
        let strides = match self.strides {
            Some(strides) => strides,
            None => return self.shape.iter().try_fold(1usize, |product, &size| product.checked_mul(size)),
        };
        let reach = |sum: usize, (&size, &stride): (&usize, &usize)| sum.checked_add((size - 1).checked_mul(stride)?);
        self.shape.iter().zip(&strides).try_fold(1usize, reach)
    }

    fn check_place(&self, field: &str, context: &Context) -> Result<()> {
        let what = match self.place {
            Place::Foreign => return Ok(()),
            Place::Host if context.handle.is_cpu => return Ok(()),
            Place::Buffer(owner) if owner == Arc::as_ptr(&context.handle) => return Ok(()),
            Place::Host => "host memory",
            Place::Buffer(_) => "a buffer of another context",
        };
        Err(Error::invalid(format!("{}.data", field), what, "a buffer of the context that computes, see Context::upload"))
    }

    /// The same memory, whose elements are of the type that `fill_scores` is told of.
    pub(crate) fn of_any(self) -> Tensor<'a, u8> {
        let Tensor { address, len, offset, shape, strides, wrong_positions, place, .. } = self;
        Tensor { address, len, offset, shape, strides, wrong_positions, place, memory: PhantomData }
    }

    fn check_extent(&self, field: &str, any_last_stride: bool) -> Result<()> {
        if let Some((start, end, size)) = self.wrong_positions {
            let allowed = format!("a range within the {} positions of the sequence", size);
            return Err(Error::invalid(format!("{}.shape[1]", field), format_args!("{}..{}", start, end), allowed));
        }
        if let Some([_, _, _, last]) = self.strides {
            if last != 1 && !any_last_stride {
                return Err(Error::invalid(format!("{}.stride[3]", field), last, "1, elements of a head lie side by side"));
            }
        }
        if self.strides == Some([0; 4]) && self.shape.iter().any(|&size| size > 1) {
            return Err(Error::invalid(format!("{}.stride", field), "0 in all dimensions", "one that is not 0 at least"));
        }
        let needed = self.extent();
        if self.offset <= self.len && needed.map_or(false, |needed| needed <= self.len - self.offset) {
            return Ok(());
        }
        let needed = needed.map_or("more than can be counted".to_string(), |count| count.to_string());
        let strides = self.strides.map_or(String::new(), |strides| format!(" with strides {:?}", strides));
        let value =
            format!("{} elements, of which shape {:?}{} takes {} from {} on", self.len, self.shape, strides, needed, self.offset);
        Err(Error::invalid(format!("{}.data", field), value, "memory that holds all of its elements"))
    }

    /// The tensor as an argument, after all checks that need its memory's size and owner. The library checks the rest.
    pub(crate) fn fill(&self, raw: &mut sys::flashcore_tensor, field: &str, context: &Context) -> Result<()> {
        self.check_extent_of(field, context, false)?;
        self.fill_checked(raw, field, size_of::<T>(), T::DTYPE)
    }

    /// The same for a tensor with a number for each score, whose last stride is as free as the others.
    pub(crate) fn fill_scores(
        &self,
        raw: &mut sys::flashcore_tensor,
        field: &str,
        context: &Context,
        element: (usize, i32),
    ) -> Result<()> {
        self.check_extent_of(field, context, true)?;
        self.fill_checked(raw, field, element.0, element.1)
    }

    fn check_extent_of(&self, field: &str, context: &Context, any_last_stride: bool) -> Result<()> {
        self.check_place(field, context)?;
        self.check_extent(field, any_last_stride)
    }

    fn fill_checked(&self, raw: &mut sys::flashcore_tensor, field: &str, element_bytes: usize, dtype: i32) -> Result<()> {
        // An empty memory has no element to point to.
        raw.data = if self.len == 0 { 0 } else { self.address + (self.offset * element_bytes) as u64 };
        raw.dtype = dtype;
        if let Some(strides) = self.strides {
            for (index, (target, stride)) in raw.stride.iter_mut().zip(strides).enumerate() {
                *target = i64::try_from(stride)
                    .map_err(|_| Error::invalid(format!("{}.stride[{}]", field, index), stride, "up to 2^63 - 1"))?;
            }
        }
        Ok(())
    }

    /// After `fill`: the strides of a contiguous tensor, written down.
    pub(crate) fn fill_strides(&self, raw: &mut sys::flashcore_tensor) {
        if self.strides.is_none() {
            raw.stride = self.effective_strides().map(|stride| stride as i64);
        }
    }
}

impl<T: Element> std::fmt::Debug for Tensor<'_, T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tensor").field("shape", &self.shape).field("strides", &self.effective_strides()).finish()
    }
}

/// A view of host or device memory that nobody else uses: an output.
#[derive(Debug)]
pub struct TensorMut<'a, T: Element> {
    pub(crate) tensor: Tensor<'a, T>,
    exclusive: PhantomData<&'a mut [T]>,
}

impl<'a, T: Element> TensorMut<'a, T> {
    pub(crate) fn new(tensor: Tensor<'a, T>) -> Self {
        TensorMut { tensor, exclusive: PhantomData }
    }

    /// Host memory, for the CPU device: shape [batch, sequence, heads, head dimension], contiguous.
    pub fn host(data: &'a mut [T], shape: [usize; 4]) -> Self {
        TensorMut::new(Tensor::of(data.as_mut_ptr() as u64, data.len(), shape, Place::Host))
    }

    /// Memory of the device that another library owns, `len` elements from `address` on.
    ///
    /// # Safety
    /// As [`Tensor::from_device_address`], and nobody else uses the memory until the work with it is done.
    pub unsafe fn from_device_address(address: u64, len: usize, shape: [usize; 4]) -> Self {
        TensorMut::new(Tensor::from_device_address(address, len, shape))
    }

    /// As [`Tensor::offset`].
    pub fn offset(self, elements: usize) -> Self {
        TensorMut::new(self.tensor.offset(elements))
    }

    /// As [`Tensor::strides`]; no stride of an output may be 0 where its size is above 1.
    pub fn strides(self, strides: [usize; 4]) -> Self {
        TensorMut::new(self.tensor.strides(strides))
    }
}
