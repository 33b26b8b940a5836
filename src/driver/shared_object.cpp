// SPDX-License-Identifier: Apache-2.0
#include "driver/shared_object.hpp"

#include <dlfcn.h>
#include <elf.h>
#include <link.h>
#include <sys/stat.h>

#include <cerrno>
#include <cstring>
#include <new>
#include <string_view>

namespace flashcore {
namespace {

const link_map *link_map_of(void *handle) {
  link_map *map = nullptr;
  return dlinfo(handle, RTLD_DI_LINKMAP, static_cast<void *>(&map)) == 0 ? map : nullptr;
}

constexpr size_t padded(size_t bytes) { return (bytes + 3) / 4 * 4; }

std::string hex(std::string_view bytes) {
  constexpr char digits[] = "0123456789abcdef";
  std::string text;
  for (const char c : bytes) {
    const auto byte = static_cast<unsigned char>(c);
    text += {digits[byte >> 4], digits[byte & 15]};
  }
  return text;
}

std::string build_id_in_notes(std::string_view notes) {
  while (notes.size() >= sizeof(ElfW(Nhdr))) {
    ElfW(Nhdr) header;
    std::memcpy(&header, notes.data(), sizeof(header));
    notes.remove_prefix(sizeof(header));
    const size_t name_bytes = padded(header.n_namesz);
    const size_t total_bytes = name_bytes + padded(header.n_descsz);
    if (total_bytes > notes.size()) return {};
    if (header.n_type == NT_GNU_BUILD_ID && notes.substr(0, header.n_namesz) == std::string_view("GNU", 4))
      return hex(notes.substr(name_bytes, header.n_descsz));
    notes.remove_prefix(total_bytes);
  }
  return {};
}

struct BuildIdQuery {
  const link_map *map;
  std::string build_id;
};

int find_build_id(dl_phdr_info *info, size_t, void *user) {
  auto &query = *static_cast<BuildIdQuery *>(user);
  if (info->dlpi_addr != query.map->l_addr || std::strcmp(info->dlpi_name, query.map->l_name) != 0) return 0;
  for (int i = 0; i < info->dlpi_phnum && query.build_id.empty(); ++i) {
    const ElfW(Phdr) &header = info->dlpi_phdr[i];
    if (header.p_type == PT_NOTE)
      query.build_id =
          build_id_in_notes({reinterpret_cast<const char *>(info->dlpi_addr + header.p_vaddr), header.p_memsz});
  }
  return 1;
}

// The loader has no other way to say it: "<file>: <what>: <text of ENOMEM>" in the language of the process, or, where there is not even
// memory for that, two words. Memory that is gone says nothing about the library: it must not pass for a missing one.
bool is_out_of_memory(std::string_view reason) {
  return reason.ends_with(std::strerror(ENOMEM)) || reason == "out of memory";
}

std::string file_identity(const char *path) {
  struct stat status {};
  if (stat(path, &status) != 0) return {};
  return "size " + std::to_string(status.st_size) + " modified " + std::to_string(status.st_mtim.tv_sec) + "." +
         std::to_string(status.st_mtim.tv_nsec);
}

}  // namespace

Result<SharedObject> SharedObject::open_with(const std::string &name, int flags) {
  Error error{FLASHCORE_IO_ERROR, ""};
  // Twice: where one of its allocations fails, glibc 2.36 says of a library that is there that it is not. Memory that is gone for longer
  // ends here, at the copy of the reason.
  for (int attempt = 0; attempt < 2; ++attempt) {
    if (void *handle = dlopen(name.c_str(), flags); handle != nullptr) return SharedObject(handle);
    const char *reason = dlerror();
    if (reason != nullptr && is_out_of_memory(reason)) throw std::bad_alloc();
    error.message = reason != nullptr ? reason : name + ": not loaded";
  }
  return error;
}

Result<SharedObject> SharedObject::open(const std::string &name) { return open_with(name, RTLD_NOW | RTLD_LOCAL); }

Result<SharedObject> SharedObject::open_loaded(const std::string &name) {
  return open_with(name, RTLD_NOW | RTLD_LOCAL | RTLD_NOLOAD);
}

SharedObject::~SharedObject() {
  if (handle_ != nullptr) dlclose(handle_);
}

void *SharedObject::symbol(const char *name) const { return dlsym(handle_, name); }

std::string SharedObject::path() const {
  const link_map *map = link_map_of(handle_);
  return map != nullptr && map->l_name != nullptr ? map->l_name : "";
}

std::string SharedObject::build_id() const {
  BuildIdQuery query{link_map_of(handle_), {}};
  if (query.map == nullptr) return {};
  dl_iterate_phdr(&find_build_id, &query);
  return query.build_id.empty() ? file_identity(query.map->l_name) : query.build_id;
}

}  // namespace flashcore
