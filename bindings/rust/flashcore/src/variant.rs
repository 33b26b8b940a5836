// SPDX-License-Identifier: Apache-2.0
//
//! Variants: attention with a few lines of C++ of the caller's own, compiled into the library's kernels.

use std::os::raw::c_char;
use std::ptr;

use flashcore_sys as sys;

use crate::context::Context;
use crate::error::{call, Error, Result};

/// A text that changes scores and hides keys; `flashcore.h` says what stands in it.
///
/// ```
/// use flashcore::{Context, Device};
///
/// let context = Context::open(Device::Cpu)?;
/// let nearest = context.variant(
///     "bool visible(int32_t batch, int32_t head, int32_t query, int32_t key, const void *params) { return key == query; }",
///     0,
/// )?;
/// let error = context.variant("int x;", 0).unwrap_err();
/// assert_eq!(error.field(), "text");
/// # drop(nearest);
/// # Ok::<(), flashcore::Error>(())
/// ```
pub struct Variant {
    context: Context,
    pub(crate) id: u64,
    params_bytes: usize,
}

impl Context {
    /// A variant of a text. `params_bytes`: of the block that each call gives in [`crate::Attention::variant_params`], a multiple of 8; 0:
    /// calls give none. Nothing is compiled here: the first call of a shape does that, and [`crate::Attention::prepare`].
    pub fn variant(&self, text: &str, params_bytes: usize) -> Result<Variant> {
        if text.is_empty() {
            // A size of 0 would ask the library for the end of the text.
            return Err(Error::invalid("text", "a text of 0 bytes", "1 to 65536 bytes"));
        }
        let bytes = i64::try_from(params_bytes).map_err(|_| Error::invalid("params_bytes", params_bytes, "up to 2^40"))?;
        let options = sys::flashcore_variant_options { params_bytes: bytes, ..Default::default() };
        let mut id = 0;
        call(|error| unsafe {
            sys::flashcore_variant_create(
                self.handle.raw,
                text.as_ptr() as *const c_char,
                text.len() as i64,
                &options,
                &mut id,
                error,
            )
        })?;
        Ok(Variant { context: self.clone(), id, params_bytes })
    }
}

impl Variant {
    pub(crate) fn check(&self, context: &Context, given_bytes: usize) -> Result<()> {
        if !self.context.same_as(context) {
            return Err(Error::invalid("variant", "a variant of another context", "a variant of this context"));
        }
        if given_bytes < self.params_bytes {
            let allowed = format!("{} or more, as the variant was made with", self.params_bytes);
            return Err(Error::invalid("variant_params", format_args!("{} bytes", given_bytes), allowed));
        }
        Ok(())
    }
}

impl Drop for Variant {
    fn drop(&mut self) {
        unsafe {
            let _ = sys::flashcore_variant_destroy(self.context.handle.raw, self.id, ptr::null_mut());
        }
    }
}

impl std::fmt::Debug for Variant {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Variant").field("id", &self.id).field("params_bytes", &self.params_bytes).finish()
    }
}
