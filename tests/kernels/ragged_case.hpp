// SPDX-License-Identifier: Apache-2.0
//
// A ragged batch on one device and kernel, through the public interface: sequences of lengths of their own, which lie one after another, in
// a cache, or in pages. Each is held to the float64 reference of a dense problem that is it alone. Whatever belongs to no sequence is NaN in
// inputs, and must stay poison in outputs.
#pragma once

#include <functional>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "kernels/attention_case.hpp"
#include "kernels/device.hpp"
#include "kernels/run_case.hpp"

namespace flashcore::tests {

// Where the rows of queries, and those of keys, are.
enum class QueryPlaces { batch, used, in_line, in_line_used };
enum class KeyPlaces { batch, used, in_line, in_line_used, cache, pages };

struct RaggedCase {
  std::vector<int64_t> queries, keys;  // of each sequence
  QueryPlaces query_places = QueryPlaces::in_line;
  KeyPlaces key_places = KeyPlaces::in_line;
  int64_t page_size = 16;
  bool value_pages = false;   // a table of their own
  bool left_padding = false;  // of keys
  bool long_indices = false;  // int64
  bool apart = false;         // gaps between heads, rows and entries
  int64_t spare_queries = 0;  // by which seqlen_q is more than the longest sequence, and so for keys
  int64_t spare_keys = 0;
  int64_t seqlen_new = 0;  // the last keys of each sequence, which the call appends
  int32_t rotary_dim = 0;  // leading columns of queries and new keys that the call rotates
  bool interleaved = false;
  bool rotary_positions = false;  // positions of their own, some of them behind the tables
  int64_t rotary_table_rows = 0;
  AttentionCase features;  // heads, types, masks and scores; its lengths do not count
  uint32_t seed = 0;

  std::string describe() const;
};

class RaggedOnDevice {
 public:
  RaggedOnDevice(const Device &device, const RaggedCase &one, const std::string &kernel);
  ~RaggedOnDevice();

  flashcore_attention_args &args() { return args_; }
  flashcore_status launch(flashcore_error *error) {
    return flashcore_attention_fwd(device_.context(), &args_, nullptr, error);
  }
  // What a variant means, where batch is the sequence; the arguments' own is the caller's business.
  void set_variant(const std::function<double(double, int64_t, int64_t, int64_t, int64_t)> &score,
                   const std::function<bool(int64_t, int64_t, int64_t, int64_t)> &visible);
  void poison_outputs();
  std::vector<uint16_t> read_output() const;
  std::vector<float> read_lse() const;
  // After a launch that ended well.
  CaseOutcome judge() const;
  // Empty, or which input has changed; what is appended to holds what it must.
  std::string changed_input() const;

 private:
  struct Tensor;  // a buffer of rows, and where they are
  struct Rotary;
  int64_t entry_of(const Tensor &tensor, size_t sequence) const;

  void place_queries();
  void place_keys(std::mt19937 &generator);
  void place_pages(std::mt19937 &generator);
  void fill_inputs(std::mt19937 &generator);
  void append_rows(std::mt19937 &generator);
  void rotate_queries(const Rotary &rotary, const std::vector<int64_t> &positions);
  void take_values_of_keys();
  void set_features(std::mt19937 &generator);
  void place_score_tensors(std::mt19937 &generator);
  uint64_t put_indices(const std::vector<int64_t> &numbers);
  template <typename T>
  uint64_t put(const std::vector<T> &numbers);

  const Device &device_;
  RaggedCase case_;
  flashcore_attention_args args_;
  std::vector<tools::ReferenceAttention> references_;  // of each sequence
  std::unique_ptr<Tensor> query_, key_, value_, output_, lse_, new_key_, new_value_;
  std::vector<int64_t> key_rows_;  // of each sequence, left padding among them
  std::vector<std::unique_ptr<DeviceBuffer>> numbers_;
};

CaseOutcome run_ragged_case(const Device &device, const std::string &kernel, const RaggedCase &one);

// One way after another, and random ones.
std::vector<RaggedCase> ragged_sweeps();
RaggedCase random_ragged_case(std::mt19937 &generator, bool with_features);
// Of calls that append and rotate.
std::vector<RaggedCase> append_sweeps();
RaggedCase random_append_case(std::mt19937 &generator, bool with_features);

}  // namespace flashcore::tests
