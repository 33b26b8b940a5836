// SPDX-License-Identifier: Apache-2.0
//
// What the tests of the driver's wrappers share: the stand-in, the driver on it, and closed books.
#pragma once

#include <boost/test/unit_test.hpp>
#include <stdexcept>
#include <string>
#include <utility>

#include "driver/cuda_driver.hpp"
#include "fake_library.hpp"

namespace flashcore {

inline FakeCuda &fake() {
  static FakeCuda library(FAKE_LIBCUDA);
  return library;
}

inline const CudaDriver &driver() {
  static const CudaDriver *const loaded = [] {
    auto result = CudaDriver::load(FAKE_LIBCUDA);
    if (!result.ok()) throw std::runtime_error(result.error().message);
    return result.value();
  }();
  return *loaded;
}

inline const CudaStream per_thread_stream = reinterpret_cast<CudaStream>(uintptr_t{2});

// A device's context is current, and nothing may be open or misused afterwards.
struct Device {
  Device() {
    driver();
    fake().fake_reset();
    fake().fake_set_current(fake().fake_user_context(0));
  }
  ~Device() {
    fake().fake_clear_failures();
    fake().fake_set_current(nullptr);
    BOOST_TEST(fake().open_resources() == "");
    BOOST_TEST(fake().fake_misuses() == 0, fake().fake_last_misuse());
  }
};

struct NoContext : Device {
  NoContext() { fake().fake_set_current(nullptr); }
};

template <typename T>
std::string text_of(const Result<T> &result) {
  return result.ok() ? "" : result.error().message;
}

template <typename T>
T value_of(Result<T> result) {
  BOOST_REQUIRE_EQUAL(text_of(result), "");
  return std::move(result).value();
}

inline void require_ok(const Status &status) { BOOST_REQUIRE_EQUAL(text_of(status), ""); }

}  // namespace flashcore
