// SPDX-License-Identifier: Apache-2.0
//
// write_module MODULE SOURCE OUTPUT [BROKEN | VARIANT | TEXT]: the translation unit that compiles a kernel's device half in one specialization for
// the emulator. Beside OUTPUT, in a folder of its name without the suffix, lies what differs from one to the other: specialization.h, and of
// a kernel of tests/broken_kernels the files that were edited. VARIANT is one of tests/other_parts/variants.cuh, which stands for the
// kernel's own. TEXT is the file of a user's text, with which the module is compiled; it is known by the file's name.
//
// Several such units are in one program, and each has the namespace flashcore in its own specialization; so they give it other names.
#include <cctype>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>

#include "broken_list.hpp"
#include "plan/kernel_table.hpp"
#include "plan/specialization_text.hpp"

using namespace flashcore;
namespace fs = std::filesystem;

namespace {

struct Unit {
  ModuleName module;
  fs::path source, output;
  const Broken *broken = nullptr;
  std::string variant;
  fs::path text;  // file of a user's text; empty: none

  const KernelRow &row() const { return kernel_table()[static_cast<size_t>(module.kernel_index)]; }
  fs::path folder() const { return output.parent_path() / output.stem(); }
};

Error failure(const std::string &what) { return {FLASHCORE_INTERNAL, what}; }

Status write(const fs::path &path, const std::string &text) {
  fs::create_directories(path.parent_path());
  std::ofstream file(path);
  file << text;
  file.close();
  return file ? success() : failure("cannot write " + path.string());
}

std::string as_identifier(std::string text) {
  for (char &c : text)
    if (c == '-' || c == '.') c = '_';
  return text;
}

// The threads that an entry point is compiled for, as its source says it: the first of the __launch_bounds__ ahead of its name.
std::string most_threads_of(std::string_view source, const std::string &entry_point) {
  const std::string_view word = "__launch_bounds__(";
  const size_t begin = source.rfind(word, source.find(entry_point + "(const ")) + word.size();
  int32_t depth = 0;
  size_t end = begin;
  for (; depth > 0 || (source[end] != ',' && source[end] != ')'); ++end)
    depth += (source[end] == '(') - (source[end] == ')');
  return std::string(source.substr(begin, end - begin));
}

Status write_unit(const Unit &unit, const std::string &module) {
  const std::string id = as_identifier(unit.output.stem().string());
  const std::string broken = unit.broken != nullptr ? unit.broken->name
                             : !unit.text.empty()   ? unit.text.stem().string()
                                                    : unit.variant;
  // The part that defines a kernel's own variant has been read when the name becomes another's.
  const std::string other = unit.variant.empty() ? ""
                                                 : "#include \"variants.cuh\"\ntemplate <int> using AnyScores = "
                                                   "flashcore::kernels::" +
                                                       unit.variant + ";\n#define PlainScores " + unit.variant +
                                                       "\n#define ChosenScores ::AnyScores\n";
  std::string renamed, entry_points;
  for (int32_t i = 0; unit.row().passport->entry_point(i) != nullptr; ++i) {
    const std::string name = unit.row().passport->entry_point(i), here = name + "_in_" + id;
    renamed += "#define " + name + " " + here + "\n";
    entry_points += std::string(i == 0 ? "" : ", ") + "{::emulator::Entry<" + here + ">::call, " +
                    most_threads_of(unit.row().source, name) + "}";
  }
  return write(unit.output, "#include \"device.hpp\"\n#define flashcore flashcore_in_" + id + "\n" + renamed + other +
                                "#include \"" + unit.source.string() + "\"\n\n" +
                                "static const bool added = ::emulator::add_module(\"" + module + "\", \"" + broken +
                                "\", {" + entry_points + "});\n");
}

Status write_edited_files(Unit &unit) {
  const EditedKernel kernel = edited(*unit.broken);
  const std::string file = kernel.kernel + ".cu";
  for (const Edit &edit : kernel.edits) {
    std::string_view text = unit.row().source;
    for (const EmbeddedHeader &header : kernel_headers())
      if (header.name == edit.file) text = header.text;
    FLASHCORE_TRY_ASSIGN(const std::string changed, edited_text(kernel, edit.file, text));
    FLASHCORE_TRY(write(unit.folder() / edit.file, changed));
    if (edit.file == file) unit.source = unit.folder() / file;
  }
  return success();
}

bool is_variant(const std::string &name) {
  return !name.empty() && std::isupper(static_cast<unsigned char>(name[0])) != 0;
}

Status write_text(const Unit &unit) {
  std::ifstream file(unit.text);
  const std::string text{std::istreambuf_iterator<char>(file), {}};
  FLASHCORE_TRY_ASSIGN(const VariantText read, read_variant_text(text));
  FLASHCORE_TRY(write(unit.folder() / "variant.text", std::string(variant_text_begin) + text));
  return write(unit.folder() / "variant.h", variant_header(read));
}

Status find_broken(Unit &unit, const std::string &name) {
  for (const Broken &broken : broken_kernels())
    if (broken.name == name) unit.broken = &broken;
  if (unit.broken == nullptr) return failure("no broken kernel is called " + name);
  if (unit.row().passport->name != std::string_view(unit.broken->kernel))
    return failure(name + " is of the kernel " + unit.broken->kernel);
  return success();
}

Status write_all(int argc, char **argv) {
  const std::string module = argv[1];
  FLASHCORE_TRY_ASSIGN(const ModuleName name, parse_module_name(module));
  Unit unit{name, fs::absolute(argv[2]), fs::absolute(argv[3])};
  FLASHCORE_TRY(check_specialization(*unit.row().passport, name.specialization));
  if (argc == 5 && fs::path(argv[4]).has_extension()) {
    unit.text = fs::absolute(argv[4]);
    FLASHCORE_TRY(write_text(unit));
  } else if (argc == 5 && is_variant(argv[4])) {
    unit.variant = argv[4];
  } else if (argc == 5) {
    FLASHCORE_TRY(find_broken(unit, argv[4]));
    FLASHCORE_TRY(write_edited_files(unit));
  }
  FLASHCORE_TRY(write(unit.folder() / "specialization.h",
                      specialization_header(*unit.row().passport, name.specialization, !unit.text.empty())));
  return write_unit(unit, module);
}

}  // namespace

int main(int argc, char **argv) {
  if (argc != 4 && argc != 5) {
    std::fprintf(stderr, "usage: write_module MODULE SOURCE OUTPUT [BROKEN | VARIANT | TEXT]\n");
    return 2;
  }
  const Status done = write_all(argc, argv);
  if (!done.ok()) std::fprintf(stderr, "write_module: %s\n", done.error().message.c_str());
  return done.ok() ? 0 : 1;
}
