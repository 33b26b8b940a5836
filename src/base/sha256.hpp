// SPDX-License-Identifier: Apache-2.0
//
// SHA-256 (FIPS 180-4): the digest of module keys and module files.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace flashcore {

using Digest = std::array<uint8_t, 32>;

class Sha256 {
 public:
  Sha256();
  void update(std::span<const uint8_t> bytes);
  void update(std::string_view text);
  // One field of a key: tag, length and bytes, so that no two lists of fields give the same stream.
  void update_field(std::string_view tag, std::string_view bytes);
  Digest finish();

 private:
  void compress(const uint8_t *block);
  uint32_t state_[8];
  uint64_t length_bytes_ = 0;
  uint8_t buffer_[64];
};

Digest sha256(std::span<const uint8_t> bytes);
std::string to_hex(std::span<const uint8_t> bytes);

}  // namespace flashcore
