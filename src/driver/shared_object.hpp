// SPDX-License-Identifier: Apache-2.0
//
// A library opened at run time: its symbols, where it was found, which build it is. Closed again unless kept: a
// candidate that proves useless must not stay, or the next dlopen of the same soname would find it instead of a better
// one.
#pragma once

#include <string>
#include <utility>

#include "base/error.hpp"

namespace flashcore {

class SharedObject {
 public:
  // `name`: a path, or a soname for the dynamic loader to look up. The error is dlerror's sentence; where memory is what was missing,
  // std::bad_alloc.
  static Result<SharedObject> open(const std::string &name);
  // The library if the process has it already.
  static Result<SharedObject> open_loaded(const std::string &name);

  SharedObject() = default;
  SharedObject(SharedObject &&other) noexcept : handle_(std::exchange(other.handle_, nullptr)) {}
  SharedObject &operator=(SharedObject &&other) noexcept {
    std::swap(handle_, other.handle_);
    return *this;
  }
  ~SharedObject();

  explicit operator bool() const { return handle_ != nullptr; }
  void *symbol(const char *name) const;  // nullptr: not there
  std::string path() const;              // as the dynamic loader found it
  // GNU build-id in hex; where the linker wrote none, size and modification time of the file; empty: unknown.
  std::string build_id() const;
  void keep() { handle_ = nullptr; }  // until the process ends

 private:
  explicit SharedObject(void *handle) : handle_(handle) {}
  static Result<SharedObject> open_with(const std::string &name, int flags);
  void *handle_ = nullptr;
};

}  // namespace flashcore
