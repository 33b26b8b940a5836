// SPDX-License-Identifier: Apache-2.0
//
//! Devices and contexts. A context is counted: buffers, streams and events keep it alive, so none can outlive it.

use std::ffi::OsString;
use std::os::raw::c_char;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::ptr;
use std::sync::Arc;

use flashcore_sys as sys;

use crate::error::{bytes_of_array, call, text_of_array, Error, Result};

/// Where to compute.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Device {
    /// The first usable GPU, else the CPU; [`Context::describe`] says which and why.
    Auto,
    /// Host memory, computed by the library's own threads.
    Cpu,
    /// The CUDA device with this ordinal, or an error.
    Cuda(i32),
}

impl Device {
    fn kind(self) -> i32 {
        match self {
            Device::Auto => sys::FLASHCORE_DEVICE_AUTO,
            Device::Cpu => sys::FLASHCORE_DEVICE_CPU,
            Device::Cuda(_) => sys::FLASHCORE_DEVICE_CUDA,
        }
    }
}

/// What a device is.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct DeviceInfo {
    /// [`Device::Cpu`] or [`Device::Cuda`].
    pub device: Device,
    /// 89 for compute capability 8.9; 0 for the CPU.
    pub arch: i32,
    /// SMs; worker threads for the CPU.
    pub multiprocessors: i32,
    /// What one thread block may use after the opt-in; 0 for the CPU.
    pub shared_memory_per_block_optin_bytes: i32,
    /// Total device memory; 0 for the CPU.
    pub memory_bytes: i64,
    /// 13000 for CUDA 13.0; 0 for the CPU.
    pub driver_version: i32,
    /// As the driver calls it.
    pub name: String,
}

impl DeviceInfo {
    fn from_raw(raw: &sys::flashcore_device_info) -> Self {
        DeviceInfo {
            device: if raw.kind == sys::FLASHCORE_DEVICE_CPU { Device::Cpu } else { Device::Cuda(raw.ordinal) },
            arch: raw.arch,
            multiprocessors: raw.multiprocessors,
            shared_memory_per_block_optin_bytes: raw.shared_memory_per_block_optin_bytes,
            memory_bytes: raw.memory_bytes,
            driver_version: raw.driver_version,
            name: text_of_array(&raw.name),
        }
    }
}

/// Number of CUDA devices; 0 where there is no driver or no device: [`describe_cuda_device`] of 0 says why. Starts the driver.
pub fn cuda_device_count() -> Result<usize> {
    let mut count = 0;
    call(|error| unsafe { sys::flashcore_device_count(&mut count, error) })?;
    Ok(count.max(0) as usize)
}

/// Describe the CUDA device with this ordinal. `InvalidArgument` past the count; where that is 0, the reason: `NoDriver`,
/// `DriverTooOld`, `NoDevice`, `DeviceNotReady`.
pub fn describe_cuda_device(ordinal: i32) -> Result<DeviceInfo> {
    let mut info = sys::flashcore_device_info::default();
    call(|error| unsafe { sys::flashcore_device_describe(ordinal, &mut info, error) })?;
    Ok(DeviceInfo::from_raw(&info))
}

/// Version of the loaded library as one comparable number: 1.2.3 is 10203.
pub fn version() -> u32 {
    unsafe { sys::flashcore_version() }
}

/// What happens to modules that were compiled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Cache {
    /// Kept for the next process.
    ReadWrite,
    /// Existing ones are used, none is written.
    ReadOnly,
    /// The user cache is neither read nor written.
    Off,
}

/// How to open a context; what is not set is the library's default.
#[derive(Clone)]
pub struct ContextBuilder {
    options: sys::flashcore_context_options,
    wrong_path: Option<Error>,
}

impl ContextBuilder {
    /// Where to compute; [`Device::Auto`] unless set.
    pub fn device(mut self, device: Device) -> Self {
        self.options.device_kind = device.kind();
        self.options.device_ordinal = if let Device::Cuda(ordinal) = device { ordinal } else { 0 };
        self
    }

    /// Worker threads of the CPU device; 0: all that the process may run on.
    pub fn cpu_threads(mut self, threads: i32) -> Self {
        self.options.cpu_threads = threads;
        self
    }

    /// Whether compiled modules are read and kept; unless set the variable FLASHCORE_CACHE decides.
    pub fn cache(mut self, cache: Cache) -> Self {
        self.options.cache_mode = match cache {
            Cache::ReadWrite => sys::FLASHCORE_CACHE_READ_WRITE,
            Cache::ReadOnly => sys::FLASHCORE_CACHE_READ_ONLY,
            Cache::Off => sys::FLASHCORE_CACHE_OFF,
        };
        self
    }

    /// Whether NVRTC may compile what no cache holds; unless set the variable FLASHCORE_JIT decides.
    pub fn jit(mut self, allowed: bool) -> Self {
        self.options.jit_mode = if allowed { sys::FLASHCORE_JIT_ALLOWED } else { sys::FLASHCORE_JIT_FORBIDDEN };
        self
    }

    /// Folder of the user cache.
    pub fn cache_directory(mut self, folder: impl AsRef<Path>) -> Self {
        set_path(&mut self.options.cache_directory, folder.as_ref(), "cache_directory", &mut self.wrong_path);
        self
    }

    /// Read-only module folders, separated by ':'.
    pub fn module_path(mut self, folders: impl AsRef<Path>) -> Self {
        set_path(&mut self.options.module_path, folders.as_ref(), "module_path", &mut self.wrong_path);
        self
    }

    /// The file of libnvrtc.
    pub fn nvrtc_library(mut self, file: impl AsRef<Path>) -> Self {
        set_path(&mut self.options.nvrtc_library, file.as_ref(), "nvrtc_library", &mut self.wrong_path);
        self
    }

    /// Whether the driver is asked for the addresses of every call (`true`: a wrong one is `InvalidArgument`), or only when a module
    /// is first needed (`false`: it may end every later use of the device); unless set the variable FLASHCORE_CHECK_ADDRESSES
    /// decides.
    pub fn check_addresses(mut self, always: bool) -> Self {
        self.options.address_checks =
            if always { sys::FLASHCORE_ADDRESS_CHECKS_ALWAYS } else { sys::FLASHCORE_ADDRESS_CHECKS_NEW_SHAPES };
        self
    }

    /// Open the device. On a GPU everything happens in the device's primary CUDA context, whatever is current: streams and
    /// events of others must belong to it. `InvalidArgument`, `Unsupported` (a GPU before compute capability 8.0), `NoDriver`,
    /// `DriverTooOld`, `NoDevice`, `DeviceNotReady`, `OutOfHostMemory`, `OutOfDeviceMemory`, `CudaError`, `Forked`.
    pub fn open(self) -> Result<Context> {
        if let Some(error) = self.wrong_path {
            return Err(error);
        }
        let mut handle = ptr::null_mut();
        call(|error| unsafe { sys::flashcore_context_create(&self.options, &mut handle, error) })?;
        let handle = Arc::new(Handle { raw: handle, is_cpu: false });
        let context = Context { handle };
        let is_cpu = context.describe()?.device.device == Device::Cpu;
        let mut handle = context.handle;
        Arc::get_mut(&mut handle).expect("nobody else has it yet").is_cpu = is_cpu;
        Ok(Context { handle })
    }
}

/// Copy a path into a fixed array of the options. The first one that does not fit is what `open` returns.
fn set_path(target: &mut [c_char], path: &Path, field: &str, wrong: &mut Option<Error>) {
    let bytes = path.as_os_str().as_bytes();
    if bytes.len() >= target.len() || bytes.contains(&0) {
        let allowed = format!("up to {} bytes, none of them 0", target.len() - 1);
        wrong.get_or_insert(Error::invalid(field, format_args!("{} bytes long", bytes.len()), allowed));
        return;
    }
    target.fill(0);
    for (place, &byte) in target.iter_mut().zip(bytes) {
        *place = byte as c_char;
    }
}

/// The C handle. Everything that was made through it holds an `Arc` of it and is freed before it.
pub(crate) struct Handle {
    pub(crate) raw: sys::flashcore_context,
    pub(crate) is_cpu: bool,
}

// The library allows every call but destroy from many threads at once, and destroy runs when nobody else is left.
unsafe impl Send for Handle {}
unsafe impl Sync for Handle {}

impl Drop for Handle {
    fn drop(&mut self) {
        // Modules must not be unloaded under running work, also on streams of others. A failure has nobody left to hear it.
        unsafe {
            let _ = sys::flashcore_context_synchronize(self.raw, ptr::null_mut());
            sys::flashcore_context_destroy(self.raw);
        }
    }
}

/// One device, its loaded kernels and its remembered plans. Cloning gives another handle of the same; all of them may be
/// used from many threads at once. The last one to go, buffers, streams and events included, closes it; on a GPU it waits for
/// everything on the device first, as [`Context::synchronize`] does, which is the one that tells of failures. There is no
/// way to use a closed one:
///
/// ```compile_fail,E0382
/// let context = flashcore::Context::open(flashcore::Device::Cpu).unwrap();
/// drop(context);
/// context.describe().unwrap(); // borrow of moved value
/// ```
#[derive(Clone)]
pub struct Context {
    pub(crate) handle: Arc<Handle>,
}

impl Context {
    /// Open a device with default options.
    pub fn open(device: Device) -> Result<Context> {
        Context::builder().device(device).open()
    }

    /// Options to open a context with.
    pub fn builder() -> ContextBuilder {
        ContextBuilder { options: sys::flashcore_context_options::default(), wrong_path: None }
    }

    /// Which device this is and why, and what the module cache did so far.
    pub fn describe(&self) -> Result<ContextInfo> {
        let mut raw = sys::flashcore_context_info::default();
        call(|error| unsafe { sys::flashcore_context_describe(self.handle.raw, &mut raw, error) })?;
        let mut device = sys::flashcore_device_info::default();
        call(|error| unsafe { sys::flashcore_context_describe_device(self.handle.raw, &mut device, error) })?;
        let directory = bytes_of_array(&raw.cache_directory);
        Ok(ContextInfo {
            device: DeviceInfo::from_raw(&device),
            device_reason: text_of_array(&raw.device_reason),
            nvrtc_version: raw.nvrtc_version,
            cache_directory: if directory.is_empty() { None } else { Some(PathBuf::from(OsString::from_vec(directory))) },
            cache_warning: text_of_array(&raw.cache_warning),
            modules_from_process: raw.modules_from_process,
            modules_from_shipped: raw.modules_from_shipped,
            modules_from_user_cache: raw.modules_from_user_cache,
            modules_compiled: raw.modules_compiled,
            cache_rejected: raw.cache_rejected,
            cache_write_failures: raw.cache_write_failures,
            compile_us: raw.compile_us,
        })
    }

    /// Wait until everything on the device is done, on every stream, whoever launched it; failures of earlier work surface
    /// here. The CPU device has always finished.
    pub fn synchronize(&self) -> Result<()> {
        call(|error| unsafe { sys::flashcore_context_synchronize(self.handle.raw, error) })
    }

    /// The C handle, for calls of `flashcore_sys`. It stays owned by this context and its clones.
    pub fn as_raw(&self) -> sys::flashcore_context {
        self.handle.raw
    }

    /// Whether both are handles of one context.
    pub fn same_as(&self, other: &Context) -> bool {
        Arc::ptr_eq(&self.handle, &other.handle)
    }
}

impl std::fmt::Debug for Context {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Context").field("raw", &self.handle.raw).finish()
    }
}

/// What a context is and what its module cache did so far.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ContextInfo {
    /// The device in use.
    pub device: DeviceInfo,
    /// Why this device: "first usable GPU", or why there was none.
    pub device_reason: String,
    /// 13000 for NVRTC 13.0; 0: not loaded (not needed so far).
    pub nvrtc_version: i32,
    /// User cache in use; None where it is off.
    pub cache_directory: Option<PathBuf>,
    /// The last trouble with the cache, which never makes a call fail; empty: none.
    pub cache_warning: String,
    /// Lookups that found the module loaded.
    pub modules_from_process: i64,
    /// Loaded from the shipped or configured read-only folders.
    pub modules_from_shipped: i64,
    /// Loaded from the user cache.
    pub modules_from_user_cache: i64,
    /// Compiled by NVRTC.
    pub modules_compiled: i64,
    /// Entries found but refused by a check; each was a miss.
    pub cache_rejected: i64,
    /// Compiled modules that could not be kept.
    pub cache_write_failures: i64,
    /// Time spent in NVRTC, in microseconds.
    pub compile_us: i64,
}
