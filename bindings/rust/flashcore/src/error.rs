// SPDX-License-Identifier: Apache-2.0
//
//! Statuses and errors. Every call has an error of its own, so no thread or task ever sees another's.

use std::ffi::CStr;
use std::fmt;
use std::mem::{size_of, MaybeUninit};
use std::os::raw::c_char;
use std::ptr::addr_of_mut;

use flashcore_sys as sys;

macro_rules! statuses {
    ($($(#[$doc:meta])* $name:ident = $constant:ident,)*) => {
        /// Why a call failed. The numbers behind it are those of `flashcore_status.h`.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum Status {
            $($(#[$doc])* $name,)*
            /// A status that a newer library has and this crate does not know.
            Unknown(i32),
        }

        impl From<sys::flashcore_status> for Status {
            /// The status with a number of the C interface; 0 is none of failure and becomes `Unknown(0)`.
            fn from(code: sys::flashcore_status) -> Self {
                match code {
                    $(sys::$constant => Status::$name,)*
                    other => Status::Unknown(other),
                }
            }
        }

        impl Status {
            /// The number of the C interface.
            pub fn code(self) -> i32 {
                match self {
                    $(Status::$name => sys::$constant,)*
                    Status::Unknown(code) => code,
                }
            }
        }
    };
}

statuses! {
    /// An argument breaks the rules of its field.
    InvalidArgument = FLASHCORE_INVALID_ARGUMENT,
    /// The request is well formed, but no kernel of this build can do it.
    Unsupported = FLASHCORE_UNSUPPORTED,
    /// The stream is being captured and this shape was not prepared before.
    NotPrepared = FLASHCORE_NOT_PREPARED,
    /// The caller's workspace is smaller than the call needs.
    WorkspaceTooSmall = FLASHCORE_WORKSPACE_TOO_SMALL,
    /// The host has no memory left for this call.
    OutOfHostMemory = FLASHCORE_OUT_OF_HOST_MEMORY,
    /// The device has no memory left for this call.
    OutOfDeviceMemory = FLASHCORE_OUT_OF_DEVICE_MEMORY,
    /// No NVIDIA driver library could be loaded.
    NoDriver = FLASHCORE_NO_DRIVER,
    /// The NVIDIA driver is older than the library needs.
    DriverTooOld = FLASHCORE_DRIVER_TOO_OLD,
    /// The driver shows no usable CUDA device.
    NoDevice = FLASHCORE_NO_DEVICE,
    /// The device exists but cannot be used at this moment.
    DeviceNotReady = FLASHCORE_DEVICE_NOT_READY,
    /// No cached module serves the call and NVRTC could not be loaded to compile one.
    CompilerUnavailable = FLASHCORE_COMPILER_UNAVAILABLE,
    /// NVRTC refused a kernel.
    CompileFailed = FLASHCORE_COMPILE_FAILED,
    /// A module file failed its checks.
    ModuleCorrupt = FLASHCORE_MODULE_CORRUPT,
    /// A call of the CUDA driver failed; [`Error::driver_code`] holds its number.
    CudaError = FLASHCORE_CUDA_ERROR,
    /// An earlier failure on the device made its CUDA context unusable; restart the process.
    ContextLost = FLASHCORE_CONTEXT_LOST,
    /// The process was forked after CUDA was initialised; create a new process instead.
    Forked = FLASHCORE_FORKED,
    /// A file could not be read or written.
    IoError = FLASHCORE_IO_ERROR,
    /// The library broke one of its own rules; please report this.
    Internal = FLASHCORE_INTERNAL,
}

impl Status {
    /// `"INVALID_ARGUMENT"` and the like; `"UNKNOWN"` for a number that the loaded library does not know.
    pub fn name(self) -> &'static str {
        static_text(unsafe { sys::flashcore_status_name(self.code()) })
    }

    /// One English sentence about the status.
    pub fn sentence(self) -> &'static str {
        static_text(unsafe { sys::flashcore_status_sentence(self.code()) })
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The library's own texts: static and ASCII.
fn static_text(text: *const c_char) -> &'static str {
    unsafe { CStr::from_ptr(text) }.to_str().unwrap_or("UNKNOWN")
}

/// What went wrong: a status, the argument at fault and a sentence that says what was given and what is allowed. It comes
/// from the library, or from this crate where a tensor does not fit its memory or another tensor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    status: Status,
    field: String,
    message: String,
    driver_code: i32,
}

impl Error {
    pub(crate) fn invalid(field: impl Into<String>, value: impl fmt::Display, allowed: impl fmt::Display) -> Self {
        let field = field.into();
        let message = format!("{} is {}; allowed: {}", field, value, allowed);
        Error { status: Status::InvalidArgument, field, message, driver_code: 0 }
    }

    /// The kind of failure.
    pub fn status(&self) -> Status {
        self.status
    }

    /// The argument at fault (`"key.stride[1]"`), empty where there is none.
    pub fn field(&self) -> &str {
        &self.field
    }

    /// A sentence: what was given, what is allowed, what to do next.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// The CUresult or nvrtcResult behind it, 0 where there is none.
    pub fn driver_code(&self) -> i32 {
        self.driver_code
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.status, self.message)
    }
}

impl std::error::Error for Error {}

/// The result of every call that can fail.
pub type Result<T> = std::result::Result<T, Error>;

/// Bytes of a zero-terminated text in a fixed array inside a struct of the library.
pub(crate) fn bytes_of_array(text: &[c_char]) -> Vec<u8> {
    text.iter().map(|&byte| byte as u8).take_while(|&byte| byte != 0).collect()
}

/// The same as text; bytes of a file's name that are no UTF-8 are replaced.
pub(crate) fn text_of_array(text: &[c_char]) -> String {
    String::from_utf8_lossy(&bytes_of_array(text)).into_owned()
}

/// Make one call of the C interface with an error of its own. It is not cleared: that would cost more than the rest, and the
/// library writes every byte when it fails.
#[inline]
pub(crate) fn call(function: impl FnOnce(*mut sys::flashcore_error) -> sys::flashcore_status) -> Result<()> {
    let mut error = MaybeUninit::<sys::flashcore_error>::uninit();
    let raw = error.as_mut_ptr();
    unsafe { addr_of_mut!((*raw).struct_size).write(size_of::<sys::flashcore_error>() as u32) };
    match function(raw) {
        sys::FLASHCORE_OK => Ok(()),
        status => Err(error_from(status, unsafe { error.assume_init_ref() })),
    }
}

#[cold]
fn error_from(status: sys::flashcore_status, raw: &sys::flashcore_error) -> Error {
    Error {
        status: Status::from(status),
        field: text_of_array(&raw.field),
        message: text_of_array(&raw.message),
        driver_code: raw.driver_code,
    }
}
