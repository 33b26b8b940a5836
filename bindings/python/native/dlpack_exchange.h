/* SPDX-License-Identifier: Apache-2.0
 *
 * The part of DLPack's exchange interface that torch_calls.cpp uses, as DLPack 1.3 and 2.0 lay it out (dlpack.h, DLPackExchangeAPI):
 * functions of the framework that look into a tensor without going through Python. A type with one shows it as the capsule
 * __dlpack_c_exchange_api__. Debian's dlpack.h is older than it.
 */
#ifndef FLASHCORE_DLPACK_EXCHANGE_H
#define FLASHCORE_DLPACK_EXCHANGE_H

#include <cstdint>

namespace dlpack {

inline constexpr const char *capsule_name = "dlpack_exchange_api";
inline constexpr std::uint32_t major_version = 1;

struct Device {
  std::int32_t type;  // 1: CPU, 2: CUDA
  std::int32_t ordinal;
  bool operator==(const Device &) const = default;
};

struct DataType {
  std::uint8_t code, bits;
  std::uint16_t lanes;
};

struct Tensor {
  void *data;
  Device device;
  std::int32_t dimensions;
  DataType dtype;
  std::int64_t *shape;
  std::int64_t *strides;  // elements
  std::uint64_t byte_offset;
};

struct ExchangeApi {
  std::uint32_t major, minor;
  const ExchangeApi *older;  // of a lower major version; null: none
  void (*allocate)();
  void (*share)();
  void (*adopt)();
  int (*look)(void *object,
              Tensor *tensor);  // shape and strides stay the object's; null: not offered. -1: a Python exception is set
  int (*current_stream)(std::int32_t device_type, std::int32_t ordinal, void **stream);
};

}  // namespace dlpack

#endif
