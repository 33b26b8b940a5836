// SPDX-License-Identifier: Apache-2.0
//
// NVRTC, found at run time: the path given; else already loaded, the plain soname (13, then 12), the toolkit's folders.
// Its builtins library is opened by full path, because libnvrtc looks for it by bare name only when it compiles.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.hpp"

namespace flashcore {

class SharedObject;

struct NamedText {
  std::string_view name;
  std::string_view text;  // zero-terminated: NVRTC takes C strings
};

struct NvrtcOutput {
  bool compiled = false;
  std::vector<uint8_t> cubin;
  std::string log;
  int32_t nvrtc_result = 0;
};

class NvrtcLibrary {
 public:
  // `path` (may be empty; the library or its folder) is the only candidate when given; `toolkit_directory` (may be
  // empty) comes after the sonames. COMPILER_UNAVAILABLE lists what was tried. A failure is not remembered. The object
  // lives until the process ends.
  static Result<const NvrtcLibrary *> load(const std::string &path, const std::string &toolkit_directory);
  // The library if some earlier call loaded it, else nullptr.
  static const NvrtcLibrary *loaded();

  const std::string &path() const;
  int32_t version() const;  // 13000
  // 16 bytes in hex: hash of version and of the GNU build-ids of libnvrtc and its builtins library.
  const std::string &compiler_id() const;

  // Compile one program with in-memory headers only. Result error: NVRTC could not be used at all; a refused program is
  // compiled == false with the log.
  Result<NvrtcOutput> compile(std::string_view program_name, std::string_view source,
                              std::span<const NamedText> headers, std::span<const std::string> options) const;
  // 75, 80, ... as nvrtcGetSupportedArchs says.
  Result<std::vector<int32_t>> supported_archs() const;

 private:
  NvrtcLibrary() = default;
  static Result<const NvrtcLibrary *> adopt(SharedObject object);
  struct Functions;
  const Functions *functions_ = nullptr;
  std::string path_;
  std::string compiler_id_;
  int32_t version_ = 0;
};

}  // namespace flashcore
