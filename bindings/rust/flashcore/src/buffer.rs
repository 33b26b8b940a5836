// SPDX-License-Identifier: Apache-2.0
//
//! Memory on the context's device and page-locked memory of the host. On the CPU device both are ordinary memory.

use std::marker::PhantomData;
use std::mem::size_of;
use std::ops::{Deref, DerefMut};
use std::os::raw::c_void;
use std::ptr;

use flashcore_sys as sys;

use crate::context::Context;
use crate::element::Element;
use crate::error::{call, Error, Result};
use crate::stream::Stream;
use crate::tensor::{Tensor, TensorMut};

fn bytes_of<T>(elements: usize) -> Result<i64> {
    elements.checked_mul(size_of::<T>()).and_then(|bytes| i64::try_from(bytes).ok()).ok_or_else(|| {
        Error::invalid("bytes", format_args!("{} elements of {} bytes", elements, size_of::<T>()), "up to 2^63 - 1 bytes")
    })
}

/// Elements in device memory, aligned to 256 bytes. Dropping it frees the memory, for which the driver waits until the
/// device no longer uses it.
pub struct Buffer<T: Element> {
    context: Context,
    address: u64,
    len: usize,
    element: PhantomData<T>,
}

impl Context {
    /// A buffer of `len` elements, all bytes zero. `OutOfDeviceMemory`.
    pub fn zeros<T: Element>(&self, len: usize) -> Result<Buffer<T>> {
        let buffer = self.allocate(len)?;
        let bytes = bytes_of::<T>(len)?;
        call(|error| unsafe { sys::flashcore_buffer_fill(self.handle.raw, buffer.address, 0, bytes, ptr::null_mut(), error) })?;
        // Other streams do not wait for the default one.
        call(|error| unsafe { sys::flashcore_stream_synchronize(self.handle.raw, ptr::null_mut(), error) })?;
        Ok(buffer)
    }

    /// A buffer with a copy of `data`. `OutOfDeviceMemory`.
    pub fn upload<T: Element>(&self, data: &[T]) -> Result<Buffer<T>> {
        let mut buffer = self.allocate(data.len())?;
        buffer.write(0, data)?;
        Ok(buffer)
    }

    fn allocate<T: Element>(&self, len: usize) -> Result<Buffer<T>> {
        let (bytes, mut address) = (bytes_of::<T>(len)?, 0);
        call(|error| unsafe { sys::flashcore_buffer_alloc(self.handle.raw, bytes, &mut address, error) })?;
        Ok(Buffer { context: self.clone(), address, len, element: PhantomData })
    }

    /// Page-locked host memory, all bytes zero, for copies that overlap with work on the device. `OutOfHostMemory`.
    pub fn host_zeros<T: Element>(&self, len: usize) -> Result<HostBuffer<T>> {
        let (bytes, mut memory) = (bytes_of::<T>(len)?, ptr::null_mut());
        call(|error| unsafe { sys::flashcore_host_alloc(self.handle.raw, bytes, &mut memory, error) })?;
        if !memory.is_null() {
            unsafe { ptr::write_bytes(memory.cast::<u8>(), 0, bytes as usize) };
        }
        Ok(HostBuffer { context: self.clone(), memory: memory.cast(), len })
    }
}

impl<T: Element> Buffer<T> {
    /// Number of elements.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether it holds no element.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The context whose device holds it.
    pub fn context(&self) -> &Context {
        &self.context
    }

    /// Address on the device, for other libraries; 0 for an empty buffer.
    pub fn device_address(&self) -> u64 {
        self.address
    }

    /// The buffer as an input of shape [batch, sequence, heads, head dimension], contiguous from its first element.
    pub fn tensor(&self, shape: [usize; 4]) -> Tensor<'_, T> {
        Tensor::of_buffer(&self.context, self.address, self.len, shape)
    }

    /// The buffer as an output of shape [batch, sequence, heads, head dimension], contiguous from its first element.
    pub fn tensor_mut(&mut self, shape: [usize; 4]) -> TensorMut<'_, T> {
        TensorMut::new(Tensor::of_buffer(&self.context, self.address, self.len, shape))
    }

    /// Copy `data` over the elements from `offset` on and wait for the copy. Work on the device that still uses the buffer
    /// must have finished.
    pub fn write(&mut self, offset: usize, data: &[T]) -> Result<()> {
        let (address, bytes) = self.part("data", offset, data.len())?;
        let source = data.as_ptr().cast();
        call(|error| unsafe {
            sys::flashcore_copy_to_device(self.context.handle.raw, address, source, bytes, ptr::null_mut(), error)
        })?;
        self.synchronize_default()
    }

    /// Copy the elements from `offset` on into `data`. Work on a [`Stream`] that writes the buffer must have been waited for;
    /// work on the default stream is.
    pub fn read(&self, offset: usize, data: &mut [T]) -> Result<()> {
        let (address, bytes) = self.part("data", offset, data.len())?;
        let destination = data.as_mut_ptr().cast();
        call(|error| unsafe {
            sys::flashcore_copy_to_host(self.context.handle.raw, destination, address, bytes, ptr::null_mut(), error)
        })?;
        self.synchronize_default()
    }

    /// All elements, see [`Buffer::read`].
    pub fn to_vec(&self) -> Result<Vec<T>> {
        let mut data = Vec::with_capacity(self.len);
        // Every pattern of bits is an element, so zeroed ones are good enough to be written over.
        data.resize_with(self.len, || unsafe { std::mem::zeroed() });
        self.read(0, &mut data)?;
        Ok(data)
    }

    /// Copy elements of another buffer of the context over those from `offset` on, ordered on the stream.
    pub fn copy_from(
        &mut self,
        offset: usize,
        source: &Buffer<T>,
        source_offset: usize,
        len: usize,
        stream: &Stream,
    ) -> Result<()> {
        if !source.context.same_as(&self.context) {
            return Err(Error::invalid("source", "a buffer of another context", "a buffer of this context"));
        }
        stream.check_context(&self.context)?;
        let (destination, bytes) = self.part("destination", offset, len)?;
        let (source, _) = source.part("source", source_offset, len)?;
        call(|error| unsafe {
            sys::flashcore_copy_on_device(self.context.handle.raw, destination, source, bytes, stream.as_raw(), error)
        })
    }

    /// Copy from page-locked memory, ordered on the stream, and return before the copy has finished.
    ///
    /// # Safety
    /// `source` is neither written nor dropped before the stream has passed the copy.
    pub unsafe fn write_async(&mut self, offset: usize, source: &HostBuffer<T>, stream: &Stream) -> Result<()> {
        stream.check_context(&self.context)?;
        let (address, bytes) = self.part("source", offset, source.len())?;
        call(|error| {
            sys::flashcore_copy_to_device(self.context.handle.raw, address, source.memory.cast(), bytes, stream.as_raw(), error)
        })
    }

    /// Copy into page-locked memory, ordered on the stream, and return before the copy has finished.
    ///
    /// # Safety
    /// `destination` is neither read, written nor dropped before the stream has passed the copy.
    pub unsafe fn read_async(&self, offset: usize, destination: &mut HostBuffer<T>, stream: &Stream) -> Result<()> {
        stream.check_context(&self.context)?;
        let (address, bytes) = self.part("destination", offset, destination.len())?;
        call(|error| {
            sys::flashcore_copy_to_host(
                self.context.handle.raw,
                destination.memory.cast(),
                address,
                bytes,
                stream.as_raw(),
                error,
            )
        })
    }

    /// Free the memory now and hear of a failure, which dropping swallows.
    pub fn free(self) -> Result<()> {
        let this = std::mem::ManuallyDrop::new(self);
        let result = call(|error| unsafe { sys::flashcore_buffer_free(this.context.handle.raw, this.address, error) });
        drop(unsafe { ptr::read(&this.context) }); // the only field that has something to drop
        result
    }

    /// Address and bytes of some elements.
    fn part(&self, field: &str, offset: usize, len: usize) -> Result<(u64, i64)> {
        if offset > self.len || len > self.len - offset {
            let allowed = format!("elements within the {} of the buffer", self.len);
            return Err(Error::invalid(field, format_args!("{} elements from {} on", len, offset), allowed));
        }
        Ok((self.address + (offset * size_of::<T>()) as u64, bytes_of::<T>(len)?))
    }

    fn synchronize_default(&self) -> Result<()> {
        call(|error| unsafe { sys::flashcore_stream_synchronize(self.context.handle.raw, ptr::null_mut(), error) })
    }
}

impl<T: Element> Drop for Buffer<T> {
    fn drop(&mut self) {
        // Nobody is left to hear of a failure; `free` is for those who want to.
        let _ = unsafe { sys::flashcore_buffer_free(self.context.handle.raw, self.address, ptr::null_mut()) };
    }
}

impl<T: Element> std::fmt::Debug for Buffer<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Buffer").field("address", &self.address).field("len", &self.len).finish()
    }
}

/// Page-locked host memory; a slice of elements.
pub struct HostBuffer<T: Element> {
    context: Context,
    memory: *mut T,
    len: usize,
}

// It owns its memory as a Vec does.
unsafe impl<T: Element> Send for HostBuffer<T> {}
unsafe impl<T: Element> Sync for HostBuffer<T> {}

impl<T: Element> HostBuffer<T> {
    /// The context whose driver locked it.
    pub fn context(&self) -> &Context {
        &self.context
    }
}

impl<T: Element> Deref for HostBuffer<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        if self.len == 0 {
            return &[];
        }
        unsafe { std::slice::from_raw_parts(self.memory, self.len) }
    }
}

impl<T: Element> DerefMut for HostBuffer<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        if self.len == 0 {
            return &mut [];
        }
        unsafe { std::slice::from_raw_parts_mut(self.memory, self.len) }
    }
}

impl<T: Element> Drop for HostBuffer<T> {
    fn drop(&mut self) {
        let _ = unsafe { sys::flashcore_host_free(self.context.handle.raw, self.memory.cast::<c_void>(), ptr::null_mut()) };
    }
}

impl<T: Element> std::fmt::Debug for HostBuffer<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HostBuffer").field("len", &self.len).finish()
    }
}
