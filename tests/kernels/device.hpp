// SPDX-License-Identifier: Apache-2.0
//
// The devices and kernels under test, reached through the public interface alone: contexts and device memory as RAII,
// and the list of targets, one for each kernel that a device could run and one for the library's own choice.
#pragma once

#include <flashcore/flashcore.h>
#include <flashcore/flashcore_inspect.h>

#include <boost/test/unit_test.hpp>
#include <cstdint>
#include <string>
#include <vector>

namespace flashcore::tests {

class Device {
 public:
  // A failure to open a device that the library lists is a failed test.
  Device(int32_t kind, int32_t ordinal);
  ~Device() { flashcore_context_destroy(context_); }
  Device(const Device &) = delete;
  Device &operator=(const Device &) = delete;
  flashcore_context context() const { return context_; }
  void synchronize() const;

 private:
  flashcore_context context_ = nullptr;
};

class DeviceBuffer {
 public:
  DeviceBuffer(const Device &device, int64_t bytes);
  ~DeviceBuffer();
  DeviceBuffer(const DeviceBuffer &) = delete;
  DeviceBuffer &operator=(const DeviceBuffer &) = delete;
  uint64_t address() const { return address_; }
  int64_t bytes() const { return bytes_; }
  void write(const void *source) const;  // all bytes
  void read(void *destination) const;
  void fill(uint8_t value) const;

 private:
  const Device &device_;
  int64_t bytes_ = 0;
  uint64_t address_ = 0;
};

// All that the library has, whatever the devices are.
std::vector<flashcore_kernel_info> list_kernels();

struct Target {
  std::string name;  // "cpu", "cuda0-sm80_fwd_mma", "cuda0-auto"
  int32_t device_kind = FLASHCORE_DEVICE_CPU, device_ordinal = 0;
  std::string kernel;       // empty: the library's choice
  std::string skip_reason;  // empty: it can run here
};

// Every kernel of the table is listed, those that cannot run here with the reason. GPUs of one architecture run the
// same modules, so one of each is enough.
std::vector<Target> list_targets();

// A test case for every target, named after it, in a suite of its own; skipped with the reason where it cannot run.
void add_test_case_per_target(
    const char *suite, void (*body)(const Target &target),
    bool (*wanted)(const Target &) = [](const Target &) { return true; });

}  // namespace flashcore::tests
