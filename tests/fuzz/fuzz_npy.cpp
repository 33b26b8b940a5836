// SPDX-License-Identifier: Apache-2.0
//
// .npy files, read through a file in memory as the tools read one.
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>

#include "common/npy.hpp"
#include "fuzz_target.hpp"

namespace tools = flashcore::tools;

std::vector<fuzz::Bytes> fuzz::seeds() {
  std::vector<Bytes> seeds;
  for (const char *header : {"{'descr': '<f2', 'fortran_order': False, 'shape': (1, 2, 3, 4), }",
                             "{'descr': '<f4', 'fortran_order': False, 'shape': (6,), }",
                             "{\"shape\": (), \"descr\": \"<i8\", \"fortran_order\": False}",
                             // 2^64 bytes and those that follow
                             "{'descr': '<f4', 'fortran_order': False, 'shape': (4611686018427387916,), }"})
    for (const uint8_t version : {uint8_t{1}, uint8_t{2}}) {
      std::string text = header;
      while ((text.size() + (version == 1 ? 10 : 12)) % 64 != 63) text += ' ';
      text += '\n';
      Bytes file = bytes_of("\x93NUMPY");
      file.push_back(version), file.push_back(0);
      for (int i = 0; i < (version == 1 ? 2 : 4); ++i) file.push_back(static_cast<uint8_t>(text.size() >> 8 * i));
      file.insert(file.end(), text.begin(), text.end());
      file.resize(file.size() + 48);
      seeds.push_back(file);
    }
  return seeds;
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  static const int descriptor = memfd_create("fuzz.npy", MFD_CLOEXEC);
  static const std::string path = "/proc/self/fd/" + std::to_string(descriptor);
  if (ftruncate(descriptor, 0) != 0 || pwrite(descriptor, data, size, 0) != static_cast<ssize_t>(size)) std::abort();
  const tools::Outcome<tools::NpyArray> read = tools::read_npy(path);
  if (!read.ok()) {
    FUZZ_PROMISE(!read.failure().message.empty());
    return 0;
  }
  const tools::NpyArray &array = read.value();
  const bool empty = std::count(array.shape.begin(), array.shape.end(), 0) > 0;
  int64_t elements = empty ? 0 : 1;
  for (const int64_t extent : array.shape) {
    FUZZ_PROMISE(extent >= 0);
    if (!empty) elements *= extent;
  }
  FUZZ_PROMISE(elements == array.element_count());
  FUZZ_PROMISE(array.bytes.size() <= size);
  FUZZ_PROMISE(static_cast<int64_t>(tools::values_of(array).size()) == elements);
  FUZZ_PROMISE(!array.describe().empty());
  static_cast<void>(tools::bits_of(array));
  return 0;
}
