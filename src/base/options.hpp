// SPDX-License-Identifier: Apache-2.0
//
// Every environment variable that the library knows, in one table, read once when a context (or an inspection) begins.
// secure_getenv: a program with more rights than its caller (set-uid, set-gid, file capabilities) gets the defaults.
#pragma once

#include <string>

#include "base/error.hpp"

namespace flashcore {

struct Environment {
  std::string cache_directory;      // FLASHCORE_CACHE_DIR
  std::string cache_mode;           // FLASHCORE_CACHE: rw, ro or off
  std::string module_path;          // FLASHCORE_MODULE_PATH: folders separated by ':'
  std::string jit_mode;             // FLASHCORE_JIT: on or off
  std::string tuned_mode;           // FLASHCORE_TUNED: on or off
  std::string address_checks;       // FLASHCORE_CHECK_ADDRESSES: on or off
  std::string libcuda;              // FLASHCORE_LIBCUDA: path of the driver library
  std::string libnvrtc;             // FLASHCORE_LIBNVRTC: path of the compiler library
  std::string nvrtc_append_flags;   // NVRTC_APPEND_FLAGS: NVRTC reads it itself, so it belongs to the module key
  std::string host_compiler;        // FLASHCORE_CXX: path of a C++ compiler, for variants on the CPU device
  std::string cuda_home;            // CUDA_HOME, else CUDA_PATH
  std::string xdg_cache_home;       // XDG_CACHE_HOME
  std::string home;                 // HOME
  bool privileged = false;          // AT_SECURE: nothing that the caller may choose is to be trusted
  bool nvrtc_flags_forced = false;  // privileged, and NVRTC_APPEND_FLAGS is set all the same: NVRTC would obey it
};

Environment read_environment();

}  // namespace flashcore
