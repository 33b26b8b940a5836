// SPDX-License-Identifier: Apache-2.0
//
// NumPy's .npy files, versions 1 and 2: little-endian numbers in C order. What the numbers mean is the tool's business.
//
//   file     "\x93NUMPY"  version (2 bytes)  header length (2 bytes in version 1, 4 in version 2)  header  data
//   header   a Python dictionary: {'descr': '<f2', 'fortran_order': False, 'shape': (1, 512, 8, 64), }
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "outcome.hpp"
#include "output_file.hpp"

namespace flashcore::tools {

enum class NpyType {
  float16,
  float32,
  float64,
  uint8,
  uint16,
  int32,
  int64
};  // bfloat16 travels as its bits, in uint16

int64_t element_bytes(NpyType type);
const char *descr_of(NpyType type);  // "<f2"

struct NpyArray {
  NpyType type = NpyType::float32;
  std::vector<int64_t> shape;  // empty: a single number
  std::vector<uint8_t> bytes;  // C order, as in the file

  int64_t element_count() const { return static_cast<int64_t>(bytes.size()) / element_bytes(type); }
  std::string describe() const;  // "float16 [1, 512, 8, 64]"
};

// The array of a file. Every size is held against the file's own before memory is asked for. The failure names the
// file.
Outcome<NpyArray> read_npy(const std::string &path);

// Write an array into a planned file; who planned it commits it. By its path: planned, written and committed.
Step write_npy(OutputFile &file, const NpyArray &array);
Step write_npy(const std::string &path, const NpyArray &array);

// The elements as numbers; uint16 are taken as integers.
std::vector<double> values_of(const NpyArray &array);
// The bit patterns of 16-bit elements (float16 or uint16; empty for other types).
std::vector<uint16_t> bits_of(const NpyArray &array);
// An array from memory that holds as many elements of `type` as the shape says.
NpyArray make_npy(NpyType type, std::vector<int64_t> shape, const void *elements);

}  // namespace flashcore::tools
