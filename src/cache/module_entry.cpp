// SPDX-License-Identifier: Apache-2.0
//
// The frames of an entry (ptx_cache/FORMAT.md) and the gate between an entry and the driver. Checks run in the order in
// which they make the next one safe: hash of all bytes, frame sizes, record, size of the cubin before it is unpacked,
// its digest, and last the ELF image against what the record claims.
#include "cache/module_entry.hpp"

#include <zstd.h>
#include <zstd_errors.h>

#include <algorithm>
#include <cstring>
#include <memory>
#include <new>

#include "base/cut_text.hpp"
#include "base/sha256.hpp"
#include "cache/module_record.hpp"

namespace flashcore {
namespace {

// zstd skips frames of these types, so "zstd -dc entry.fcm" gives the cubin.
constexpr uint32_t record_magic = 0x184D2A5F, digest_magic = 0x184D2A5E, zstd_magic = 0xFD2FB528;
constexpr size_t frame_header_bytes = 8, digest_bytes = 32, trailer_bytes = frame_header_bytes + digest_bytes;

// On 16 attention cubins of 32 KB: level 3 gives 3.70x in 0.12 ms, 9 gives 4.03x in 0.55 ms, 19 gives 4.34x in 8.6 ms.
constexpr int compression_level = 9;

Error corrupt(const std::string &reason) { return {FLASHCORE_MODULE_CORRUPT, reason}; }

uint32_t load_u32(std::span<const uint8_t> bytes, size_t offset) {
  uint32_t value = 0;
  for (size_t i = 4; i-- > 0;) value = value << 8 | bytes[offset + i];
  return value;
}

void append_u32(Bytes &bytes, uint32_t value) {
  for (int i = 0; i < 4; ++i, value >>= 8) bytes.push_back(static_cast<uint8_t>(value));
}

template <typename Range>
void append_skippable_frame(Bytes &bytes, uint32_t magic, const Range &content) {
  append_u32(bytes, magic);
  append_u32(bytes, static_cast<uint32_t>(std::size(content)));
  bytes.insert(bytes.end(), std::begin(content), std::end(content));
}

struct FreeContext {
  void operator()(ZSTD_CCtx *context) const { ZSTD_freeCCtx(context); }
};

// zstd answers for its own allocations. As everywhere in this library, no memory is std::bad_alloc: it says nothing about the entry.
void throw_if_out_of_memory(size_t result) {
  if (ZSTD_isError(result) && ZSTD_getErrorCode(result) == ZSTD_error_memory_allocation) throw std::bad_alloc();
}

Result<Bytes> compress(std::span<const uint8_t> content) {
  const std::unique_ptr<ZSTD_CCtx, FreeContext> context(ZSTD_createCCtx());
  if (context == nullptr) throw std::bad_alloc();
  ZSTD_CCtx_setParameter(context.get(), ZSTD_c_compressionLevel, compression_level);
  ZSTD_CCtx_setParameter(context.get(), ZSTD_c_checksumFlag, 1);
  Bytes frame(ZSTD_compressBound(content.size()));
  const size_t size = ZSTD_compress2(context.get(), frame.data(), frame.size(), content.data(), content.size());
  throw_if_out_of_memory(size);
  if (ZSTD_isError(size))
    return Error{FLASHCORE_INTERNAL, std::string("zstd could not compress: ") + ZSTD_getErrorName(size)};
  frame.resize(size);
  return frame;
}

// Exactly one zstd frame that says its size, and that size is the record's: known before anything is allocated.
Result<Bytes> decompress(std::span<const uint8_t> frame, int64_t expected_bytes) {
  if (frame.size() < 4 || load_u32(frame, 0) != zstd_magic) return corrupt("no zstd frame follows the record");
  const unsigned long long content_bytes = ZSTD_getFrameContentSize(frame.data(), frame.size());
  if (content_bytes == ZSTD_CONTENTSIZE_ERROR || content_bytes == ZSTD_CONTENTSIZE_UNKNOWN)
    return corrupt("the zstd frame does not say its size");
  if (content_bytes != static_cast<unsigned long long>(expected_bytes))
    return corrupt("the zstd frame holds " + std::to_string(content_bytes) + " bytes, the record says " +
                   std::to_string(expected_bytes));
  if (ZSTD_findFrameCompressedSize(frame.data(), frame.size()) != frame.size())
    return corrupt("there is something between the zstd frame and the digest");
  Bytes content(content_bytes);
  const size_t size = ZSTD_decompress(content.data(), content.size(), frame.data(), frame.size());
  throw_if_out_of_memory(size);
  if (ZSTD_isError(size)) return corrupt(std::string("the zstd frame cannot be unpacked: ") + ZSTD_getErrorName(size));
  if (size != content.size()) return corrupt("the zstd frame is shorter than it says");
  return content;
}

// The kernel that the record names, in an image for the architecture that the record names: an image for sm_90 instead
// of sm_90a loads and then fails, or one for another minor version may run wrongly. Refused here, before the driver
// sees it. Whether an image uses its family's instructions (sm_100f) it does not say.
Result<const KernelResources *> find_claimed_kernel(const ModuleRecord &record, const CubinInfo &info) {
  const std::string arch = "sm_" + std::to_string(info.arch) + (info.arch_specific ? "a" : "");
  const std::string_view claimed = record.arch;
  if (arch != claimed.substr(0, claimed.find('f')))
    return corrupt("the cubin is for " + arch + ", the record says " + record.arch);
  for (const KernelResources &kernel : info.kernels)
    if (kernel.name == record.kernel) return &kernel;
  return corrupt("the cubin has no kernel " + record.kernel);
}

struct Frames {
  std::string_view record;
  std::span<const uint8_t> zstd;
};

Result<Frames> split_frames(std::span<const uint8_t> file) {
  if (static_cast<int64_t>(file.size()) > module_file_limit_bytes) return corrupt("the file has more than 64 MiB");
  if (file.size() < frame_header_bytes + trailer_bytes) return corrupt("the file is shorter than its frames");
  const std::span<const uint8_t> body = file.first(file.size() - trailer_bytes), trailer = file.last(trailer_bytes);
  if (load_u32(trailer, 0) != digest_magic || load_u32(trailer, 4) != digest_bytes)
    return corrupt("the file does not end with its digest: it is cut off, or no module file");
  const Digest digest = sha256(body);
  if (!std::equal(digest.begin(), digest.end(), trailer.begin() + frame_header_bytes))
    return corrupt("the digest of the file does not match its bytes");
  if (load_u32(body, 0) != record_magic) return corrupt("the file does not begin with a module record");
  const uint64_t record_bytes = load_u32(body, 4);
  if (record_bytes > static_cast<uint64_t>(record_limit_bytes) || record_bytes > body.size() - frame_header_bytes)
    return corrupt("the module record is longer than the file or than 1 MiB");
  return Frames{{reinterpret_cast<const char *>(body.data()) + frame_header_bytes, record_bytes},
                body.subspan(frame_header_bytes + record_bytes)};
}

Error cannot_encode(const std::string &reason) {
  return {FLASHCORE_INTERNAL, "this module cannot be made into an entry: " + reason};
}

// Fill what the cubin itself says, after checking that it is what the record claims.
Status describe_cubin(ModuleRecord &record, std::span<const uint8_t> cubin) {
  if (cubin.empty() || static_cast<int64_t>(cubin.size()) > cubin_limit_bytes)
    return cannot_encode("the cubin has " + std::to_string(cubin.size()) + " bytes; allowed: 1 to " +
                         std::to_string(cubin_limit_bytes));
  const Result<CubinInfo> info = read_cubin(cubin);
  if (!info.ok()) return cannot_encode(info.error().message);
  const Result<const KernelResources *> kernel = find_claimed_kernel(record, info.value());
  if (!kernel.ok()) return cannot_encode(kernel.error().message);
  record.resources = *kernel.value();
  record.cubin_sha256 = to_hex(sha256(cubin));
  record.cubin_bytes = static_cast<int64_t>(cubin.size());
  return success();
}

}  // namespace

Result<Bytes> encode_module_entry(ModuleRecord record, std::span<const uint8_t> cubin) {
  FLASHCORE_TRY(describe_cubin(record, cubin));
  record.ptxas_log.resize(cut_text(record.ptxas_log, ptxas_log_limit_bytes).size());
  if (const std::string fault = module_record_fault(record); !fault.empty()) return cannot_encode(fault);
  const std::string json = write_module_record(record);
  if (static_cast<int64_t>(json.size()) > record_limit_bytes)
    return cannot_encode("its record has " + std::to_string(json.size()) + " bytes; allowed: 1 MiB");
  FLASHCORE_TRY_ASSIGN(const Bytes frame, compress(cubin));
  Bytes file;
  file.reserve(2 * frame_header_bytes + json.size() + frame.size() + digest_bytes);
  append_skippable_frame(file, record_magic, json);
  file.insert(file.end(), frame.begin(), frame.end());
  append_skippable_frame(file, digest_magic, sha256(file));
  if (static_cast<int64_t>(file.size()) > module_file_limit_bytes)
    return cannot_encode("the file would have " + std::to_string(file.size()) + " bytes; allowed: 64 MiB");
  return file;
}

Result<ModuleEntry> decode_module_entry(std::span<const uint8_t> file) {
  ModuleEntry entry;
  FLASHCORE_TRY_ASSIGN(const Frames frames, split_frames(file));
  FLASHCORE_TRY_ASSIGN(entry.record, parse_module_record(frames.record));
  FLASHCORE_TRY_ASSIGN(entry.cubin, decompress(frames.zstd, entry.record.cubin_bytes));
  if (to_hex(sha256(entry.cubin)) != entry.record.cubin_sha256)
    return corrupt("the cubin does not have the digest of the record");
  FLASHCORE_TRY_ASSIGN(entry.cubin_info, read_cubin(entry.cubin));
  FLASHCORE_TRY_ASSIGN(const KernelResources *kernel, find_claimed_kernel(entry.record, entry.cubin_info));
  if (const char *resource = different_resource(*kernel, entry.record.resources); resource != nullptr)
    return corrupt(std::string("the record's ") + resource + " is not the cubin's");
  entry.compressed_bytes = static_cast<int64_t>(frames.zstd.size());
  entry.record_json = frames.record;
  return entry;
}

}  // namespace flashcore
