// SPDX-License-Identifier: Apache-2.0
//
// What the bad-input tests share: an error struct full of poison, a context on the CPU device, a small problem in host
// memory whose outputs are poisoned, and memory that is certainly not mapped.
#pragma once

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <boost/test/unit_test.hpp>
#include <cstring>
#include <string>
#include <vector>

#include "flashcore/flashcore.h"

inline constexpr unsigned char poison = 0x5a;

inline uint64_t address_of(const void *memory) { return static_cast<uint64_t>(reinterpret_cast<uintptr_t>(memory)); }

// An error whose every byte but struct_size is poison, so that a test sees who wrote what.
struct PoisonedError {
  flashcore_error error;

  PoisonedError() {
    std::memset(&error, poison, sizeof(error));
    error.struct_size = sizeof(error);
  }
  bool untouched() const {
    const auto *bytes = reinterpret_cast<const unsigned char *>(&error) + sizeof(error.struct_size);
    return std::all_of(bytes, bytes + sizeof(error) - sizeof(error.struct_size),
                       [](unsigned char byte) { return byte == poison; });
  }
};

// The call failed as it should have, and its error says so in the words of the header.
inline void check_failure(const PoisonedError &poisoned, flashcore_status status, flashcore_status expected,
                          const std::string &field) {
  BOOST_TEST_CONTEXT("field " << field) {
    BOOST_TEST(flashcore_status_name(status) == flashcore_status_name(expected));
    BOOST_REQUIRE(!poisoned.untouched());
    const flashcore_error &error = poisoned.error;
    BOOST_REQUIRE(std::memchr(error.field, 0, sizeof(error.field)) != nullptr);
    BOOST_REQUIRE(std::memchr(error.message, 0, sizeof(error.message)) != nullptr);
    BOOST_TEST(error.struct_size == sizeof(error));
    BOOST_TEST(error.status == status);
    BOOST_TEST(error.driver_code == 0);
    BOOST_TEST(error.reserved == 0);
    BOOST_TEST(error.field == field, error.field << ": " << error.message);
    BOOST_TEST(std::strlen(error.message) > 10u);
  }
}

struct CpuContext {
  flashcore_context context = nullptr;

  CpuContext() {
    flashcore_context_options options = FLASHCORE_CONTEXT_OPTIONS_INIT;
    options.device_kind = FLASHCORE_DEVICE_CPU;
    options.cpu_threads = 2;
    flashcore_error error = FLASHCORE_ERROR_INIT;
    const flashcore_status status = flashcore_context_create(&options, &context, &error);
    BOOST_REQUIRE_MESSAGE(status == FLASHCORE_OK, error.message);
  }
  ~CpuContext() { flashcore_context_destroy(context); }
  CpuContext(const CpuContext &) = delete;
  CpuContext &operator=(const CpuContext &) = delete;
};

// 2 sequences, 5 rows and 7 keys, 4 and 2 heads of 16 columns; every input element is 1.0, so every output element
// is 1.0.
struct Problem {
  static constexpr uint16_t one = 0x3c00;
  std::vector<uint16_t> query = std::vector<uint16_t>(2 * 5 * 4 * 16, one);
  std::vector<uint16_t> key = std::vector<uint16_t>(2 * 7 * 2 * 16, one);
  std::vector<uint16_t> value = std::vector<uint16_t>(2 * 7 * 2 * 16, one);
  std::vector<uint16_t> output = std::vector<uint16_t>(2 * 5 * 4 * 16);
  std::vector<float> lse = std::vector<float>(2 * 4 * 5);
  flashcore_attention_args args = FLASHCORE_ATTENTION_ARGS_INIT;

  Problem() {
    args.batch = 2;
    args.seqlen_q = 5;
    args.seqlen_kv = 7;
    args.heads_q = 4;
    args.heads_kv = 2;
    args.head_dim = 16;
    args.query.dtype = FLASHCORE_DTYPE_FLOAT16;
    args.query.data = address_of(query.data());
    args.key.data = address_of(key.data());
    args.value.data = address_of(value.data());
    args.output.data = address_of(output.data());
    args.lse.data = address_of(lse.data());
    poison_outputs();
  }
  void poison_outputs() {
    std::memset(output.data(), poison, output.size() * sizeof(uint16_t));
    std::memset(lse.data(), poison, lse.size() * sizeof(float));
  }
  bool outputs_untouched() const {
    const auto is_poison = [](unsigned char byte) { return byte == poison; };
    const auto *o = reinterpret_cast<const unsigned char *>(output.data());
    const auto *l = reinterpret_cast<const unsigned char *>(lse.data());
    return std::all_of(o, o + output.size() * sizeof(uint16_t), is_poison) &&
           std::all_of(l, l + lse.size() * sizeof(float), is_poison);
  }
  bool outputs_right() const {
    return std::all_of(output.begin(), output.end(), [](uint16_t element) { return element == one; });
  }
};

// Pages that are reserved, so that nothing else is put there, but that nobody may touch.
struct NoMemory {
  static constexpr size_t bytes = 1 << 20;
  void *pages = mmap(nullptr, bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

  NoMemory() { BOOST_REQUIRE(pages != MAP_FAILED); }
  ~NoMemory() { munmap(pages, bytes); }
  NoMemory(const NoMemory &) = delete;
  NoMemory &operator=(const NoMemory &) = delete;
  uint64_t address() const { return address_of(pages); }
};
