// SPDX-License-Identifier: Apache-2.0
//
//! Streams order work on the device; events measure time on them. Both work on the CPU device, which is always done.

use std::os::raw::c_void;
use std::ptr;

use flashcore_sys as sys;

use crate::context::Context;
use crate::error::{call, Error, Result};

/// A queue of work on the device that does not wait for the default stream.
pub struct Stream {
    context: Context,
    raw: *mut c_void,
    owned: bool,
}

// A CUstream may be used from any thread; the library makes its context current in every call.
unsafe impl Send for Stream {}
unsafe impl Sync for Stream {}

impl Context {
    /// A new stream.
    pub fn stream(&self) -> Result<Stream> {
        let mut raw = ptr::null_mut();
        call(|error| unsafe { sys::flashcore_stream_create(self.handle.raw, &mut raw, error) })?;
        Ok(Stream { context: self.clone(), raw, owned: true })
    }

    /// The default stream: what [`crate::Attention::run`] uses.
    pub fn default_stream(&self) -> Stream {
        Stream { context: self.clone(), raw: ptr::null_mut(), owned: false }
    }

    /// A new event.
    pub fn event(&self) -> Result<Event> {
        let mut raw = ptr::null_mut();
        call(|error| unsafe { sys::flashcore_event_create(self.handle.raw, &mut raw, error) })?;
        Ok(Event { context: self.clone(), raw })
    }
}

impl Stream {
    /// A CUstream of another library. It is not destroyed with the value.
    ///
    /// # Safety
    /// `raw` is a CUstream of the context's device, and stays one as long as the value lives and work of it runs.
    pub unsafe fn from_raw(context: &Context, raw: *mut c_void) -> Stream {
        Stream { context: context.clone(), raw, owned: false }
    }

    /// The CUstream, for other libraries.
    pub fn as_raw(&self) -> *mut c_void {
        self.raw
    }

    /// The context that it belongs to.
    pub fn context(&self) -> &Context {
        &self.context
    }

    /// Wait until everything on the stream is done; failures of earlier work surface here.
    pub fn synchronize(&self) -> Result<()> {
        call(|error| unsafe { sys::flashcore_stream_synchronize(self.context.handle.raw, self.raw, error) })
    }

    pub(crate) fn check_context(&self, context: &Context) -> Result<()> {
        if !self.context.same_as(context) {
            return Err(Error::invalid("stream", "a stream of another context", "a stream of this context"));
        }
        Ok(())
    }
}

impl Drop for Stream {
    /// Waits for the stream's work: the context may be closed next, and no module may be unloaded under a running kernel.
    fn drop(&mut self) {
        if self.owned {
            unsafe {
                let _ = sys::flashcore_stream_synchronize(self.context.handle.raw, self.raw, ptr::null_mut());
                let _ = sys::flashcore_stream_destroy(self.context.handle.raw, self.raw, ptr::null_mut());
            }
        }
    }
}

impl std::fmt::Debug for Stream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Stream").field("raw", &self.raw).finish()
    }
}

/// A point in a stream's work.
pub struct Event {
    context: Context,
    raw: *mut c_void,
}

// A CUevent, and the CPU device's event, may be used from any threads at once.
unsafe impl Send for Event {}
unsafe impl Sync for Event {}

impl Event {
    /// Mark the point that the stream has reached.
    pub fn record(&self, stream: &Stream) -> Result<()> {
        stream.check_context(&self.context)?;
        call(|error| unsafe { sys::flashcore_event_record(self.context.handle.raw, self.raw, stream.as_raw(), error) })
    }

    /// Wait until the point has been passed.
    pub fn synchronize(&self) -> Result<()> {
        call(|error| unsafe { sys::flashcore_event_synchronize(self.context.handle.raw, self.raw, error) })
    }

    /// Microseconds from `start` to this point; both must have been passed.
    pub fn elapsed_us_since(&self, start: &Event) -> Result<f64> {
        if !start.context.same_as(&self.context) {
            return Err(Error::invalid("start", "an event of another context", "an event of this context"));
        }
        let mut elapsed_us = 0.0;
        call(|error| unsafe {
            sys::flashcore_event_elapsed_us(self.context.handle.raw, start.raw, self.raw, &mut elapsed_us, error)
        })?;
        Ok(elapsed_us)
    }
}

impl Drop for Event {
    fn drop(&mut self) {
        let _ = unsafe { sys::flashcore_event_destroy(self.context.handle.raw, self.raw, ptr::null_mut()) };
    }
}

impl std::fmt::Debug for Event {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Event").field("raw", &self.raw).finish()
    }
}
