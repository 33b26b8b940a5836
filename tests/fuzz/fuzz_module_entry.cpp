// SPDX-License-Identifier: Apache-2.0
//
// Module files. The first byte of an input says how deep it goes: 0, the bytes are a file; 1, what stands before the digest, which is
// put behind it; 2, a record and a cubin (two bytes of length, record, cubin), which are framed, measured and digested, so that what
// the checksums guard is reached.
#include <zstd.h>

#include <cstring>

#include "base/sha256.hpp"
#include "cache/module_entry.hpp"
#include "fuzz_target.hpp"
#include "unit/cubin/synthetic_cubin.hpp"

namespace {

using fuzz::Bytes;

constexpr uint32_t record_magic = 0x184D2A5F, digest_magic = 0x184D2A5E;
constexpr uint8_t whole_file = 0, without_digest = 1, parts = 2;

Bytes sealed(Bytes body) {
  const flashcore::Digest digest = flashcore::sha256(body);
  synthetic::append(body, digest_magic);
  synthetic::append<uint32_t>(body, 32);
  body.insert(body.end(), digest.begin(), digest.end());
  return body;
}

// The value of a field that the record's text has, in its place; both are in every sound record.
void set_field(std::string &json, const std::string &name, size_t old_length, const std::string &value) {
  const size_t at = json.find("\"" + name + "\":");
  if (at == std::string::npos) return;
  const size_t begin = at + name.size() + 3;
  json.replace(begin, std::min(old_length, json.size() - begin), value);
}

Bytes file_of_parts(std::string json, const Bytes &cubin) {
  set_field(json, "cubin_sha256", 66, "\"" + flashcore::to_hex(flashcore::sha256(cubin)) + "\"");
  const size_t number = json.find("\"cubin_bytes\":");
  if (number != std::string::npos)
    set_field(json, "cubin_bytes", json.find_first_not_of("0123456789", number + 14) - (number + 14),
              std::to_string(cubin.size()));
  Bytes file;
  synthetic::append(file, record_magic);
  synthetic::append(file, static_cast<uint32_t>(json.size()));
  file.insert(file.end(), json.begin(), json.end());
  Bytes frame(ZSTD_compressBound(cubin.size()));
  frame.resize(ZSTD_compress(frame.data(), frame.size(), cubin.data(), cubin.size(), 1));
  file.insert(file.end(), frame.begin(), frame.end());
  return sealed(std::move(file));
}

flashcore::ModuleRecord sound_record(const std::string &arch) {
  flashcore::ModuleRecord record;
  record.module = "sm80_fwd_mma-fp16-d64-causal-128x64-w4";
  record.kernel = "sm80_fwd_mma";
  record.arch = arch;
  record.key = record.source_sha256 = record.headers_sha256 = std::string(64, 'a');
  record.compiler_id = std::string(32, 'b');
  record.compiler = "NVRTC 13.0, ptxas V13.0.88";
  record.specialization = "inline constexpr Specialization specialization = {};\n";
  record.options = {"--std=c++20", "-O\xc3\xa4"};
  record.dynamic_shared_bytes = 49152;
  record.ptxas_log = "ptxas info    : Used 32 registers\n";
  record.library_version = "1.0.0";
  return record;
}

void check(std::span<const uint8_t> file) {
  const flashcore::Result<flashcore::ModuleEntry> decoded = flashcore::decode_module_entry(file);
  if (!decoded.ok()) {
    FUZZ_PROMISE(decoded.error().status == FLASHCORE_MODULE_CORRUPT);
    FUZZ_PROMISE(!decoded.error().message.empty());
    return;
  }
  const flashcore::ModuleEntry &entry = decoded.value();
  FUZZ_PROMISE(static_cast<int64_t>(entry.cubin.size()) == entry.record.cubin_bytes);
  FUZZ_PROMISE(flashcore::to_hex(flashcore::sha256(entry.cubin)) == entry.record.cubin_sha256);
  FUZZ_PROMISE(entry.record.key.size() == 64 && entry.record.compiler_id.size() == 32);
  FUZZ_PROMISE(flashcore::read_cubin(entry.cubin).ok());
  // What was read can be written, and is the same then.
  const flashcore::Result<Bytes> again = flashcore::encode_module_entry(entry.record, entry.cubin);
  FUZZ_PROMISE(again.ok());
  const flashcore::Result<flashcore::ModuleEntry> reread = flashcore::decode_module_entry(again.value());
  FUZZ_PROMISE(reread.ok() && reread.value().cubin == entry.cubin &&
               reread.value().record.module == entry.record.module);
}

}  // namespace

std::vector<Bytes> fuzz::seeds() {
  std::vector<Bytes> seeds;
  for (const std::string arch : {"sm_89", "sm_90a"}) {
    synthetic::Cubin cubin;
    cubin.arch = arch == "sm_89" ? 89 : 90;
    cubin.arch_specific = arch == "sm_90a";
    cubin.kernels[0].name = "sm80_fwd_mma";
    cubin.kernels[0].constant_bytes = 16;
    const Bytes image = cubin.image();
    const flashcore::Result<Bytes> encoded = flashcore::encode_module_entry(sound_record(arch), image);
    FUZZ_PROMISE(encoded.ok());
    const Bytes &file = encoded.value();
    uint32_t record_bytes = 0;
    std::memcpy(&record_bytes, file.data() + 4, sizeof(record_bytes));
    Bytes whole{whole_file}, body{without_digest}, split{parts};
    whole.insert(whole.end(), file.begin(), file.end());
    body.insert(body.end(), file.begin(), file.end() - 40);
    synthetic::append(split, static_cast<uint16_t>(record_bytes));
    split.insert(split.end(), file.begin() + 8, file.begin() + 8 + record_bytes);
    split.insert(split.end(), image.begin(), image.end());
    seeds.insert(seeds.end(), {whole, body, split});
  }
  return seeds;
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  if (size == 0) return 0;
  const std::span<const uint8_t> rest(data + 1, size - 1);
  switch (data[0] % 3) {
    case whole_file:
      check(rest);
      break;
    case without_digest:
      check(sealed(Bytes(rest.begin(), rest.end())));
      break;
    default: {
      if (rest.size() < 2) return 0;
      const size_t json_bytes = std::min<size_t>(rest[0] | rest[1] << 8, rest.size() - 2);
      const auto json = rest.subspan(2, json_bytes);
      check(file_of_parts(std::string(json.begin(), json.end()),
                          Bytes(rest.begin() + 2 + static_cast<ptrdiff_t>(json_bytes), rest.end())));
    }
  }
  return 0;
}
