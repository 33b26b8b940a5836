// SPDX-License-Identifier: Apache-2.0
//
// Records, cubins and entries for the cache's tests, made without a compiler, and where a store keeps them.
#pragma once

#include <boost/test/unit_test.hpp>
#include <random>
#include <string>

#include "base/sha256.hpp"
#include "cache/module_entry.hpp"
#include "cache/module_key.hpp"
#include "cache/module_store.hpp"
#include "unit/base/scratch.hpp"
#include "unit/cubin/synthetic_cubin.hpp"

namespace cache_fixture {

using namespace flashcore;

inline std::string hex_of(const std::string &text) {
  Sha256 hash;
  hash.update(text);
  return to_hex(hash.finish());
}

inline const std::string compiler_a = hex_of("compiler a").substr(0, 32),
                         compiler_b = hex_of("compiler b").substr(0, 32);

struct Module {
  ModuleRecord record;
  Bytes cubin, encoded;
  std::string file_name() const { return module_file_name(record.key, record.compiler_id); }
  // Where the user cache and a pack keep it, below the root.
  std::string user_path() const { return "v1/" + record.arch + "/" + record.key.substr(0, 2) + "/" + file_name(); }
  std::string pack_path() const { return record.arch + "/" + file_name(); }
};

inline Bytes make_cubin(const std::string &arch, const std::string &kernel, size_t noise_bytes = 0) {
  synthetic::Cubin cubin;
  cubin.arch = static_cast<uint32_t>(std::stoi(arch.substr(3)));
  cubin.arch_specific = arch.ends_with('a');
  cubin.kernels[0].name = kernel;
  cubin.kernels[0].constant_bytes = 16;
  // Incompressible, so that the entry has about this size.
  std::mt19937 random(7);
  synthetic::Section noise{".noise", 1, 0, {}, 0, 0};
  for (size_t i = 0; i < noise_bytes; ++i) noise.bytes.push_back(static_cast<uint8_t>(random()));
  if (noise_bytes > 0) cubin.more_sections.push_back(noise);
  return cubin.image();
}

inline ModuleRecord make_record(const std::string &what, const std::string &arch, const std::string &compiler_id) {
  ModuleRecord record;
  record.module = "sm80_fwd_mma-fp16-d64-causal-128x64-w4";
  record.kernel = "sm80_fwd_mma";
  record.arch = arch;
  record.key = hex_of(what);
  record.compiler_id = compiler_id;
  record.compiler = "NVRTC 13.0, ptxas V13.0.88";
  record.specialization = "#pragma once\ninline constexpr Specialization specialization = {\n    .dtype = 1,\n};\n";
  record.options = {"--gpu-architecture=" + arch, "--std=c++20", "--ptxas-options=-v"};
  record.source_sha256 = hex_of("source");
  record.headers_sha256 = hex_of("headers");
  record.dynamic_shared_bytes = 49152;
  record.ptxas_log = "ptxas info    : Used 32 registers, used 1 barriers\n";
  record.compile_us = 251'000;
  record.library_version = "1.0.0";
  return record;
}

inline Bytes encode(const ModuleRecord &record, const Bytes &cubin) {
  Result<Bytes> encoded = encode_module_entry(record, cubin);
  BOOST_REQUIRE_MESSAGE(encoded.ok(), (encoded.ok() ? "" : encoded.error().message));
  return std::move(encoded).value();
}

inline Module make_module(const std::string &what, const std::string &arch = "sm_89",
                          const std::string &compiler_id = compiler_a, size_t noise_bytes = 0) {
  Module module{make_record(what, arch, compiler_id), {}, {}};
  module.cubin = make_cubin(arch, module.record.kernel, noise_bytes);
  module.encoded = encode(module.record, module.cubin);
  return module;
}

inline ModuleStoreOptions user_options(const std::string &root) {
  ModuleStoreOptions options;
  options.user_root = root;
  return options;
}

inline std::optional<FoundModule> find(ModuleStore &store, const Module &module, const std::string &compiler_id = {}) {
  return store.find(module.record.arch, module.record.key, compiler_id);
}

// A user cache and a pack, neither of them there yet.
struct StoreFixture {
  scratch::Folder folder;
  std::string root = folder.path("cache");
  std::string pack = folder.path("pack");
  Module module = make_module("m");

  ModuleStoreOptions options(CacheMode mode = CacheMode::read_write) const {
    ModuleStoreOptions options = user_options(root);
    options.mode = mode;
    return options;
  }
  ModuleStoreOptions with_pack() const {
    ModuleStoreOptions options = this->options();
    options.read_only_roots = {pack};
    return options;
  }
  void put_user(const Module &other) const { put(root + "/" + other.user_path(), other.encoded); }
  void put_pack(const Module &other) const { put(pack + "/" + other.pack_path(), other.encoded); }
  // With the folders that a store would have made.
  void put(const std::string &path, const Bytes &bytes) const {
    const mode_t before = umask(077);
    scratch::write_file(path, bytes);
    umask(before);
  }
};

inline bool contains(const std::string &text, const std::string &part) { return text.find(part) != std::string::npos; }

}  // namespace cache_fixture
