// SPDX-License-Identifier: Apache-2.0
//
//! The C interface of libflashcore as it is: structs, constants and functions with their C names, nothing else. The crate
//! `flashcore` is the safe way to use it. The header `flashcore.h` is the manual.
//!
//! The build looks for `libflashcore.so` in the folder of the environment variable `FLASHCORE_LIB_DIR`, then asks
//! `pkg-config`. At run time the system's loader must find `libflashcore.so.1`, too.
//!
//! ```
//! // The version is one comparable number: 10000 is 1.0.0.
//! assert!(unsafe { flashcore_sys::flashcore_version() } >= 10000);
//! let args = flashcore_sys::flashcore_attention_args::default(); // zeroed, with its size
//! assert_eq!(args.struct_size as usize, std::mem::size_of_val(&args));
//! ```
#![allow(non_camel_case_types)]

#[rustfmt::skip] // made by a tool
mod abi;

pub use abi::*;
