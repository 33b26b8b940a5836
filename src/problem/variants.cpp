// SPDX-License-Identifier: Apache-2.0
#include "problem/variants.hpp"

#include <cinttypes>
#include <cstdio>

#include "base/sha256.hpp"
#include "problem/field_error.hpp"

namespace flashcore {
namespace {

// Part of the digest, for when what is made of the same text changes (variant_header of plan/specialization_text.hpp).
constexpr std::string_view digest_schema = "flashcore variant 1";
constexpr const char *changed_variants = "made, looked up or destroyed a variant";
constexpr int64_t params_unit = 8, most_params_bytes = int64_t{1} << 40;

std::atomic<uint64_t> last_id{0};

uint64_t digest_of(std::string_view text) {
  Sha256 hash;
  hash.update_field("schema", digest_schema);
  hash.update_field("text", text);
  const Digest digest = hash.finish();
  uint64_t number = 0;
  for (size_t i = 0; i < sizeof(number); ++i) number = number << 8 | digest[i];
  return number == 0 ? 1 : number;
}

Error unknown_id(uint64_t id) {
  return invalid_field("variant", std::to_string(id),
                       "0 for none, or what flashcore_variant_create gave for this context and was not destroyed");
}

}  // namespace

Result<uint64_t> Variants::create(std::string_view text, int64_t params_bytes) {
  if (params_bytes < 0 || params_bytes % params_unit != 0 || params_bytes > most_params_bytes)
    return invalid_field("params_bytes", std::to_string(params_bytes),
                         "0, or a multiple of " + std::to_string(params_unit) + " up to 2^40");
  auto variant = std::make_shared<Variant>();
  FLASHCORE_TRY_ASSIGN(variant->code, read_variant_text(text));
  variant->digest = digest_of(text);
  variant->params_bytes = params_bytes;
  FLASHCORE_TRY_ASSIGN(const ProcessMutex::Lock lock, mutex_.lock(changed_variants));
  const uint64_t id = ++last_id;
  variants_.emplace(id, std::move(variant));
  return id;
}

Status Variants::destroy(uint64_t id) {
  FLASHCORE_TRY_ASSIGN(const ProcessMutex::Lock lock, mutex_.lock(changed_variants));
  if (variants_.erase(id) == 0) return unknown_id(id);
  destroyed_.fetch_add(1, std::memory_order_release);
  return success();
}

Result<std::shared_ptr<const Variant>> Variants::find(uint64_t id) const {
  FLASHCORE_TRY_ASSIGN(const ProcessMutex::Lock lock, mutex_.lock(changed_variants));
  const auto found = variants_.find(id);
  if (found == variants_.end()) return unknown_id(id);
  return found->second;
}

std::string variant_digest_text(uint64_t digest) {
  char text[17];
  std::snprintf(text, sizeof(text), "%016" PRIx64, digest);
  return text;
}

}  // namespace flashcore
